"""The README's table of steps, filled from the report: a figure there is one of the report's, in fewer digits."""

import re

#: first cell of the README's row -> the workload in the report, and its number of parameters
STEPS = {
    "Adam, 1,000 parameters, 2 threads": ("adam, 1k, float32, 2 threads", 1_000),
    "Adam, 200 arrays of 64, 1 thread": ("adam, 200 x 64, float32, 1 thread", 12_800),
    "Adam, 100,000, 2 threads": ("adam, 100k, float32, 2 threads", 100_000),
    "Adam, 1M, 1 thread": ("adam, 1M, float32, 1 thread", 1_000_000),
    "Adam, 1M, 2 threads": ("adam, 1M, float32, 2 threads", 1_000_000),
    "Adam, 16.8M, 2 threads": ("adam, 16.8M, float32, 2 threads", 2**24),
    "SGD with momentum, 16.8M, 2 threads": ("momentum, 16.8M, float32, 2 threads", 2**24),
    "RMSprop, 16.8M, 2 threads": ("rmsprop, 16.8M, float32, 2 threads", 2**24),
    "centred RMSprop with momentum, 16.8M, 2 threads": ("rmsprop_centered_momentum, 16.8M, float32, 2 threads", 2**24),
}
#: first cell -> the report's measurement of a whole step
MEASURED = {
    "clip to norm, Adam, zero gradients, 16.8M, 2 threads": "whole step",
    "the same, and an average of the parameters": "whole step averaged",
    "Adam, 4,096 rows of a table of 1M x 64": "embedding",
}
#: the report's columns that the README shows, behind that of gdfast's time
COLUMNS = ("PyTorch at its best", "optax", "numba", "NumPy", "share of the limit")
UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3}


def with_steps(readme: str, report: str) -> str:
    """Return the README with the rows of its table of steps as the report has them."""
    table = _workloads(report)
    rows = {label: _step(table[workload], size) for label, (workload, size) in STEPS.items() if workload in table}
    rows |= {label: _whole(report, name) for label, name in MEASURED.items() if f"\n| {name} " in report}
    for label, cells in rows.items():
        row = "|" + "".join(f" {cell} |" if cell else " |" for cell in [label, *cells])
        readme, found = re.subn(rf"^\| {re.escape(label)} \|.*$", row, readme, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"README.md must have one row of its table for {label!r}; it has {found}")
    return readme


def _workloads(report: str) -> dict[str, dict[str, str]]:
    """Return the report's table of ratios: workload -> column -> cell."""
    table = re.search(r"^\| workload .*\n(?:\|.*\n)+", report, re.MULTILINE)
    if table is None:
        return {}
    head, _, *lines = table[0].splitlines()
    names = _cells(head)
    rows = [dict(zip(names, _cells(line), strict=True)) for line in lines]
    return {row["workload"].removesuffix(" (*)"): row for row in rows}


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _step(row: dict[str, str], size: int) -> list[str]:
    number, unit, _, per = row["gdfast"].split()
    seconds = float(number) * UNITS[unit] * (size if per == "parameter" else 1)
    cells = [_time(seconds), *(_short(row.get(name, "")) for name in COLUMNS)]
    return cells if size >= 100_000 else [*cells[:-1], ""]  # the limit is the memory's, and these are in the cache


def _whole(report: str, name: str) -> list[str]:
    """Return the cells of a measurement such as "gdfast ms 10.4; faster than PyTorch 1.54; share of limit 1.14"."""
    (said,) = re.findall(rf"^\| {name} +\| (.*?) *\|$", report, re.MULTILINE)
    found = dict(re.findall(r"([\w ]+?) ([\d.e+-]+)(?:; |$)", said))
    times = [_short(f"{found[key]}×") if key in found else "" for key in ("faster than PyTorch", "faster than optax")]
    return [_time(float(found["gdfast ms"]) / 1e3), *times, "", "", _short(found.get("share of limit", ""))]


def _time(seconds: float) -> str:
    unit = "ms" if seconds >= 1e-4 else "µs"
    return f"{seconds / UNITS[unit]:.{3 if seconds / UNITS[unit] >= 10 else 2}g} {unit}"


def _short(cell: str) -> str:
    """Return "3.51× fused" as "3.5×": what a second run would give too, a digit more where it says who is faster."""
    number = cell.split("×")[0].strip()
    if number in ("", "-"):
        return ""
    times = float(number)
    if "×" not in cell:
        return f"{times:.2f}"
    return f"{times:.{0 if times >= 10 else 1 if times >= 1.05 else 2}f}×"
