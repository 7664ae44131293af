"""Tables that are written otherwise than that of the training: the same predictions, or a sentence about it."""

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from command import mistake, run
from pyarrow import parquet

from gdfast.__main__ import main
from gdfast.cli.model import Model
from gdfast.tables.csv_blocks import csv_tables
from gdfast.tables.errors import TableError
from gdfast.tables.reading import read

ROWS = 120


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def shop() -> pd.DataFrame:
    """Return numbers, quarters that are categories, days, times of day, and a number that depends on them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.standard_normal(ROWS), "b": rng.standard_normal(ROWS), "q": np.arange(ROWS) % 5 / 4})
    frame["day"] = [datetime.date(2024, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(0, 500, ROWS)]
    frame["hour"] = [datetime.time(int(h), 30) for h in rng.integers(0, 24, ROWS)]
    frame["z"] = frame.a + frame.q + rng.standard_normal(ROWS) / 10
    return frame


def predictions(capsys, model: str, data: str, *options: str) -> np.ndarray:
    """Return what ``gdfast predict`` writes."""
    run(capsys, "predict", model, data, "--out", "p.parquet", "--quiet", *options)
    return pd.read_parquet("p.parquet").prediction.to_numpy()


@pytest.mark.parametrize("first", ["a.csv", "a.parquet"])
def test_csv_and_parquet_are_read_alike(first, capsys):
    frame = shop()
    frame.loc[3, ["day", "hour"]] = None
    frame.to_csv("a.csv", index=False)
    frame.to_parquet("a.parquet")
    run(capsys, "train", first, "--target", "z", "--category", "q", "--missing", "fill", "--out", "run", "--quiet")
    expected = predictions(capsys, "run", "a.csv")
    np.testing.assert_array_equal(predictions(capsys, "run", "a.parquet"), expected)
    np.testing.assert_array_equal(predictions(capsys, "run", "a.parquet", "--stream"), expected)
    assert {part.kind for part in Model.load(Path("run")).encoder.parts} == {"numbers", "category", "dates"}


def test_days_that_are_categories(capsys):
    frame = shop().assign(day=[datetime.date(2024, 1, 1 + i % 3) for i in range(ROWS)])
    frame.to_parquet("a.parquet")
    run(capsys, "train", "a.parquet", "--target", "z", "--category", "day", "--drop", "hour", "--out", "run", "--quiet")
    assert len(predictions(capsys, "run", "a.parquet")) == ROWS


def test_categories_with_and_without_decimals(capsys):
    frame = shop()[["a", "q", "z"]].assign(q=[("1.0", "1.00", "2.0", "3")[i % 4] for i in range(ROWS)])
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "z", "--category", "q", "--out", "run", "--quiet")
    part = next(part for part in Model.load(Path("run")).encoder.parts if part.kind == "category")
    frame = pd.DataFrame({"q": ["1.0", "1.00", "2.0", "2", "3", "3.0", "1", "7"]})
    frame.to_parquet("b.parquet")
    assert part.codes(read("b.parquet")).tolist() == [0, 1, 2, 2, 3, 3, -1, -1]  # 1 may be the one or the other


def test_a_column_without_any_value(capsys):
    frame = shop()[["a", "b", "z"]]
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "z", "--out", "run", "--quiet")
    frame.assign(a=np.nan).to_csv("b.csv", index=False)
    frame.assign(a=None).to_parquet("b.parquet")
    expected = predictions(capsys, "run", "b.csv", "--missing", "fill")
    np.testing.assert_array_equal(predictions(capsys, "run", "b.parquet", "--missing", "fill"), expected)
    said = "column 'a' has 120 missing values in 120 rows: --missing fill fills them in"
    assert mistake(capsys, "predict", "run", "b.parquet", "--out", "q.csv") == said


@pytest.mark.parametrize("word", ["now", "today"])
def test_dates_do_not_depend_on_the_clock(word, capsys):
    frame = shop()[["a", "day", "z"]]
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "z", "--out", "run", "--quiet")
    frame.assign(day=word).to_csv("b.csv", index=False)
    said = f"column 'day' must hold dates, as in training; got {word!r}"
    assert mistake(capsys, "predict", "run", "b.csv", "--out", "q.csv") == said


@pytest.fixture
def model(capsys):
    """Return a model of two columns."""
    shop()[["a", "b", "z"]].to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "z", "--out", "run", "--quiet")
    return "run"


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_a_column_that_is_there_twice(model, options, capsys):
    names, *lines = Path("a.csv").read_text().splitlines()
    Path("b.csv").write_text("\n".join([f"a,{names}", *(f"9,{line}" for line in lines)]))
    said = "the data must have one column 'a', as in training; got 2"
    assert mistake(capsys, "predict", model, "b.csv", "--out", "q.csv", *options) == said
    Path("c.csv").write_text("\n".join([f"c,c,{names}", *(f"9,9,{line}" for line in lines)]))  # not one that it needs
    np.testing.assert_array_equal(predictions(capsys, model, "c.csv"), predictions(capsys, model, "a.csv"))
    run(capsys, "train", "b.csv", "--target", "z", "--keep", "a", "--out", "both", "--quiet")
    assert len(predictions(capsys, "both", "b.csv", *options)) == ROWS
    table = pa.Table.from_pandas(shop()[["a", "b"]]).append_column("a", pa.array([9.0] * ROWS))
    parquet.write_table(table, "b.parquet")
    assert main(["predict", model, "b.parquet", "--out", "q.csv", *options]) == 2
    assert "a" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_how_the_data_was_read_is_said(model, options, capsys):
    names, *lines = Path("a.csv").read_text().splitlines()
    Path("b.csv").write_text("\n".join([f"{names},n", *(f"9,{line},$7" for line in lines)]))
    note = "data           The first column, which has no name, was taken for names of rows and left out.\n"
    assert run(capsys, "predict", model, "b.csv", "--out", "q.csv", *options).startswith(note)
    if not options:
        assert run(capsys, "evaluate", model, "b.csv").startswith(note)


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_one_is_not_many(options, capsys):
    frame = shop()[["a", "z"]].assign(c=[("red", "green")[i % 2] for i in range(ROWS)])
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "z", "--out", "run", "--quiet")
    for rows, said, written in (
        (1, "1 cell of 'c' holds a category", "1 prediction in q.csv"),
        (2, "2 cells of 'c' hold categories", "2 predictions in q.csv"),
    ):
        frame[["a", "c"]].head(rows).assign(c="blue").to_csv("b.csv", index=False)
        assert main(["predict", "run", "b.csv", "--out", "q.csv", *options]) == 0
        out, err = capsys.readouterr()
        assert err == f"gdfast: {said} that the model does not know\n"
        assert out == f"written        {written}\n"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1,5", *["0.5"] * 30], "holds '0.5' with a decimal point, and '1,5' with a comma: correct them"),
        (
            ["?", "1,5", *map(str, np.arange(40) / 8)],
            "holds '0.0' with a decimal point, and '1,5' with a comma: correct",
        ),
        (["x", *map(str, range(40))], "holds numbers in 40 rows, but 'x' in row 1: correct the 1 that are none"),
        ([*["1e400"] * 3], "has 3 infinite numbers: correct them"),
    ],
)
def test_cells_that_are_no_numbers_together(model, cells, said, capsys):
    pd.DataFrame({"a": cells, "b": 0.5}).to_csv("b.csv", index=False)
    found = mistake(capsys, "predict", model, "b.csv", "--out", "q.csv")
    assert found.startswith(f"column 'a' {said}")
    assert "--" not in found  # no option that predict lacks


def test_a_decimal_sign_that_shows_late(model):
    lines = ["a;b", *["2;1,234"] * 300, *["1,5;1,234"] * 300]
    Path("b.csv").write_text("\n".join(lines))
    reading = Model.load(Path(model)).reading()
    with pytest.raises(TableError, match=r"b\.csv shows its decimal sign late: say --decimal \. or --decimal ,"):
        list(csv_tables("b.csv", reading, 1000))
    said = Model.load(Path(model)).reading(decimal=",")
    parts = [table.columns["b"] for table in csv_tables("b.csv", said, 1000)]
    np.testing.assert_array_equal(np.concatenate(parts), read("b.csv", reading).columns["b"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--sep", "é"], "--sep must be an ASCII character, and no quote or line break; got 'é'"),
        (["--sep", '"'], "--sep must be an ASCII character, and no quote or line break; got '\"'"),
        (["--encoding", "hex"], "--encoding must be one that Python knows"),
        (["--encoding", "undefined"], "a.csv cannot be read as undefined"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_ways_to_write_that_no_file_has(model, change, options, said, capsys):
    assert mistake(capsys, "predict", model, "a.csv", "--out", "q.csv", *change, *options).startswith(said)


@pytest.mark.parametrize("data", [".", "/", ""])
def test_paths_without_a_name(model, data, capsys):
    assert mistake(capsys, "predict", model, data, "--out", "q.csv") == f"{data!r} must be a file of data"


def test_old_line_breaks_and_zero_bytes_in_batches(model, capsys):
    expected = predictions(capsys, model, "a.csv")
    Path("b.csv").write_bytes(Path("a.csv").read_bytes().replace(b"\n", b"\r"))
    np.testing.assert_array_equal(predictions(capsys, model, "b.csv", "--stream"), expected)
    Path("b.csv").write_bytes(Path("a.csv").read_bytes() + b"1,2,\0\n")
    said = "b.csv holds zero bytes, as no text does"
    assert mistake(capsys, "predict", model, "b.csv", "--out", "q.csv", "--stream") == said


def svm(path: str, rows: list[str]) -> None:
    """Write 40 rows of a class and numbers each."""
    Path(path).write_text("\n".join(f"{i % 2} {rows[i % len(rows)]}" for i in range(40)) + "\n")


def test_svmlight_counts_as_in_training(capsys):
    svm("zero.svm", ["0:1 2:1", "1:1 2:0.5"])
    run(capsys, "train", "zero.svm", "--out", "zero", "--quiet")
    svm("rest.svm", ["1:1 2:0.5"])  # lacks column 0, and so looks as if it began at 1
    assert read("rest.svm", Model.load(Path("zero")).reading()).sparse.toarray()[0].tolist() == [0, 1, 0.5]
    svm("one.svm", ["1:1 2:1", "2:0.5"])
    run(capsys, "train", "one.svm", "--out", "one", "--quiet")
    assert read("rest.svm", Model.load(Path("one")).reading()).sparse.toarray()[0].tolist() == [1, 0.5]
    said = "zero.svm must count its columns from 1, as in training; got 0"
    assert mistake(capsys, "predict", "one", "zero.svm", "--out", "q.csv") == said
    svm("more.svm", ["1:1 4:2"])
    said = "more.svm must have at most 2 columns, as in training; got 4"
    assert mistake(capsys, "predict", "one", "more.svm", "--out", "q.csv") == said


def test_arrays_of_one_name(capsys):
    np.savez("a.npz", **{"X": np.ones((9, 2)), "X[0]": np.zeros(9), "y": np.arange(9)})
    said = "a.npz must have a different name for each column; got 'X[0]' of two arrays"
    assert mistake(capsys, "train", "a.npz") == said
