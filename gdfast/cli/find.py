"""``gdfast lr-find``."""

from pathlib import Path
from typing import Annotated

import typer

from gdfast.cli import data_options as options
from gdfast.cli.app import Command, app
from gdfast.cli.outputs import picture
from gdfast.cli.settings import Settings

DEFAULTS = Settings()


@app.command("lr-find", cls=Command, epilog="Example: gdfast lr-find flowers.csv --target species")
def lr_find(
    data: options.Data,
    target: options.Target = DEFAULTS.target,
    text: options.Text = [],  # noqa: B006 - typer reads it
    category: options.Category = [],  # noqa: B006
    number: options.Number = [],  # noqa: B006
    drop: options.Drop = [],  # noqa: B006
    keep: options.Keep = [],  # noqa: B006
    missing: options.Missing = DEFAULTS.missing,
    missing_target: options.MissingTarget = DEFAULTS.missing_target,
    sep: options.Sep = DEFAULTS.sep,
    decimal: options.Decimal = DEFAULTS.decimal,
    encoding: options.Encoding = DEFAULTS.encoding,
    comment: options.Comment = DEFAULTS.comment,
    task: options.Task = DEFAULTS.task,
    model: options.ModelName = DEFAULTS.model,
    hidden: options.Hidden = DEFAULTS.hidden,
    loss: options.Loss = DEFAULTS.loss,
    penalty: options.Penalty = DEFAULTS.penalty,
    alpha: options.Alpha = DEFAULTS.alpha,
    balanced: options.Balanced = DEFAULTS.balanced,
    analyzer: options.Analyzer = DEFAULTS.analyzer,
    optimizer: options.Optimizer = DEFAULTS.optimizer,
    batch_size: options.BatchSize = DEFAULTS.batch_size,
    seed: options.Seed = DEFAULTS.seed,
    threads: options.Threads = DEFAULTS.threads,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Picture of the sweep, a PNG.")] = Path("lr.png"),
) -> None:
    """Find a learning rate: a short run in which it grows, and what the losses say.

    The data is read as by gdfast train. Prints the rates that the curve suggests, and draws it.
    """
    chosen = {name: value for name, value in locals().items() if name not in ("data", "out")}
    settings = Settings(**chosen, test_size=0.0, quiet=True)
    from gdfast.cli import training
    from gdfast.cli.preparing import prepare

    found = training.find_lr(prepare(data, settings))
    with picture(out) as path:
        found.plot().figure.savefig(path, format="png")
    for name, lr in sorted(found.suggestions.items(), key=lambda item: item[1]):
        print(f"{name:<15}{lr:.2e}{'  (--lr find takes this one)' if name == 'valley' else ''}")
    print(f"{'picture':<15}{out}")
