"""``gdfast predict`` and ``gdfast evaluate``."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gdfast.cli import data_options as options
from gdfast.cli.app import Command, app
from gdfast.cli.errors import UserError
from gdfast.cli.outputs import check_file, is_same, written
from gdfast.cli.settings import Settings
from gdfast.tables.errors import counted

SUFFIXES = (".csv", ".parquet")

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder or file that gdfast train left.")]
Data = Annotated[str, typer.Argument(metavar="DATA", help="As for gdfast train; columns are found by name.")]
Missing = Annotated[str | None, typer.Option(metavar="NAME", help="error, fill.", show_default="as in training")]


@app.command(cls=Command, epilog="Example: gdfast predict iris-model new.csv --out labels.csv")
def predict(
    model: ModelPath,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The predictions, a .csv or .parquet.")],
    missing: Missing = None,
    sep: options.Sep = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
    comment: options.Comment = None,
    stream: options.Stream = False,
    weight: options.Weight = None,
    threads: options.Threads = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Predict with a model: one line a row, in the data's order.

    The column "prediction" holds classes or numbers; where the model has them, "probability_..." hold each class's
    probability. Where the data has the target too, prints how good the predictions are.
    """
    from gdfast.cli.model import FILE, Model

    check_file(out, SUFFIXES)
    for name, path in (("DATA", Path(data)), ("MODEL", model / FILE if model.is_dir() else model)):
        if is_same(out, path):
            raise UserError(f"--out must be another file than {name}, which it would replace; got {str(out)!r}")
    loaded = Model.load(model)
    chosen = Settings(weight=weight, threads=threads, sep=sep, decimal=decimal, encoding=encoding, comment=comment)
    if stream:
        if weight is not None:
            raise UserError("--weight is for scores, which need all rows; leave it out with --stream")
        if comment is not None:
            raise UserError("--comment needs all rows in memory, and --stream reads them batch by batch")
        loaded.estimator.set_params(n_threads=threads)
        _predict_stream(loaded, data, out, missing, quiet, sep=sep, decimal=decimal, encoding=encoding)
        return
    table, found = _answers(loaded, data, missing, chosen)
    with written(out, SUFFIXES) as temporary:
        write({name: column for name, column in found.items() if not name.startswith("score_")}, temporary)
    if not quiet:
        said = _scores(loaded, table, found, weight) if loaded.target in table.columns else []
        print("\n".join([*_noted(table.notes), *said, _written(len(table), out)]))


@app.command(cls=Command, epilog="Example: gdfast evaluate iris-model new.csv")
def evaluate(
    model: ModelPath,
    data: Data,
    missing: Missing = None,
    sep: options.Sep = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
    comment: options.Comment = None,
    weight: options.Weight = None,
    threads: options.Threads = None,
) -> None:
    """Print how good a model is on data that has the target; writes nothing."""
    from gdfast.cli.model import Model
    from gdfast.tables.reading import check_columns

    loaded = Model.load(model)
    chosen = Settings(weight=weight, threads=threads, sep=sep, decimal=decimal, encoding=encoding, comment=comment)
    table, found = _answers(loaded, data, missing, chosen)
    check_columns([loaded.target], table, "the target of the model")
    print("\n".join([*_noted(table.notes), *_scores(loaded, table, found, weight, strict=True)]))


def write(columns: dict[str, Any], path: str) -> None:
    """Write columns as CSV or Parquet."""
    import pandas as pd

    frame = pd.DataFrame(columns)
    if Path(path).suffix.lower() == ".csv":
        frame.to_csv(path, index=False)
    else:
        import pyarrow  # noqa: F401 - so that its absence is not pandas's to explain

        frame.to_parquet(path, index=False)


def _predict_stream(model: Any, data: str, out: Path, missing: str | None, quiet: bool, **file: str | None) -> None:
    from gdfast.cli import streaming

    with written(out, SUFFIXES) as temporary:
        done = streaming.predict(model, data, temporary, _policy(model, missing), **file)
    _say_unknown(done.unknown)
    if not quiet:
        print("\n".join([*_noted(done.notes), _written(done.rows, out)]))


def _noted(notes: Sequence[str]) -> list[str]:
    """Return the lines about how the data was read."""
    return [f"{'data' if i == 0 else '':<15}{note}" for i, note in enumerate(notes)]


def _written(rows: int, out: Path) -> str:
    return f"{'written':<15}{counted(rows, 'prediction')} in {out}"


def _say_unknown(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        hold = "holds a category" if count == 1 else "hold categories"
        print(f"gdfast: {counted(count, 'cell')} of {name!r} {hold} that the model does not know", file=sys.stderr)


def _policy(model: Any, missing: str | None) -> str:
    """Return what to do about missing values."""
    if missing not in (None, "error", "fill"):
        raise UserError(f"--missing must be error or fill, since every row gets its prediction; got {missing!r}")
    return missing or ("fill" if model.missing == "fill" else "error")


def _answers(model: Any, data: str, missing: str | None, chosen: Settings) -> tuple[Any, dict[str, Any]]:
    """Read the data with the model's types and return it with the predictions; say which categories are unknown."""
    from gdfast.cli.preparing import weights_of
    from gdfast.tables.reading import check_columns, read

    policy = _policy(model, missing)
    reading = model.reading(**chosen.file_options())
    if chosen.weight is not None:
        reading = replace(reading, numbers=[*reading.numbers, chosen.weight])
    table = read(data, reading)
    if chosen.weight is not None:
        check_columns([chosen.weight], table, "--weight")
        weights_of(table.columns[chosen.weight], chosen.weight)
    model.estimator.set_params(n_threads=chosen.threads)
    found = model.predict(table, policy, scores=True)
    _say_unknown(model.encoder.unknown(table))
    return table, found


def _scores(model: Any, table: Any, found: dict[str, Any], weight: str | None, strict: bool = False) -> list[str]:
    """Return the scores on the rows that have the target; or the line that says why there are none."""
    from gdfast.cli import report
    from gdfast.cli.guess import share_seen
    from gdfast.cli.labels import known_labels
    from gdfast.cli.preparing import weights_of

    classes = model.estimator.classes_ if model.classifies else None
    try:
        rows, true = known_labels(table.columns[model.target], model.target, classes)
        weights = None if weight is None else weights_of(table.columns[weight][rows], weight)
    except (UserError, ValueError) as error:
        if strict:
            raise
        return [f"{'no scores':<15}{error}"]
    scores = report.compare(model, {name: column[rows] for name, column in found.items()}, true, weights)
    have = "has" if rows.sum() == 1 else "have"
    shown = [f"{'scored':<15}{int(rows.sum()):,} of {counted(len(rows), 'row')} {have} a value of {model.target!r}"]
    share = share_seen(model.about, model.encoder.encode(table.take(rows)))
    if share > 0.01:
        shown.append(
            f"{'beware':<15}About {share:.0%} of these rows were in the training: the scores are too good for new rows."
        )
    return [*(shown if len(shown) > 1 or not rows.all() else []), *report.lines(model, scores)]
