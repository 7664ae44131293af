"""``gdfast train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gdfast.cli import data_options as options
from gdfast.cli.app import Command, app
from gdfast.cli.settings import Settings

DEFAULTS = Settings()


@app.command(cls=Command, epilog="Example: gdfast train flowers.csv --target species")
def train(
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
    group: options.Group = DEFAULTS.group,
    time: options.Time = DEFAULTS.time,
    valid: options.Valid = DEFAULTS.valid,
    folds: options.Folds = DEFAULTS.folds,
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
    lr: options.Rate = DEFAULTS.lr,
    schedule: options.Schedule = DEFAULTS.schedule,
    warmup: options.Warmup = DEFAULTS.warmup,
    epochs: options.Epochs = DEFAULTS.epochs,
    batch_size: options.BatchSize = DEFAULTS.batch_size,
    early_stopping: options.EarlyStopping = DEFAULTS.early_stopping,
    test_size: options.TestSize = DEFAULTS.test_size,
    seed: options.Seed = DEFAULTS.seed,
    threads: options.Threads = DEFAULTS.threads,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of model, curve and log.", show_default="DATA-model")
    ] = None,
    continue_: Annotated[
        Path | None, typer.Option("--continue", metavar="MODEL", help="Train this model further.", show_default=False)
    ] = None,
    stream: options.Stream = DEFAULTS.stream,
    hash_bits: options.HashBits = DEFAULTS.hash_bits,
    statistics: options.Statistics = DEFAULTS.statistics,
    quiet: options.Quiet = DEFAULTS.quiet,
) -> None:
    """Train a model on a table of data.

    Numbers are standardised, words are categories, texts become n-grams. Prints how good the model is on rows that it
    has not seen, and leaves model.safetensors (for gdfast predict), curve.png and log.csv in a folder.
    """
    chosen = {name: value for name, value in locals().items() if name not in ("data", "out", "continue_")}
    run(data, Settings(**chosen), out or Path(f"{_stem(data)}-model"), continue_)


def _stem(data: str) -> str:
    return "stdin" if data == "-" else Path(data.removesuffix(".gz")).stem


def run(data: str, settings: Settings, out: Path, continued: Path | None = None) -> None:
    """Train, and print what came out."""
    from gdfast.cli import training
    from gdfast.cli.model import Model

    if settings.stream:
        _run_stream(data, settings, out, continued)
        return
    model = None
    if continued is not None:
        model = Model.load(continued)
        settings = model.settings(settings)
    done = training.train(data, settings, out, model)
    if not settings.quiet:
        print("\n".join(_lines(data, done, out)))


def _run_stream(data: str, settings: Settings, out: Path, continued: Path | None) -> None:
    from gdfast.cli import streaming
    from gdfast.cli.errors import UserError

    if continued is not None:
        raise UserError("--continue needs all rows in memory, and --stream reads them batch by batch")
    trained = streaming.train(data, settings, out)
    if not settings.quiet:
        print("\n".join(streaming.lines(data, trained, settings, out)))


def _lines(data: str, done: Any, out: Path) -> list[str]:
    from gdfast.cli import report
    from gdfast.cli.course import steps
    from gdfast.cli.training import FILES
    from gdfast.tables.errors import counted

    task, model, scores = done
    settings, about = task.settings, model.about
    columns = counted(task.matrix.shape[1], f"{'sparse ' * model.encoder.is_sparse}column")
    choices = [type(model.estimator).__name__, settings.loss_for(task.kind), about["optimizer"]]
    if about["lr found"] is not None:
        choices.append(f"lr {about['lr found']:.2g}")
    training = f"{steps(about)}, {about['seconds']:.2g} s, loss {about['loss']:.4g}"
    before = len(task.all.features.columns)
    encoded = f", encoded from {before:,}" if before not in (0, task.matrix.shape[1]) else ""
    rows = len(task.all.y) + (len(task.test) if settings.valid else 0)
    shown = [
        f"{'data':<15}{data}: {task.target} from {columns}, {counted(rows, 'row')}{encoded}",
        *(f"{'':<15}{note}" for note in task.notes),
        f"{'model':<15}{', '.join(choices)}",
        f"{'training':<15}{counted(about['rows'], 'row')}, {training}",
        *(f"{'':<15}{said}" for said in about["said"]),
    ]
    if about["folds"]:
        shown += [f"{'folds':<15}{len(about['folds'])}, mean and deviation", *report.fold_lines(about["folds"])]
    if scores:
        shown += [f"{'held out':<15}{counted(len(task.test), 'row')}", *report.lines(model, scores)]
    shown += report.importance_lines(about["measured"], about["importances"])
    return [*shown, f"{'written':<15}{', '.join(FILES)} in {out}"]
