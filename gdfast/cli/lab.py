"""``gdfast lab``."""

import os
from typing import Annotated

import typer

from gdfast.cli.app import app, number
from gdfast.cli.errors import UserError


@app.command()
def lab(
    link: Annotated[str, typer.Argument(help="A link of the lab, or its part after #: the race to begin with.")] = "",
    port: Annotated[int, number("Where to listen; 0: any free port.", int)] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open nothing.")] = False,
) -> None:
    """Open the lab in the browser: race optimizers over surfaces, with every hyperparameter as a slider.

    It runs on this machine only, loads nothing from elsewhere, and ends with Ctrl-C.
    """
    from gdfast.lab.run import run

    if not 0 <= port <= 65535:
        raise typer.BadParameter(f"must be a whole number from 0 to 65535; got {port}", param_hint="'--port'")
    try:
        run(int(port), not no_browser, link)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"--port must be one that is free ({reason}); got {port}") from None
