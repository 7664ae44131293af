"""``gdfast train --stream``, ``gdfast predict --stream``: rows beyond memory, read batch by batch."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from gdfast.checkpoint.files import replacing
from gdfast.cli.course import optimizer_of, steps, takes_all_rows
from gdfast.cli.errors import UserError
from gdfast.cli.guess import guess_of
from gdfast.cli.labels import kind_of
from gdfast.cli.model import FILE, Model
from gdfast.cli.outputs import check_folder
from gdfast.cli.settings import ESTIMATORS, Settings
from gdfast.cli.training import fitting
from gdfast.tables import CSV, Parquet, TableError
from gdfast.tables.batches import Batch
from gdfast.tables.csv_blocks import csv_tables
from gdfast.tables.errors import counted
from gdfast.tables.reading import parquet_tables
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

#: the state of a training that broke off; the next one goes on from it
CHECKPOINT = "checkpoint.safetensors"
#: options that need all rows at once, and what they must be
NEEDS_ALL_ROWS = (
    "time", "group", "folds", "keep", "missing_target", "early_stopping", "balanced", "comment", "schedule",
    "warmup",
)  # fmt: skip
#: what trains hashed columns in one pass: steps only touch the columns of their rows
HASHED = {"optimizer": "adagrad", "lr": 0.15, "batch_size": 256, "penalty": None, "max_iter": 1}


@dataclass(frozen=True)
class Trained:
    """What ``gdfast train --stream`` prints of its model."""

    model: Model
    rows: int
    columns: int
    statistics: str
    scores: list[str]


def train(data: str, settings: Settings, out: Path) -> Trained:
    """Train on a file batch by batch, and write the model.

    Raises
    ------
    UserError, TableError
        If an option needs all rows at once, or the data cannot be used.
    """
    _check_options(settings)
    check_folder(out, (FILE, CHECKPOINT), [])
    source = source_of(data, settings)
    with fitting():
        first, whole = _first(source, settings.seed)
    labels = first.y.astype(object) if first.y.dtype.kind == "U" else first.y
    kind, notes = kind_of(labels, source.roles.target, settings)
    if kind == "classification" and first.y.dtype.kind == "f":
        raise UserError(
            f"--target must hold whole numbers or words for classes; {source.roles.target!r} holds decimals"
        )
    if kind == "regression" and first.y.dtype.kind not in "biuf":
        raise UserError(f"--target must hold numbers for a regression; {source.roles.target!r} holds words")
    estimator = _estimator(kind, settings, source.roles.hashed, whole)
    begin, made = perf_counter(), []
    layout = next(iter(source.layouts.values())) if isinstance(source, CSV) else None
    decimal = layout.decimal if layout is not None else settings.decimal
    notes = [*notes, *(layout.notes if layout is not None else ())]

    def write(stream: Any) -> None:
        about = {
            "rows": stream.rows,
            "epochs": estimator.n_iter_,
            "seconds": perf_counter() - begin,
            "loss": estimator.loss_curve_[-1],
            "optimizer": optimizer_of(estimator, settings.optimizer),
            "lr found": None,
            "guess": guess_of(first.y, kind, first.weights),
            "notes": notes,
        }
        encoder = stream.encode.encoder
        made.append(Model(encoder, estimator, source.roles.target, settings.missing, about, decimal))
        with replacing(str(out / FILE)) as temporary:
            made[0].save(Path(temporary))

    _fit(estimator, source, out, write)
    model = made[0]
    scores = _scores(model, settings.valid, settings) if settings.valid is not None else []
    columns = len(source.roles.numbers) + len(source.roles.categories) + len(source.roles.texts)
    return Trained(model, model.about["rows"], columns, estimator.statistics_, scores)


def _first(source: Any, seed: int) -> tuple[Batch, bool]:
    """Return the first batch, and whether it is all."""
    with closing(source.open(seed).epoch(0)) as batches:
        return next(batches), next(batches, None) is None


def _fit(estimator: Any, source: Any, out: Path, write: Callable[[Any], None]) -> None:
    """Fit, and write; where that fails, a folder that it made is left only with a checkpoint."""
    from gdfast.sklearn._streaming import fit_source

    made = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with fitting():
            fit_source(estimator, source, out / CHECKPOINT, write)
    except OSError as error:
        raise UserError(_unwritten(out, error)) from None
    finally:
        if made and out.exists() and not any(out.iterdir()):
            out.rmdir()


def _unwritten(out: Path, error: OSError) -> str:
    """Return what to do where the folder of the model cannot be written."""
    said = f"--out must be a folder that can be written ({error.strerror or error}); got {str(out)!r}"
    if not (out / CHECKPOINT).is_file():
        return said
    return f"{said}. The training is kept in {out / CHECKPOINT}: the same command goes on from it"


def _check_options(settings: Settings) -> None:
    for name in NEEDS_ALL_ROWS:
        chosen = getattr(settings, name)
        if (tuple(chosen) if isinstance(chosen, list) else chosen) != getattr(Settings(), name):
            raise UserError(
                f"--{name.replace('_', '-')} needs all rows in memory, and --stream reads them batch by batch"
            )
    if settings.lr == "find" or settings.missing == "drop":
        what = "--lr find" if settings.lr == "find" else "--missing drop"
        raise UserError(f"{what} needs all rows in memory, and --stream reads them batch by batch")
    if settings.target is None:
        raise UserError("--target must name the column to predict, with --stream")


def source_of(data: str, settings: Settings) -> Any:
    """Return the source that options describe.

    Raises
    ------
    UserError, TableError
    """
    how: dict[str, Any] = {
        "target": settings.target,
        "weight": settings.weight,
        "categories": list(settings.category),
        "text": list(settings.text),
        "hash_bits": settings.bits,
        "missing": settings.missing,
        "statistics": settings.statistics,
    }
    kind = suffix_of(data)
    if kind == "csv":
        tab = Path(data.removesuffix(".gz")).suffix.lower() == ".tsv"
        how |= {"sep": settings.sep or ("\t" if tab else None), "decimal": settings.decimal}
        how["encoding"] = settings.encoding
    make = Parquet if kind == "parquet" else CSV
    try:
        source = make(data, **how)
        if settings.drop:
            names = source.names
            for name in settings.drop:
                if name not in names:
                    raise UserError(f"--drop must be a column of {data}; got {name!r}")
            source = make(data, columns=[name for name in names if name not in settings.drop], **how)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from None
    return source


def suffix_of(data: str) -> str:
    """Return whether a file or folder is "parquet" or "csv".

    Raises
    ------
    UserError
    """
    path = Path(data)
    if path.is_dir():
        return "csv" if any(path.glob("*.csv")) else "parquet"
    suffix = Path(data.removesuffix(".gz")).suffix.lower()
    if suffix not in (".parquet", ".csv", ".tsv"):
        raise UserError(f"with --stream DATA must be a .parquet, .csv or .tsv file, or a folder of some; got {data!r}")
    return "parquet" if suffix == ".parquet" else "csv"


def _estimator(kind: str, settings: Settings, hashed: bool, whole: bool) -> Any:
    from gdfast import sklearn

    options = settings.parameters(kind)
    if settings.lr != "auto":
        options["lr"] = float(settings.lr)
    if hashed and settings.model == "linear" and settings.optimizer == "auto":
        chosen = {"lr": settings.lr != "auto", "batch_size": settings.batch_size}
        chosen["max_iter"] = settings.epochs or whole  # one pass of few rows would be a few steps
        chosen["penalty"] = settings.alpha != "auto" or settings.penalty != Settings().penalty
        options |= {name: value for name, value in HASHED.items() if not chosen.get(name)}
    return getattr(sklearn, ESTIMATORS[settings.model, kind])(**options)


def tables(model: Model, data: str, **file: str | None) -> Iterator[Table]:
    """Yield a file's rows as tables, with the types of training."""
    reading = model.reading(None, **file)
    return (parquet_tables if suffix_of(data) == "parquet" else csv_tables)(data, reading)


