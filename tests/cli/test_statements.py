"""What model files, reports and columns may say, case by case."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
import typer
from typer.testing import CliRunner

from gdfast.checkpoint.plain import read_data, write_data
from gdfast.cli.app import Command
from gdfast.cli.errors import UserError
from gdfast.cli.guess import check_about
from gdfast.cli.importances import _Columns
from gdfast.cli.labels import known_labels
from gdfast.cli.model import KIND, Model
from gdfast.cli.report import compare, lines
from gdfast.cli.settings import Settings
from gdfast.cli.training import fit, prepare
from gdfast.tables.csv_files import Reading, _without_comments
from gdfast.tables.errors import TableError
from gdfast.tables.reading import read
from gdfast.tables.typing_columns import _how


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.standard_normal(40), "y": ["a", "b"] * 20})
    frame.to_csv("t.csv", index=False)
    return frame


@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({"seen": {"hashes": np.zeros(2), "distinct": 1.0}}, ValueError),
        ({"seen": {"hashes": np.zeros(2, np.int64), "distinct": 1}}, ValueError),
        ({"guess": {"mean": 1, "median": 2.0}}, ValueError),
        ({"guess": {"mean": 1.0, "median": np.nan}}, ValueError),
        ({"importances": "x"}, TypeError),
    ],
)
def test_what_no_training_leaves_about_itself(about, error):
    with pytest.raises(error, match="must"):
        check_about(about, None)


def test_labels_that_are_true_and_false():
    rows, labels = known_labels(np.array([True, False, True], object), "y", np.array([False, True]))
    assert len(rows) == 3
    assert labels.tolist() == [True, False, True]


def test_a_model_file_with_another_decimal_sign(table):
    fit(prepare("t.csv", Settings(target="y", epochs=1))).save(Path("m"))
    data = read_data(Path("m"), KIND)
    data["decimal"] = "x"
    write_data(Path("bad"), KIND, data)
    with pytest.raises(UserError, match="decimal"):
        Model.load(Path("bad"))
    assert isinstance(_Columns(Model.load(Path("m")), {}).fit(None, None), _Columns)


def test_going_on_without_rows_of_a_class(table):
    fit(prepare("t.csv", Settings(target="y", epochs=1))).save(Path("m"))
    table.iloc[::2].to_csv("one.csv", index=False)
    with pytest.raises(UserError, match="rows of every class"):
        prepare("one.csv", Settings(target="y", epochs=1), Model.load(Path("m")))


def test_comments_that_are_not_there():
    notes = []
    assert _without_comments("a,b\n1,2", Reading(comment="%"), notes) == "a,b\n1,2"
    assert notes == []


def test_parquet_of_times_and_of_no_rows(tmp_path):
    for name, values in (("times", [1_000_000, 2_000_000]), ("none", [])):
        column = pyarrow.array(values, pyarrow.duration("us"))
        pyarrow.parquet.write_table(pyarrow.table({"t": column}), tmp_path / f"{name}.parquet")
    assert read(str(tmp_path / "times.parquet")).columns["t"].tolist() == [1.0, 2.0]
    with pytest.raises(TableError, match="has no rows"):
        read(str(tmp_path / "none.parquet"))


def test_a_column_of_which_nothing_is_shown():
    assert _how("x", ["1", "2"], ".", np.array([1.0, 2.0])) == []


def test_options_that_are_not_to_be_seen():
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=Command)
    def make(seen: int = 1, unseen: Annotated[int, typer.Option(hidden=True)] = 1) -> None: ...

    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--seen" in shown
    assert "--unseen" not in shown


def test_a_report_without_probabilities(table):
    """As of a model whose file lost what it says of the classes' shares."""
    model = fit(prepare("t.csv", Settings(target="y", epochs=1)))
    found = compare(model, {"prediction": np.array(["a", "b"])}, np.array(["a", "b"]))
    assert not any("log loss" in line for line in lines(model, found))
