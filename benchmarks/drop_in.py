"""`gdfast.torch` beside `torch.optim` in every form it has: `python -m benchmarks.drop_in [--quick] [--out DIR]`.

What is timed is `opt.step()` on tensors with gradients in place. The compiled form is `torch.compile` of that call.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from benchmarks import results, tables
from benchmarks.marks import Mark
from benchmarks.measure import Measured, Patience
from benchmarks.peers import DROP_IN, TORCH, Contender
from benchmarks.report import workload_as_json
from benchmarks.workloads import ALL, IN_TORCH, MODELS, Workload

MANY = "200 x 64"
# As the report on the rules of arrays has them, but through tensors.
MARKS = [
    ("adam", "16.8M", 1.15),
    ("adam", "100k", 2.0),
    ("adam", MANY, 8.0),
    *((rule, "16.8M", 3.0) for rule in ("nadam", "radam", "adadelta", "adamax", "rmsprop")),
]


def works(quick: bool) -> list[Workload]:
    """Return what is timed, on all threads."""
    shapes = ["1k", "100k"] if quick else ["1k", "100k", "16.8M"]
    rules = ["adam", "nadam", "rmsprop"] if quick else list(IN_TORCH)
    lists = [MANY] if quick else [MANY, *MODELS]
    return [Workload(rule, shape, threads=ALL) for rule in rules for shape in shapes] + [
        Workload("adam", shape, threads=ALL) for shape in lists
    ]


def contenders(work: Workload) -> list[Contender]:
    """Return the contenders. Compiling hundreds of tensors takes minutes, so the compiled form steps single ones."""
    alone = len(work.sizes) == 1
    return [c for c in DROP_IN if c.supports(work.rule) and (alone or c.name != "PyTorch compiled")]


def marks(measured: Sequence[Measured]) -> list[Mark]:
    """Return what gdfast.torch asks of itself: factors over PyTorch not compiled, and to be slower than no form."""
    found = {(m.work.rule, m.work.shape): m for m in measured}
    result = []
    for rule, shape, asked in MARKS:
        m = found.get((rule, shape))
        value = m.faster_than(m.best(TORCH)) if m else None
        result.append(Mark(f"{rule}, {shape}: faster than PyTorch at its best, not compiled", value, asked, "×"))
    ratios = [(r, m.work.label) for m in measured if (r := m.faster_than(m.best(DROP_IN[1:]))) is not None]
    worst, where = min(ratios, default=(None, "-"))
    return [*result, Mark(f"nowhere slower than PyTorch at its best; the least ratio: {where}", worst, 1.0, "×")]


def table(measured: Sequence[Measured]) -> str:
    """Return one line for each workload, with a column for each implementation of PyTorch."""
    forms = [contender.name for contender in DROP_IN[1:]]
    rows = [
        [
            m.work.label + (" (*)" if m.disturbed else ""),
            tables.own_time(m),
            *(tables.times(m.faster_than(form)) for form in forms),
        ]
        for m in measured
    ]
    return tables.table(["workload", "gdfast.torch", *forms], rows)


def main(
    quick: Annotated[bool, typer.Option(help="Few workloads and rounds.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the report.")] = Path("results"),
    rounds: Annotated[int, typer.Option(help="Rounds of each workload; 0 for the form's own.")] = 0,
    patience: Annotated[float, typer.Option(help="Seconds in all to wait for others to leave the CPUs alone.")] = 0.0,
) -> None:
    """Measure gdfast.torch beside torch.optim."""
    rounds = rounds or (5 if quick else 11)
    facts, waiting, measured = tables.head("quick" if quick else "full", rounds), Patience(patience), []
    with tqdm(works(quick), unit="workload") as progress:
        for work in progress:
            progress.set_description(work.label)
            measured.append(waiting.measure(work, rounds, contenders(work)))
    asked = marks(measured)
    parts = [tables.HOW, "## Ratios", table(measured), tables.DISTURBED, "## Marks", tables.marks_table(asked)]
    fused = {m.work.label: m.faster_than("PyTorch fused") for m in measured}
    figures = {"faster_than_fused": fused, "workloads": [workload_as_json(m) for m in measured]}
    print(results.write(out, "torch", "gdfast.torch beside torch.optim", facts, parts, figures))


if __name__ == "__main__":
    typer.run(main)