def _scores(model: Model, data: str, settings: Settings) -> list[str]:
    """Return the scores on the rows of another file."""
    from gdfast.cli import report
    from gdfast.cli.labels import known_labels
    from gdfast.tables.reading import check_columns

    classes = model.estimator.classes_ if model.classifies else None
    found, truth = [], []
    for table in tables(model, data, sep=settings.sep, decimal=settings.decimal, encoding=settings.encoding):
        check_columns([model.target], table, "the target of the model")
        rows, true = known_labels(table.columns[model.target], model.target, classes)
        found.append(model.predict(table.take(rows), settings.missing, scores=True))
        truth.append(true)
    whole = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return list(report.lines(model, report.compare(model, whole, np.concatenate(truth))))


def lines(data: str, trained: Trained, settings: Settings, out: Path) -> list[str]:
    """Return what ``gdfast train --stream`` prints."""
    model, estimator = trained.model, trained.model.estimator
    about = model.about
    hashed = f", hashed to {2**settings.bits:,}" if model.encoder.is_sparse else ""
    kind = "classification" if model.classifies else "regression"
    choices = [type(estimator).__name__, settings.loss_for(kind), about["optimizer"]]
    return [
        f"{'data':<15}{data}: {model.target} from {counted(trained.columns, 'column')}{hashed}, "
        f"{counted(trained.rows, 'row')}",
        *(f"{'':<15}{note}" for note in about["notes"]),
        f"{'':<15}Scales and classes are those of {trained.statistics}.",
        f"{'model':<15}{', '.join(choices)}",
        f"{'training':<15}{steps(about)}, {about['seconds']:.2g} s, loss {about['loss']:.4g}"
        + ", of each row before it was learned from" * (not takes_all_rows(estimator)),
        *([f"{'held out':<15}{settings.valid}", *trained.scores] if trained.scores else []),
        f"{'written':<15}{FILE} in {out}",
    ]


