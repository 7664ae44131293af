"""``gdfast bench``."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from gdfast.cli.app import app
from gdfast.cli.errors import UserError


@app.command()
def bench(
    full: Annotated[bool, typer.Option("--full", help="All workloads: many minutes.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report and its pictures.")] = Path("results"),
) -> None:
    """Time gdfast beside other optimizers on this machine, in under two minutes.

    The benchmark suite is in the source tree only, not in an installed package.
    """
    tree = Path(__file__).parents[2]
    if not (tree / "benchmarks" / "report.py").exists():
        raise UserError("the benchmark suite is in the source tree only: clone the repository and run make bench-quick")
    command = [sys.executable, "-m", "benchmarks.report", *([] if full else ["--quick"]), "--out", str(out.absolute())]
    code = subprocess.run(command, cwd=tree, check=False).returncode
    if code:
        raise typer.Exit(1)
