"""The command line: its options, its errors, its exit codes. The work is done elsewhere."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from gdfast.config import __version__, show_config
from gdfast.demo.errors import BadOptionError, DivergedError
from gdfast.demo.settings import OPTIMIZERS, SCHEDULES, Settings

# What every error of the parser derives from; typer itself exports only the one.
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
defaults = Settings()


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; what is wrong with the options is one sentence on stderr."""
    try:
        code = app(args=arguments, prog_name="gdfast", standalone_mode=False)
    except UsageError as error:
        print(f"gdfast: {error.format_message()}", file=sys.stderr)
        return 2
    return code or 0


def _number(help: str, kind: Callable[[str], float] = float, **others: Any) -> Any:
    """Make a numeric option whose error says what came, as typer's own does not."""
    expected = "a whole number" if kind is int else "a number"

    def parse(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"must be {expected}; got {text!r}") from None

    return typer.Option(help=help, parser=parse, metavar="N" if kind is int else "NUMBER", **others)


@app.callback(invoke_without_command=True)
def top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Fast exact optimizer steps on a CPU."""
    if version:
        print(f"gdfast {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def info() -> None:
    """Print what this build and this machine are."""
    show_config()


@app.command()
def demo(
    optimizer: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(OPTIMIZERS)}.")] = defaults.optimizer,
    lr: Annotated[float | None, _number("Highest learning rate.", show_default="the optimizer's")] = None,
    schedule: Annotated[str, typer.Option(metavar="NAME", help=f"{', '.join(SCHEDULES)}.")] = defaults.schedule,
    warmup: Annotated[float, _number("Share of the steps in which lr rises.")] = defaults.warmup,
    epochs: Annotated[int, _number("How often every image is seen.", int)] = defaults.epochs,
    batch_size: Annotated[int, _number("Images in a step.", int)] = defaults.batch_size,
    seed: Annotated[int, _number("Of the split, the weights and the order.", int)] = defaults.seed,
    threads: Annotated[int | None, _number("At most so many; -1: all CPUs.", int, show_default="automatic")] = None,
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