@dataclass(frozen=True)
class Predicted:
    """How many rows have got predictions; of which columns how many cells are unknown categories; what else to say."""

    rows: int
    unknown: dict[str, int]
    notes: list[str]


def predict(model: Model, data: str, path: str, missing: str, **file: str | None) -> Predicted:
    """Write the predictions of a file's rows, batch by batch."""
    count, writer = 0, None
    unknown: Counter[str] = Counter()
    notes: list[str] = []
    try:
        for table in tables(model, data, **file):
            notes = notes if writer else list(table.notes)  # of the first rows, as the layout
            found = model.predict(table, missing)
            writer = writer or _Writer(path)
            writer.write(found)
            count += len(table)
            unknown += Counter(model.encoder.unknown(table))
    finally:
        if writer is not None:
            writer.close()
    if writer is None:
        raise TableError(f"{data} has no rows")
    return Predicted(count, dict(unknown), notes)


class _Writer:
    """A CSV or Parquet file that is written batch by batch."""

    def __init__(self, path: str) -> None:
        self._path, self._begun = path, False
        self._parquet: Any = None

    def write(self, columns: dict[str, Any]) -> None:
        import pandas as pd

        frame = pd.DataFrame(columns)
        if Path(self._path).suffix.lower() == ".csv":
            frame.to_csv(self._path, index=False, header=not self._begun, mode="a" if self._begun else "w")
        else:
            import pyarrow
            import pyarrow.parquet

            table = pyarrow.Table.from_pandas(frame, preserve_index=False)
            self._parquet = self._parquet or pyarrow.parquet.ParquetWriter(self._path, table.schema)
            self._parquet.write_table(table)
        self._begun = True

    def close(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
