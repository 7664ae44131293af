"""Run the workloads and write the report: `python -m benchmarks.report [--quick] [--out DIR]`.

Its last table has the marks, those that separate benchmarks measure among them: it reads what they have left in DIR.
`--again` measures nothing: it writes the report anew from DIR/report.json and what else lies in DIR by now.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from benchmarks import pictures, results, special, tables, workloads
from benchmarks.embedding import embedding
from benchmarks.marks import Mark, Marks
from benchmarks.marks_elsewhere import marks_elsewhere
from benchmarks.measure import Measured, Patience
from benchmarks.timing import Times
from benchmarks.whole_step import whole_step
from benchmarks.workloads import ALL, Workload


def main(
    quick: Annotated[bool, typer.Option(help="Fewer workloads and rounds: under two minutes.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the report and the pictures.")] = Path("results"),
    rounds: Annotated[int, typer.Option(help="Rounds of each workload; 0 for the form's own.")] = 0,
    patience: Annotated[float, typer.Option(help="Seconds in all to wait for others to leave the CPUs alone.")] = 0.0,
    again: Annotated[bool, typer.Option(help="Measure nothing; read the folder anew.")] = False,
) -> None:
    """Measure gdfast beside its peers and beside the memory limit of this machine."""
    out.mkdir(parents=True, exist_ok=True)
    rounds = rounds or (5 if quick else 11)
    if again:
        facts, measured, found = from_json(json.loads((out / "report.json").read_text(encoding="utf-8")))
    else:
        facts = tables.head("quick" if quick else "full", rounds)
        measured = run_workloads(workloads.quick() if quick else workloads.full(), rounds, Patience(patience))
        found = run_special(quick, rounds)
    marks = Marks(measured, found).all() + marks_elsewhere(results.read(out))
    text = tables.report(facts, measured, found, marks)
    (out / "report.md").write_text(text, encoding="utf-8")
    (out / "report.json").write_text(json.dumps(as_json(facts, measured, found, marks), indent=1), encoding="utf-8")
    drawn = pictures.draw(measured, out)
    print(text)
    print("Written:", ", ".join(str(path) for path in (out / "report.md", out / "report.json", *drawn)))


def run_workloads(works: list[workloads.Workload], rounds: int, patience: Patience) -> list[Measured]:
    """Run the workloads one after the other."""
    measured = []
    with tqdm(works, unit="workload") as progress:
        for work in progress:
            progress.set_description(work.label)
            # large workloads are steady, and long: fewer rounds do
            some = rounds if work.elements < 1 << 22 else max(5, rounds - 4)
            measured.append(patience.measure(work, some))
    return measured


def run_special(quick: bool, rounds: int) -> dict[str, dict[str, Any]]:
    """Run what is not the time of one step."""
    rounds = min(rounds, 9)
    tasks: dict[str, Callable[[], dict[str, Any]]] = {
        "dead_gradients": lambda: special.dead_gradients(rounds),
        "whole_step": lambda: whole_step("16.8M", rounds, averaged=False),
        "whole_step_averaged": lambda: whole_step("16.8M", rounds, averaged=True),
        "embedding": lambda: embedding(rounds),
        "import_time": lambda: special.import_time(15 if quick else 41),
        "step_memory": lambda: special.step_memory("16.8M"),
    }
    if find_spec("sklearn"):
        tasks["fit_memory"] = special.fit_memory
    if ALL > 1:
        tasks["two_threads"] = lambda: special.two_threads("16.8M", rounds)
    if not quick:
        tasks["growth"] = lambda: special.growth(rounds)
    found = {}
    with tqdm(tasks.items(), unit="measurement") as progress:
        for name, task in progress:
            progress.set_description(name.replace("_", " "))
            found[name] = task()
            workloads.forget_arrays()
    return found


def as_json(
    facts: dict[str, str], measured: list[Measured], found: dict[str, Any], marks: list[Mark]
) -> dict[str, Any]:
    """Return all numbers of the run, for programs."""
    return {
        "head": facts,
        "workloads": [workload_as_json(m) for m in measured],
        "special": found,
        "marks": [{**asdict(mark), "verdict": mark.verdict} for mark in marks],
    }


def from_json(figures: dict[str, Any]) -> tuple[dict[str, str], list[Measured], dict[str, Any]]:
    """Return the head, the workloads and the special measurements of an earlier run."""
    measured = [
        Measured(
            Workload(of["rule"], of["shape"], of["dtype"], of["threads"]),
            {name: Times(times["rounds"]) for name, times in of["contenders"].items()},
            of["problems"],
            of["cpus_used_by_others"],
        )
        for of in figures["workloads"]
    ]
    return figures["head"], measured, figures["special"]


def workload_as_json(m: Measured) -> dict[str, Any]:
    """Return a workload's numbers; times in seconds a step."""
    contenders = {
        name: {"median": t.median, "minimum": t.minimum, "rounds": t.seconds, "gdfast_is_faster": m.faster_than(name)}
        for name, t in m.times.items()
    }
    return {
        **asdict(m.work),
        "elements": m.work.elements,
        "contenders": contenders,
        "best_torch": m.best_torch,
        "best_limit": m.best_limit,
        "share_of_limit": m.share_of_limit,
        "problems": m.problems,
        "cpus_used_by_others": m.others,
    }


if __name__ == "__main__":
    typer.run(main)
