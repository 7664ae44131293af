"""The files that a benchmark leaves in the folder of a run: NAME.md to read, NAME.json for the marks of the report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import tables

Figures = dict[str, Any]


def write(
    out: Path | None, name: str, title: str, facts: Mapping[str, str], parts: Sequence[str], figures: Figures
) -> str:
    """Write both files, if there is a folder; return the text of the first.

    Parameters
    ----------
    facts : mapping of str to str
        What `tables.head` says of the run: date, machine, versions.
    parts : sequence of str
        Paragraphs and tables.
    figures : dict
        What the marks read, by name; JSON has no other types than dicts, lists, strings, numbers and None.
    """
    text = "\n\n".join([f"# {title}", tables.facts_list(facts), *parts]) + "\n"
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        (out / f"{name}.json").write_text(json.dumps({"head": facts, **figures}, indent=1), encoding="utf-8")
    return text


def read(folder: Path) -> dict[str, Figures]:
    """Return what the benchmarks have left in a folder, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
