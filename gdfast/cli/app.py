"""The command `gdfast` itself, to which the other files add theirs; and what their options share."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from gdfast._version import __version__

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def number(help: str, kind: Callable[[str], float] = float, **others: Any) -> Any:
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
    """Train and use models on tables of data, and look at optimizers: fast exact steps on a CPU."""
    if version:
        print(f"gdfast {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
