"""``gdfast plot``: schedules, paths over surfaces, logs of trainings."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gdfast.cli.app import Commands, app, number
from gdfast.cli.errors import UserError
from gdfast.cli.outputs import picture, written
from gdfast.cli.schedules import SCHEDULES

Out = Annotated[Path, typer.Option(metavar="FILE", help="The picture.")]

group = typer.Typer(cls=Commands, rich_markup_mode=None)
app.add_typer(
    group, name="plot", help="Draw schedules, paths over surfaces, or logs of trainings.", no_args_is_help=True
)


@group.command()
def schedules(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help=f"{', '.join(SCHEDULES)}.", show_default="all")
    ] = None,
    lr: Annotated[float, number("Highest learning rate.")] = 0.1,
    warmup: Annotated[float, number("Share of the steps in which lr rises.")] = 0.1,
    steps: Annotated[int, number("How many steps.", int)] = 1000,
    out: Out = Path("schedules.png"),
) -> None:
    """Draw learning rates by step."""
    chosen = names or list(SCHEDULES)
    for name in chosen:
        if name not in SCHEDULES:
            raise UserError(f"a schedule must be one of {', '.join(SCHEDULES)}; got {name!r}")
    from gdfast import plot

    try:
        made = {name: SCHEDULES[name](lr, steps, int(warmup * steps)) for name in chosen}
        axes = plot.schedules(made, steps)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from None
    _save(axes.figure, out)


@group.command()
def paths(
    surface: Annotated[
        str | None, typer.Argument(metavar="[SURFACE]", help="ravine, saddle, rosenbrock, beale.", show_default="all")
    ] = None,
    steps: Annotated[int | None, number("How many steps.", int, show_default="the surface's")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .png, or a .gif that moves.")] = Path("paths.png"),
) -> None:
    """Draw the way of SGD, momentum, RMSprop and Adam over a loss of two parameters, still or moving."""
    from gdfast import plot

    if surface is not None and surface not in plot.SURFACES:
        raise UserError(f"SURFACE must be one of {', '.join(plot.SURFACES)}; got {surface!r}")
    if steps is not None and steps < 1:
        raise UserError(f"--steps must be a whole number from 1 on; got {steps}")
    if out.suffix.lower() == ".gif":
        with written(out, (".gif",)) as path:
            plot.animate(path, surface or "ravine", steps=steps)
        print(f"{'picture':<15}{out}")
    else:
        _save(plot.gallery() if surface is None else plot.paths(surface, steps=steps), out)


@group.command()
def losses(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", help="log.csv files, or the folders they are in.")],
    out: Out = Path("losses.png"),
) -> None:
    """Draw the losses in the logs of one or more trainings."""
    from gdfast import plot
    from gdfast.plot.style import plain

    _save(plot.losses({plain(str(log)): read_log(log) for log in logs}).figure, out)


def read_log(log: Path) -> list[float]:
    """Return the losses in a log.

    Raises
    ------
    UserError
    """
    import csv

    path = log / "log.csv" if log.is_dir() else log
    try:
        with open(path, newline="", encoding="utf-8") as file:
            found = [float(row["loss"]) for row in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path} must have a column of numbers named loss: {error}") from None
    if not found:
        raise UserError(f"{path} has no epochs")
    return found


def _save(figure: Any, out: Path) -> None:
    with picture(out) as path:
        figure.savefig(path, format="png")
    print(f"{'picture':<15}{out}")
