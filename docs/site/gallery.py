"""The gallery: each file of docs/gallery is run, and its code stands below the picture that it makes."""

import contextlib
import inspect
import runpy
from pathlib import Path

EXAMPLES = sorted((Path(__file__).parents[1] / "gallery").glob("*.py"))


def write(folder: Path) -> None:
    """Write the page and its pictures into a folder."""
    folder.mkdir()
    sections = [section(example, picture(example, folder)) for example in EXAMPLES]
    head = "# Gallery\n\nMade when these pages were built; the code below each picture is what made it.\n\n"
    (folder / "index.md").write_text(head + "\n".join(sections), encoding="utf-8")


def picture(example: Path, folder: Path) -> Path:
    """Run an example in a folder, which leaves a `figure` or writes a file of its own name."""
    with contextlib.chdir(folder):
        figure = runpy.run_path(str(example)).get("figure")
        if figure is None:
            return Path(f"{example.stem}.gif")
        figure.savefig(f"{example.stem}.png", dpi=120)
        return Path(f"{example.stem}.png")


def section(example: Path, made: Path) -> str:
    """Return the picture and the code of an example."""
    _, text, code = example.read_text(encoding="utf-8").split('"""', 2)
    title, _, about = inspect.cleandoc(text).partition("\n\n")
    return f"## {title}\n\n{about}\n\n![{title}]({made})\n\n```python\n{code.strip()}\n```\n"
