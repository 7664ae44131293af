"""The report as Markdown: the head, the table of ratios, the marks."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.marks import Mark
from benchmarks.measure import Measured
from benchmarks.peers.torch_peer import FORMS
from gdfast.engine.config import config

PACKAGES = (
    "torch", "torchao", "bitsandbytes", "jax", "jaxlib", "optax", "numba", "mpi4py", "pyarrow",
    "scikit-learn", "scikit-learn-intelex", "spacy", "vowpalwabbit",
)  # fmt: skip
PEERS = ("optax", "numba", "numba, exact", "NumPy", "gdfast numpy")
SMALL = 50_000  # parameters up to which a step's time says more than a parameter's
DISTURBED = "(*) Other processes used the CPUs meanwhile: times on all threads are doubtful."

HOW = """\
How the ratios were taken: the contenders of a workload take turns in one process, round by round, each turn settled and
warm; a ratio is the median over the rounds of the ratio of two times in the same round. `×` is how many times faster
gdfast is (its own time is the median). The limit is a bare native loop in place with the rule's memory traffic, one
addition per array, on the same threads, in the fastest of several ways to run it; the share of the limit is the limit's
time divided by gdfast's. Freed memory is kept by the allocator, which helps the contenders that allocate in a step."""


def head(form: str, rounds: int) -> dict[str, str]:
    """Return what a reader must know of the run."""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        "form": f"{form}, {rounds} rounds",
        "CPU": cpu_model(),
        "load at the start": _load(),
        **config(),
        **{name: version for name in PACKAGES if (version := _version(name))},
    }


def facts_list(facts: Mapping[str, str]) -> str:
    """Return what a reader must know of the run, as a list."""
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def report(facts: dict[str, str], measured: Sequence[Measured], special: dict[str, Any], marks: Sequence[Mark]) -> str:
    """Return the whole report."""
    parts = ["# gdfast beside its peers", facts_list(facts), HOW]
    parts += ["## Ratios", ratios(measured), "## Other measurements", others(special), "## Marks", marks_table(marks)]
    disturbed = sum(m.disturbed for m in measured)
    parts[1] += f"\n- workloads disturbed by other processes: {disturbed} of {len(measured)}"
    problems = sorted({f"- {name}: {why}" for m in measured for name, why in m.problems.items()})
    if problems:
        parts += ["## Contenders that could not take part", "\n".join(problems)]
    return "\n\n".join(parts) + "\n"


def ratios(measured: Sequence[Measured]) -> str:
    """Return one line for each workload."""
    title = ["workload", "gdfast", "PyTorch at its best", *PEERS, "share of the limit"]
    text = table(title, map(_ratio_row, measured))
    return f"{text}\n\n{DISTURBED}" if any(m.disturbed for m in measured) else text


def _ratio_row(m: Measured) -> list[str]:
    torch = m.best_torch
    form = next((form for form in FORMS if torch and torch.endswith(form)), "")
    best = f"{times(m.faster_than(torch))} {form}".strip()
    share = m.share_of_limit
    peers = [times(m.faster_than(peer)) for peer in PEERS]
    label = m.work.label + (" (*)" if m.disturbed else "")
    return [label, own_time(m), best, *peers, "-" if share is None else f"{share:.2f}"]


def own_time(m: Measured) -> str:
    """Return gdfast's time as text."""
    if m.work.elements <= SMALL:
        return f"{m.times[m.ours].median * 1e6:.3g} µs per step"
    return f"{m.nanoseconds():.3g} ns per parameter"


def others(special: dict[str, Any]) -> str:
    """Return one line for each special measurement."""
    return table(
        ["measurement", "result"], ([name.replace("_", " "), _flat(result)] for name, result in special.items())
    )


def _flat(result: dict[str, Any], before: str = "") -> str:
    texts = []
    for name, value in result.items():
        label = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            texts.append(_flat(value, f"{label} "))
        else:
            texts.append(f"{label} {value:.4g}" if isinstance(value, float) else f"{label} {value}")
    return "; ".join(texts)


def marks_table(marks: Iterable[Mark]) -> str:
    """Return one line for each mark."""
    return table(["mark", "measured", "asked", ""], map(_mark_row, marks))


def _mark_row(mark: Mark) -> list[str]:
    bound = "at most" if mark.at_most else "at least"
    unit = mark.unit if mark.unit in ("", "×") else f" {mark.unit}"
    value = "-" if mark.value is None else f"{short(mark.value)}{unit}"
    verdict = f"**{mark.verdict}**" if mark.verdict == "missed" else mark.verdict
    return [mark.what, value, f"{bound} {mark.asked:g}{unit}", verdict]


def times(ratio: float | None) -> str:
    """Return a ratio as text, a dash where there is none."""
    return "-" if ratio is None else f"{short(ratio)}×"


def short(value: float) -> str:
    """Return three significant digits, or all digits before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(title: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table that reads well as plain text too."""
    lines = [list(title), *map(list, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(title))]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([text[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *text[1:]])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
