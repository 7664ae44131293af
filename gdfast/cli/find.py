"""``gdfast lr-find``."""

from pathlib import Path
from typing import Annotated

import typer

from gdfast.cli import data_options as options
from gdfast.cli.app import Command, app
from gdfast.cli.outputs import check_file, picture
from gdfast.cli.settings import Settings

DEFAULTS = Settings()
#: what the suggestions are, by their names in the picture
WHERE = {
    "valley": "valley: in the middle of the longest fall of the loss",
    "steepest": "steepest: where the loss falls fastest",
    "minimum": "minimum: a tenth of the rate at which the loss is smallest",
}


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
    weight: options.Weight = DEFAULTS.weight,
    task: options.Task = DEFAULTS.task,
    model: options.ModelName = DEFAULTS.model,
    hidden: options.Hidden = DEFAULTS.hidden,
    loss: options.Loss = DEFAULTS.loss,
    epsilon: options.Epsilon = DEFAULTS.epsilon,
    quantile: options.Quantile = DEFAULTS.quantile,
    power: options.Power = DEFAULTS.power,
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

    The data is read as by gdfast train, and all of its rows are used. Prints the rates that the curve suggests, as
    gdfast train takes them, and draws it.
    """
    chosen = {name: value for name, value in locals().items() if name not in ("data", "out")}
    settings = Settings(**chosen, test_size=0.0, quiet=True)
    check_file(out, (".png",))
    from gdfast.cli import training
    from gdfast.cli.preparing import prepare

    found = training.find_lr(prepare(data, settings))
    with picture(out) as path:
        found.plot().figure.savefig(path, format="png")
    print(f"{'optimizer':<15}{'adam' if optimizer == 'auto' else optimizer}")
    for name, lr in sorted(found.suggestions.items(), key=lambda item: item[1]):
        print(f"{f'--lr {lr:.3g}':<15}{WHERE[name]}{', the one that --lr find takes' * (name == 'valley')}")
    print(f"{'picture':<15}{out}")
