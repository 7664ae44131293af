"""``gdfast info``."""

from gdfast.cli.app import app
from gdfast.engine.config import show_config


@app.command()
def info() -> None:
    """Print what this build and this machine are."""
    show_config()
