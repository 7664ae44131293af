"""The command `gdfast` itself, to which the other files add theirs; and what their options share."""

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from gdfast._version import __version__
from gdfast.cli.errors import UserError


class Commands(TyperGroup):
    """A group of commands whose error names them all."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return a command by its name; typer's own error would suggest names that look alike at most."""
        if args[0] not in self.commands:
            example = "" if ctx.parent else ". For example: gdfast train digits"
            raise UserError(f"the command must be one of {', '.join(self.commands)}; got {args[0]!r}{example}")
        return super().resolve_command(ctx, args)


class Command(TyperCommand):
    """A command whose help shows its options in groups, under the heading of each (typer's own needs rich for that)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options, group by group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            heading = getattr(param, "rich_help_panel", None)
            own = "Arguments" if param.param_type_name == "argument" else "Options"
            if (record := param.get_help_record(ctx)) is not None:
                groups.setdefault(heading or own, []).append(record)
        for heading in sorted(groups, key=lambda heading: heading != "Arguments"):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


app = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


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
