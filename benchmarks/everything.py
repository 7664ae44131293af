"""All benchmarks, one after the other: `python -m benchmarks.everything [--quick] [--out DIR]`.

Each part runs in processes of its own within a limit of time, after which all of them are ended, and leaves its tables,
its figures and its output (NAME.log) in DIR. One that fails, or is not installed, does not keep the others from
running. The report comes last: its marks are read from what the others have left. everything.md says how each part
ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks import results, tables

ROOT = Path(__file__).parents[1]


class Part(NamedTuple):
    """A benchmark: its module, what it is given in the full form, and the most minutes it may take in each form."""

    module: str
    full: Sequence[str] = ()
    minutes: float = 30.0
    quick_minutes: float = 5.0


PARTS = [
    Part("formats", minutes=25),
    Part("fewer_bytes", minutes=90, quick_minutes=15),
    Part("many_processes", minutes=15),
    Part("streams", ["--gigabytes", "10"], minutes=60),
    Part("dask_workers", minutes=10),
    Part("small_fits", minutes=10),
    Part("fitting", minutes=30),
    Part("networks", minutes=15),
    Part("neighbours", minutes=30),
    Part("drop_in", minutes=60, quick_minutes=10),
    Part("spacy_textcat", minutes=15),
    Part("whole_trainings", minutes=30),
    Part("report", minutes=60, quick_minutes=10),
]


class Ended(NamedTuple):
    """How a part ended: in how many seconds, and in which way."""

    module: str
    seconds: float
    how: str

    @property
    def well(self) -> bool:
        """Whether it ran to its end."""
        return self.how == "done"


def run(part: Part, quick: bool, out: Path) -> Ended:
    """Run a part within its limit."""
    command = [sys.executable, "-m", f"benchmarks.{part.module}", *(["--quick"] if quick else part.full)]
    limit = 60 * (part.quick_minutes if quick else part.minutes)
    begin = time.monotonic()
    with (out / f"{part.module}.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [*command, "--out", str(out)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
            how = "done" if code == 0 else f"failed: {_last_line(out / f'{part.module}.log')}"
        except subprocess.TimeoutExpired:
            how = f"ended after its limit of {limit / 60:g} minutes"
        finally:
            _end_group(process)
    return Ended(part.module, time.monotonic() - begin, how)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End what a part has left running: it leads a group of processes of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"


def table(ended: Sequence[Ended]) -> str:
    """Return one line for each part."""
    rows = ([of.module, f"{of.seconds:.0f}", of.how.replace("|", "/")] for of in ended)
    return tables.table(["part", "seconds", "how it ended"], rows)


def main(
    quick: Annotated[bool, typer.Option(help="The quick form of each.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of all tables, figures and logs.")] = Path("results"),
    only: Annotated[list[str] | None, typer.Option(help="A part to run; give it several times for several.")] = None,
) -> None:
    """Run all benchmarks."""
    known = [part.module for part in PARTS]
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise typer.BadParameter(f"parts are {', '.join(known)}; got {', '.join(unknown)}", param_hint="--only")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    facts, ended = tables.head("quick" if quick else "full", 0), []
    facts["form"] = "quick" if quick else "full"
    for part in PARTS:
        if only and part.module not in only:
            continue
        print(f"{part.module} ...", end=" ", flush=True)
        ended.append(run(part, quick, out))
        print(f"{ended[-1].seconds:.0f} s, {ended[-1].how}", flush=True)
        text = results.write(None, "everything", "All benchmarks", facts, [table(ended)], {})
        (out / "everything.md").write_text(text, encoding="utf-8")
    if not all(of.well for of in ended):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
