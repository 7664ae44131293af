"""``gdfast predict``."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gdfast.cli.app import app
from gdfast.cli.errors import UserError
from gdfast.cli.outputs import check_suffix, written

SUFFIXES = (".csv", ".parquet")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder or file that gdfast train left.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for gdfast train; columns are found by name.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The predictions, a .csv or .parquet.")],
    missing: Annotated[
        str | None, typer.Option(metavar="NAME", help="error, fill.", show_default="as in training")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Predict with a model: one line a row, in the data's order.

    The column "prediction" holds classes or numbers; where the model has them, "probability_..." hold each class's
    probability. Where the data has the target too, prints how good the predictions are.
    """
    from gdfast.cli.model import Model
    from gdfast.tables.reading import read

    check_suffix(out, SUFFIXES)
    if missing not in (None, "error", "fill"):
        raise UserError(f"--missing must be error or fill, since every row gets its prediction; got {missing!r}")
    loaded = Model.load(model)
    table = read(data, loaded.encoder.texts, loaded.encoder.sparse_width)
    found = loaded.predict(table, missing or ("fill" if loaded.missing == "fill" else "error"))
    with written(out, SUFFIXES) as path:
        write(found, path)
    for name, count in loaded.encoder.unknown(table).items():
        print(f"gdfast: {count:,} cells of {name!r} hold categories that the model does not know", file=sys.stderr)
    if not quiet:
        print("\n".join([*_scores(loaded, table, found), f"{'written':<15}{len(table):,} predictions in {out}"]))


def write(columns: dict[str, Any], path: str) -> None:
    """Write columns as CSV or Parquet."""
    import pandas as pd

    frame = pd.DataFrame(columns)
    if Path(path).suffix.lower() == ".csv":
        frame.to_csv(path, index=False)
    else:
        import pyarrow  # noqa: F401 - so that its absence is not pandas's to explain

        frame.to_parquet(path, index=False)


def _scores(model: Any, table: Any, found: dict[str, Any]) -> list[str]:
    from gdfast.cli import report, training

    true = training.labels_of(model, table)
    return [] if true is None else report.lines(model, report.compare(model, found["prediction"], true))
