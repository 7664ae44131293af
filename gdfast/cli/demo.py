"""``gdfast demo``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gdfast.cli.app import app, number
from gdfast.demo.errors import BadOptionError, DivergedError
from gdfast.demo.settings import OPTIMIZERS, SCHEDULES, Settings

defaults = Settings()


@app.command()
def demo(
    optimizer: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(OPTIMIZERS)}.")] = defaults.optimizer,
    lr: Annotated[float | None, number("Highest learning rate.", show_default="the optimizer's")] = None,
    schedule: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(SCHEDULES)}.")] = defaults.schedule,
    warmup: Annotated[float, number("Share of the steps in which lr rises.")] = defaults.warmup,
    epochs: Annotated[int, number("How often every image is seen.", int)] = defaults.epochs,
    batch_size: Annotated[int, number("Images in a step.", int)] = defaults.batch_size,
    seed: Annotated[int, number("Of the split, the weights and the order.", int)] = defaults.seed,
    threads: Annotated[int | None, number("At most so many; -1: all CPUs.", int, show_default="automatic")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Picture of the training, a PNG.")] = defaults.out,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Train a small network, with both engines.

    It learns to read scikit-learn's digits (pip install gdfast[demo]). Prints the test accuracy, the optimizer's share
    of the time, and whether both engines left the same bits. If they did not, the exit code is 1.
    """
    try:
        settings = Settings(optimizer, lr, schedule, warmup, epochs, batch_size, seed, threads, out, quiet)
        from gdfast.demo import run

        report, same = run.run(settings)
    except BadOptionError as error:
        raise typer.BadParameter(error.problem, param_hint=f"'--{error.name.replace('_', '-')}'") from None
    except DivergedError as error:
        print(f"gdfast: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if not (quiet and same):
        print(report)
    if not same:
        raise typer.Exit(1)
