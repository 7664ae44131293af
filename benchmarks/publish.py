"""Put a run's pages into the documentation: `python -m benchmarks.publish DIR`.

Copies the pages and pictures that lie in DIR to docs/report, lists those that are new in docs/README.md, and fills the
README's table of steps and its section on whole trainings from the pages, that with its date and machine. Where
docs/report has no such page, the section is empty: no figure stands there that was not measured.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.readme import with_steps

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- made by `python -m benchmarks.publish` -->\n", "<!-- end -->\n"
WHOLE = "whole_trainings"
#: page -> its title and what it says, for docs/README.md
PAGES = {
    "report": ("gdfast beside its peers", "the whole report on steps."),
    "torch": ("gdfast.torch beside torch.optim", "steps of PyTorch programs."),
    WHOLE: ("Whole training steps", "PyTorch models with forward and backward pass, clipping, step and zeroing."),
    "formats": (
        "AdamW in every format of numbers",
        "steps in bfloat16 and 8 bits beside PyTorch, torchao and bitsandbytes.",
    ),
    "fitting": ("Time to a held-out score", "linear models beside scikit-learn's."),
    "small_fits": ("Fits of small sets", "linear models on sets under 2,000 rows beside scikit-learn's."),
    "networks": ("An epoch of a network", "networks beside scikit-learn's and PyTorch's."),
    "streams": ("Rows beyond memory", "fits from Parquet and CSV beside reading alone and vowpal wabbit."),
    "dask_workers": ("Sorted rows on two workers", "linear models on a Dask cluster beside one process."),
    "many_processes": ("A sharded step of AdamW", "ranks of MPI beside PyTorch's over gloo."),
    "spacy_textcat": ("A spaCy text classifier", "a training with thinc's Adam and with gdfast's."),
    "neighbours": ("Busy neighbours", "what other processes on the machine cost."),
}
PICTURES = ("adam.png", "limit.png", "neighbours.png")


def copy(folder: Path, docs: Path) -> list[str]:
    """Copy the pages and pictures of a run; return the pages' names."""
    report = docs / "report"
    report.mkdir(exist_ok=True)
    for picture in PICTURES:
        if (folder / picture).exists():
            shutil.copyfile(folder / picture, report / picture)
    found = [name for name in PAGES if (folder / f"{name}.md").exists()]
    for name in found:
        shutil.copyfile(folder / f"{name}.md", report / f"{name}.md")
    return found


def listed(index: str, names: Sequence[str]) -> str:
    """Return docs/README.md with these pages in its list of reports."""
    for name in names:
        title, says = PAGES[name]
        if f"](report/{name}.md)" not in index:
            place = re.search(r"^## How fast\n\n(?:.+\n)*", index, re.MULTILINE)
            if place is None:
                raise ValueError('docs/README.md must have a section "How fast" with a list')
            index = f"{index[: place.end()]}- [{title}](report/{name}.md): {says}\n{index[place.end() :]}"
    return index


def section(page: str | None) -> str:
    """Return the README's section on whole trainings: the page's main table, its date and machine; or nothing."""
    if page is None:
        return ""
    said = dict(re.findall(r"^- ([\w ]+): (.*)$", page, re.MULTILINE))
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    date, cpus = said["date"].partition("T")[0], said["cpus for this process"]
    machine = f"{cpus} CPUs of an {said['CPU']} with PyTorch {said['torch'].partition('+')[0]}"
    about = (
        f"Milliseconds of a whole training step of PyTorch models, measured {date} on {machine}:\n"
        "forward and backward pass, clipping, step and zeroing; in brackets what comes after the backward pass.\n"
        f"[The whole report](docs/report/{WHOLE}.md) says how.\n"
    )
    return f"### Whole trainings\n\n{about}\n{_narrow(tables[0])}\n"


def _narrow(table: str) -> str:
    """Return a table without the padding of its cells."""
    rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines())
    return "\n".join(
        "|" + "---|" * len(row) if set("".join(row)) == {"-"} else f"| {' | '.join(row)} |" for row in rows
    )


def filled(readme: str, page: str | None) -> str:
    """Return the README with the section between its two marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md must have the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}{section(page)}{END}{after}"


def main(folder: Annotated[Path, typer.Argument(help="Where a run has left its pages.")]) -> None:
    """Put a run's pages into the documentation."""
    if not folder.is_dir():
        raise typer.BadParameter(f"must be a folder; got {folder}", param_hint="FOLDER")
    docs = ROOT / "docs"
    found = copy(folder, docs)
    index, readme = docs / "README.md", ROOT / "README.md"
    page, report = docs / "report" / f"{WHOLE}.md", docs / "report" / "report.md"
    index.write_text(listed(index.read_text(encoding="utf-8"), found), encoding="utf-8")
    measured = page.read_text(encoding="utf-8") if page.exists() else None
    text = filled(readme.read_text(encoding="utf-8"), measured)
    if report.exists():
        text = with_steps(text, report.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    print("Copied:", ", ".join(found) or "nothing")


if __name__ == "__main__":
    typer.run(main)
