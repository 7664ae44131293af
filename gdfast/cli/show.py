"""``gdfast show``."""

from typing import Any

from gdfast.cli.app import Command, app
from gdfast.cli.errors import UserError
from gdfast.cli.predict import ModelPath


@app.command(cls=Command, epilog="Example: gdfast show iris-model")
def show(model: ModelPath) -> None:
    """Print what a model is: its columns, how it was trained, how good it was, what it depends on."""
    from gdfast.cli.model import Model

    loaded = Model.load(model)
    try:
        shown = lines(loaded)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise UserError(f"{model} says of its training what no training leaves") from None
    print("\n".join(shown))


def lines(model: Any) -> list[str]:
    """Return the description of a model, line by line."""
    from gdfast.cli import report
    from gdfast.cli.course import steps
    from gdfast.tables.errors import counted

    about, name = model.about, type(model.estimator).__name__
    classes = f", {len(model.estimator.classes_)} classes" if model.classifies else ""
    shown = [
        f"{'model':<15}{name}, {getattr(model.estimator, 'loss', 'log_loss')}",
        f"{'predicts':<15}{model.target}{classes}",
    ]
    shown += [f"{'columns' if i == 0 else '':<15}{part}" for i, part in enumerate(_columns(model.encoder))]
    shown += [f"{'':<15}{note}" for note in about.get("notes", [])]
    if {"rows", "epochs", "loss"} <= about.keys():
        taken = f"{about['optimizer']}, " if "optimizer" in about else ""
        shown.append(f"{'training':<15}{counted(about['rows'], 'row')}, {taken}{steps(about)}, loss {about['loss']}")
        shown += [f"{'':<15}{said}" for said in about.get("said", [])]
    if about.get("folds"):
        shown += [f"{'folds':<15}{len(about['folds'])}, mean and deviation", *report.fold_lines(about["folds"])]
    if about.get("held out"):
        shown += ["held out", *report.lines(model, about["held out"])]
    return shown + report.importance_lines(str(about.get("measured")), about.get("importances", []))


def _columns(encoder: Any) -> list[str]:
    from gdfast.tables.errors import listed

    found = []
    for part in encoder.parts:
        names = listed(part.names) if part.names else f"{part.width} without names"
        categories = f": {listed(part.values)}" if part.kind == "category" else ""
        found.append(f"{part.kind}: {names}{categories}")
    return found
