"""Build the documentation site: `python docs/make_site.py`, or `make docs`.

Assembles the sources in build/site/source (the pages of docs, with pages for each rule and each public name, and a
gallery whose pictures are made now), and has Sphinx make build/site/html of them, where each warning is an error.
"""

import re
import runpy
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "site"))

import api  # noqa: E402
import formulas  # noqa: E402
import gallery  # noqa: E402
from sphinx.cmd.build import main as sphinx  # noqa: E402

ENTRY = re.compile(r"^- \[([^\[\]]+)\]\(([^()\s]+)\): (\S.*?)(?=\n- |\n\n|\Z)", re.MULTILINE | re.DOTALL)
WITHOUT_CONTENTS = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"
#: pages from outside of docs: what a link to them becomes
OUTSIDE = {
    "../benchmarks/README.md": "benchmarks.md",
    "../CHANGELOG.md": "changes.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "security.md",
}


def assemble(source: Path) -> None:
    """Write all sources into a folder, which is emptied first."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("site", "gallery", "*.py", "__pycache__"))
    for outside, inside in OUTSIDE.items():
        shutil.copyfile(DOCS / outside, source / inside)
    write_rules(source)
    write_sections(source, (source / "README.md").read_text(encoding="utf-8"))
    (source / "README.md").unlink()
    with (source / "decisions" / "README.md").open("a", encoding="utf-8") as index:
        index.write(toctree(page.stem for page in sorted(source.glob("decisions/[!R]*.md"))))
    for page in source.rglob("*.md"):
        page.write_text(relinked(page.read_text(encoding="utf-8"), page.parent == source), encoding="utf-8")
    for report in source.glob("report/*.md"):  # their tables are wide
        report.write_text(WITHOUT_CONTENTS + report.read_text(encoding="utf-8"), encoding="utf-8")
    api.write(source / "api")
    gallery.write(source / "gallery")
    runpy.run_path(str(DOCS / "make_pictures.py"))["main"](source / "pictures")


def write_rules(source: Path) -> None:
    """Write a page for each rule, its formula set in mathematics, and keep the table of all in rules.md."""
    page = source / "rules.md"
    head, *sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (source / "rules").mkdir()
    for section in sections:
        name = section.partition("\n")[0]
        text = re.sub(
            r"^```\n(.*?)^```$",
            lambda block: f"```{{math}}\n{formulas.align(block[1])}\n```",
            section,
            flags=re.MULTILINE | re.DOTALL,
        )
        link = f"\nIts class, with examples: {{doc}}`/api/gdfast.{name}`.\n"
        (source / "rules" / f"{name.lower()}.md").write_text(f"# {text}{link}", encoding="utf-8")
    page.write_text(head + toctree(f"rules/{section.partition(chr(10))[0].lower()}" for section in sections))


def write_sections(source: Path, index: str) -> None:
    """Write a page for each section of docs/README.md, which lists its pages, and the start page with all of them."""
    _, *sections = re.split(r"^## ", index, flags=re.MULTILINE)
    rows, trees = [], []
    for section in sections:
        title = section.partition("\n")[0]
        name = title.lower().replace(" ", "-")
        entries = [(title, target) for title, target, _ in ENTRY.findall(section)]
        extra = reports(source, entries) if any(target.startswith("report/") for _, target in entries) else ""
        pages = [target.removesuffix(".md") for _, target in entries]
        (source / f"{name}.md").write_text(f"# {section.strip()}\n{extra}\n{toctree(pages)}", encoding="utf-8")
        links = ", ".join(f"[{title}]({target})" for title, target in entries)
        rows.append(f"| [{title}]({name}.md) | {links} |\n")
        trees.append(name)
    start = (DOCS / "site" / "index.md").read_text(encoding="utf-8") + "".join(rows)
    trees[2:2] = ["api/index", "gallery/index"]
    trees += [Path(inside).stem for inside in OUTSIDE.values()]
    (source / "index.md").write_text(f"{start}\n{toctree(trees)}", encoding="utf-8")


def reports(source: Path, entries: list[tuple[str, str]]) -> str:
    """Return the table of reports, with the date and the machine that each one says."""
    lines = ["\n| report | date | machine |", "|---|---|---|"]
    for title, target in entries:
        said = dict(re.findall(r"^- ([\w ]+): (.*)$", (source / target).read_text(encoding="utf-8"), re.MULTILINE))
        date, machine = said.get("date", "not recorded").partition("T")[0], said.get("CPU", "not recorded")
        lines.append(f"| [{title}]({target}) | {date} | {machine} |")
    return "\n".join(lines) + "\n"


def toctree(pages) -> str:
    """Return a hidden table of contents."""
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(pages) + "\n```\n"


def relinked(text: str, at_top: bool) -> str:
    """Return a page whose links lead to the pages of the site."""
    text = re.sub(r"\]\(((?:\.\./)?)rules\.md#(\w+)\)", r"](\1rules/\2.md)", text)
    if at_top:
        text = re.sub(r"\]\(#(\w+)\)", lambda link: f"](rules/{link[1]}.md)" if link[1] in RULES else link[0], text)
        text = text.replace("](README.md", "](index.md").replace("](docs/", "](")
    for outside, inside in OUTSIDE.items():
        text = text.replace(f"]({outside}", f"]({inside}").replace(f"]({outside.removeprefix('../')}", f"]({inside}")
    return text


RULES = set(re.findall(r"^## (\w+)$", (DOCS / "rules.md").read_text(encoding="utf-8").lower(), re.MULTILINE))


def main(folder: Path = ROOT / "build" / "site") -> int:
    """Build everything below a folder; return Sphinx's exit code."""
    assemble(folder / "source")
    shutil.rmtree(folder / "html", ignore_errors=True)
    options = ["-W", "--keep-going", "-q", "-E", "-c", str(DOCS / "site"), "-d", str(folder / "doctrees")]
    return sphinx([*options, str(folder / "source"), str(folder / "html")])


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
