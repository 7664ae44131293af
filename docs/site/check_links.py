"""Check the built site: every internal link leads to a page, and its anchor is there. Asks nothing of other machines.

`python docs/site/check_links.py build/site/html`, or `make linkcheck`.
"""

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and the names that links may lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag links to, and its name."""
        found = {name: value for name, value in attrs if value}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        self.links += [found[name] for name in ("href", "src") if name in found]


page = cache(Page)


def broken(folder: Path) -> list[str]:
    """Return a line for each link that leads nowhere."""
    lines = []
    for path in sorted(set(folder.rglob("*.html")) - set(folder.glob("_static/**/*"))):  # a theme's templates
        for link in page(path).links:
            scheme, host, target, _, anchor = urlsplit(link)
            there = (path.parent / unquote(target)).resolve() if target else path.resolve()
            if scheme or host:
                continue
            if not there.is_file():
                lines.append(f"{path.relative_to(folder)}: no page {link}")
            elif there.suffix == ".html" and unquote(anchor) not in page(there).anchors:
                lines.append(f"{path.relative_to(folder)}: no anchor {link}")
    return lines


if __name__ == "__main__":
    found = broken(Path(sys.argv[1]))
    sys.exit("\n".join(found) or None)
