"""``gdfast train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gdfast.cli import data_options as options
from gdfast.cli.app import app
from gdfast.cli.settings import Settings

DEFAULTS = Settings()


@app.command()
def train(
    data: options.Data,
    target: options.Target = DEFAULTS.target,
    text: options.Text = [],  # noqa: B006 - typer reads it
    drop: options.Drop = [],  # noqa: B006
    missing: options.Missing = DEFAULTS.missing,
    task: options.Task = DEFAULTS.task,
    model: options.ModelName = DEFAULTS.model,
    hidden: options.Hidden = DEFAULTS.hidden,
    loss: options.Loss = DEFAULTS.loss,
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
    quiet: options.Quiet = DEFAULTS.quiet,
) -> None:
    """Train a model on a table of data.

    Numbers are standardised, words are categories, texts become n-grams. Prints how good the model is on rows that it
    has not seen, and leaves model.safetensors (for gdfast predict), curve.png and log.csv in a folder.
    """
    chosen = {name: value for name, value in locals().items() if name not in ("data", "out")}
    run(data, Settings(**chosen), out or Path(f"{Path(data).stem}-model"))


def run(data: str, settings: Settings, out: Path) -> None:
    """Train, and print what came out."""
    from gdfast.cli import training

    done = training.train(data, settings, out)
    if not settings.quiet:
        print("\n".join(_lines(data, done, out)))


def _lines(data: str, done: Any, out: Path) -> list[str]:
    from gdfast.cli import report
    from gdfast.cli.training import FILES

    task, model, scores = done
    settings, about = task.settings, model.about
    columns = f"{task.matrix.shape[1]:,} {'sparse ' * model.encoder.is_sparse}columns"
    choices = [type(model.estimator).__name__, settings.loss_for(task.kind), settings.optimizer]
    if about["lr found"] is not None:
        choices.append(f"lr {about['lr found']:.2g}")
    course = f"{about['epochs']} epochs, {about['seconds']:.2g} s, loss {about['loss']:.4g}"
    shown = [
        f"{'data':<15}{data}: {task.target} from {columns}, {len(task.train) + len(task.test):,} rows",
        *(f"{'':<15}{note}" for note in task.notes),
        f"{'model':<15}{', '.join(choices)}",
        f"{'training':<15}{about['rows']:,} rows, {course}",
    ]
    if scores:
        shown += [f"{'held out':<15}{len(task.test):,} rows", *report.lines(model, scores)]
    return [*shown, f"{'written':<15}{', '.join(FILES)} in {out}"]
