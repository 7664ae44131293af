"""What can be wrong with data and options: one sentence, exit code 2, and nothing written."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from gdfast.__main__ import main
from gdfast.cli import bench
from gdfast.cli.model import Model
from gdfast.cli.settings import Settings
from gdfast.cli.training import prepare


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistake(capsys, *arguments: str) -> str:
    """Run ``gdfast``; return the one sentence it says, without its name."""
    before = sorted(Path().rglob("*"))
    code = main(list(arguments))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), (out, err)
    assert "Traceback" not in err
    assert sorted(Path().rglob("*")) == before
    return err.removeprefix("gdfast: ").rstrip("\n")


def table(**columns: object) -> pd.DataFrame:
    """Return sixty rows: x, the target y, and these columns."""
    return pd.DataFrame({"x": np.arange(60.0), "y": np.arange(60) % 2, **columns})


def holes(*rows: int) -> np.ndarray:
    column = np.arange(60.0)
    column[list(rows)] = np.nan
    return column


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("nowhere.csv", "nowhere.csv cannot be read: No such file or directory"),
        ("nowhere.svm", "nowhere.svm cannot be read: No such file or directory"),
        (
            "nowhere",
            "nowhere must be a file that ends in .csv, .tsv, .parquet, .npz, .svm, .svmlight, .libsvm, or one of",
        ),
        ("a.xlsx", "a.xlsx must be a file that ends in .csv"),
        ("empty.csv", "empty.csv is empty"),
        ("head.csv", "head.csv has no rows"),
        ("ragged.csv", "ragged.csv cannot be read: line 3 has 3 cells where the lines before have 2"),
        ("latin.csv", "--target must be a column of the data, x, straße; got 'y'"),
        ("twice.parquet", "twice.parquet cannot be read: Multiple matches"),
        ("bad.parquet", "bad.parquet cannot be read: "),
        ("bad.npz", "bad.npz cannot be read: "),
        ("zip.npz", "zip.npz cannot be read: "),
        ("single.npz", "single.npz must hold named arrays"),
        ("cube.npz", "array 'X' must have one axis or two, and no complex numbers; got float64 (2, 2, 2)"),
        ("uneven.npz", "the arrays of uneven.npz must have equally many rows; got {'X[0]': 3, 'y': 2}"),
        ("objects.npz", "objects.npz cannot be read: Object arrays cannot be loaded"),
        ("bad.svm", "bad.svm cannot be read: "),
        ("wide.svm", "wide.svm must have at most 4,194,304 columns, for as small a file; got 2,147,483,646"),
        ("wider.svm", "wider.svm cannot be read: value too large to convert to int"),
        ("widest.svm", "widest.svm cannot be read: Python int too large to convert to C long"),
        ("wide.npz", "wide.npz must have at most 4,194,304 columns, for as small a file; got 4,194,305"),
        ("huge.npz", "huge.npz cannot be read: Unable to allocate"),
        ("method.npz", "method.npz cannot be read: That compression method is not supported"),
        ("torn.npz", "torn.npz cannot be read: Error -3 while decompressing data"),
        ("folder.csv", "folder.csv cannot be read: Is a directory"),
    ],
)
def test_data_that_is_no_data(data, said, capsys):
    Path("folder.csv").mkdir()
    for name, text in {
        "empty.csv": b"",
        "head.csv": b"x,y\n",
        "ragged.csv": b"x,y\n1,2\n1,2,3\n",
        "latin.csv": b"x,stra\xdfe\n1,\xe4\n",
        "bad.parquet": b"PAR1 this is not Parquet PAR1",
        "bad.npz": b"this is not NumPy's",
        "zip.npz": b"PK\x03\x04 cut off",
        "bad.svm": b"1 a:b\n",
        "wide.svm": b"1 2147483646:1\n",
        "wider.svm": b"1 2147483648:1\n",
        "widest.svm": b"1 99999999999999999999:1\n",
        "a.xlsx": b"",
    }.items():
        Path(name).write_bytes(text)
    with open("single.npz", "wb") as file:
        np.save(file, np.zeros(3))
    np.savez("cube.npz", X=np.zeros((2, 2, 2)))
    np.savez("uneven.npz", X=np.zeros((3, 1)), y=np.zeros(2))
    np.savez("objects.npz", y=np.array([None, 1]))
    np.savez_compressed("wide.npz", X=np.zeros((1, (1 << 22) + 1), np.int8))
    with zipfile.ZipFile("huge.npz", "w") as huge, huge.open("y.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 56,)})
    np.savez_compressed("torn.npz", y=np.arange(999))
    packed = bytearray(Path("torn.npz").read_bytes())
    packed[60:70] = b"\xff" * 10
    Path("torn.npz").write_bytes(packed)
    packed[8] = packed[packed.index(b"PK\x01\x02") + 10] = 97
    Path("method.npz").write_bytes(packed)
    pyarrow.parquet.write_table(pyarrow.table([[0], [1]], ["1", "1"]), "twice.parquet")
    assert mistake(capsys, "train", data, "--target", "y").startswith(said)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({}, ["--target", "z"], "--target must be a column of the data, x, y; got 'z'"),
        ({}, [], "--target must name the column to predict, one of x, y"),
        ({}, ["--target", "y", "--text", "z"], "--text must be a column of the data, x, y; got 'z'"),
        ({}, ["--target", "y", "--drop", "z"], "--drop must be a column of the data, x, y; got 'z'"),
        ({}, ["--target", "y", "--drop", "y"], "--target must not be left out or read as text; got 'y' for both"),
        ({}, ["--target", "y", "--drop", "x"], "the data must have at least one column beside the target"),
        ({"y": 1}, ["--target", "y"], "--target must have at least two classes to tell apart; 'y' is always 1"),
        ({"y": "spam"}, ["--target", "y"],
         "--target must have at least two classes to tell apart; 'y' is always 'spam'"),
        ({"y": [0] * 59 + [1]}, ["--target", "y", "--test-size", ".95"], "--target must have rows of two classes"),
        ({"y": ["a", "b"] * 30}, ["--target", "y", "--task", "regression"],
         "--target must hold numbers for a regression; 'y' holds words, such as 'a'"),
        ({"z": holes(3)}, ["--target", "y"],
         "column 'z' has 1 missing value in 60 rows: --missing drop leaves such rows out, --missing fill fills them"),
        ({"z": holes(3, 4), "w": [None] * 3 + ["a"] * 57}, ["--target", "y"],
         "column 'z' has 2 missing values, 'w' has 3 missing values in 60 rows"),
        ({"y": holes(3)}, ["--target", "y", "--missing", "fill"],
         "column 'y' has 1 missing value in 60 rows: --missing-target drop leaves such rows out"),
        ({"y": holes(*range(60))}, ["--target", "y", "--missing", "drop"],
         "--target must have values; column 'y' is empty"),
        ({"z": holes(*range(30)), "w": holes(*range(30, 60))}, ["--target", "y", "--missing", "drop"],
         "every row has a missing value, in 'z', 'w': leave columns out with --drop"),
        ({"z": [np.inf] * 2 + [0.5] * 58}, ["--target", "y"],
         "column 'z' has 2 infinite numbers: correct them, or leave it out"),
        ({"z": [f"name {i}" for i in range(60)]}, ["--target", "y", "--drop", "x"],
         "no column is left beside the target: 'z' has 60 different words in every row (--text 'z' reads it as text)"),
        ({"z": [f"name {i}" for i in range(60)]}, ["--target", "y", "--keep", "z"],
         "column 'z' holds 60 different values in 60 rows, too many for categories: read it as text with --text 'z'"),
        ({}, ["--target", "y", "--lr", "1e30", "--optimizer", "sgd"], "the loss became "),
        ({}, ["--target", "x", "--loss", "gamma"], "y must be positive for loss='gamma'; got a minimum of 0"),
        ({}, ["--target", "y", "--optimizer", "adam:betas=3"], "betas must be "),
        ({}, ["--target", "y", "--keep", "x", "--model", "mlp", "--hidden", str(10**15)],
         "the model does not fit into memory (Unable to allocate "),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_used(columns, options, said, capsys):
    table(**columns).to_csv("a.csv", index=False)
    assert mistake(capsys, "train", "a.csv", *options).startswith(said)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([[1, 2]] * 60, "column 'z' must hold numbers or words; it holds ndarray: leave it out with --drop 'z'"),
    ],
)
def test_columns_that_only_parquet_has(column, said, capsys):
    table(z=column).to_parquet("a.parquet")
    assert mistake(capsys, "train", "a.parquet", "--target", "y").startswith(said)
    assert mistake(capsys, "train", "a.parquet", "--target", "z").startswith(
        ("--target must hold", "column 'z'", said[:10])
    )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model", "forest", "one of linear, mlp; got 'forest'"),
        ("--task", "ranking", "one of auto, classification, regression; got 'ranking'"),
        ("--missing", "ignore", "one of error, drop, fill; got 'ignore'"),
        ("--penalty", "l3", "one of l2, l1, elasticnet, none; got 'l3'"),
        ("--analyzer", "token", "one of char, word; got 'token'"),
        ("--schedule", "poly", "one of auto, cosine, linear, constant, step, onecycle; got 'poly'"),
        (
            "--loss",
            "huber",
            "one of log_loss, hinge, squared_hinge, modified_huber, perceptron for linear classification; ",
        ),
        ("--lr", "fast", "auto, find, or a number above 0; got 'fast'"),
        ("--lr", "0", "auto, find, or a number above 0; got '0'"),
        ("--lr", "nan", "auto, find, or a number above 0; got 'nan'"),
        ("--alpha", "-1", "auto, or a number of at least 0; got '-1'"),
        ("--warmup", "1", "a share of the steps, from 0 to below 1; got 1.0"),
        ("--epochs", "0", "a whole number from 1 to below 2**31; got 0"),
        ("--epochs", str(10**20), f"a whole number from 1 to below 2**31; got {10**20}"),
        ("--batch-size", "0", "a whole number from 1 on; got 0"),
        ("--test-size", "1", "a share of the rows, from 0 to below 1; got 1.0"),
        ("--test-size", "0.999", "such that rows are left on both sides: "),
        ("--seed", "-1", "a whole number from 0 to below 2**32; got -1"),
        ("--threads", "0", "a whole number but not 0 (-1 is all CPUs, -2 all but one); got 0"),
        ("--hidden", "100,x", "the units of each hidden layer, such as 100 or 256,128; got '100,x'"),
        ("--hidden", "0", "the units of each hidden layer, such as 100 or 256,128; got '0'"),
        ("--optimizer", "adem", "one of auto, "),
        ("--optimizer", "newton", "one of auto, "),
        ("--optimizer", "auto:betas=3", "one of auto, "),
        ("--optimizer", "sgd:momentun=0.9", "sgd, or sgd:OPTION=VALUE,... with options of "),
        ("--optimizer", "sgd:0.9", "sgd, or sgd:OPTION=VALUE,..."),
        ("--optimizer", "sgd:momentum=open('x')", "sgd, or sgd:OPTION=VALUE,..."),
        ("--optimizer", "sgd:)+(", "sgd, or sgd:OPTION=VALUE,..."),
        ("--out", "file", "a folder that can be written (File exists); got 'file'"),
        ("--out", "file/deep", "a folder that can be written (Not a directory); got 'file/deep'"),
        ("--out", "taken", "a folder that can be written (Is a directory); got 'taken'"),
    ],
)
def test_options_that_cannot_be(option, value, said, capsys):
    Path("file").touch()
    Path("taken/log.csv").mkdir(parents=True)
    assert mistake(capsys, "train", "iris", option, value).startswith(f"{option} must be {said}")


def test_a_penalty_that_networks_lack(capsys):
    assert mistake(capsys, "train", "iris", "--model", "mlp", "--penalty", "l1") == (
        "--penalty must be l2 or none for mlp; got 'l1'"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(capsys):
    Path("locked").mkdir(mode=0o500)
    assert "(Permission denied)" in mistake(capsys, "train", "iris", "--out", "locked/run")


def test_folders_that_were_made_go_when_the_training_fails(capsys):
    assert mistake(capsys, "train", "iris", "--out", "a/b/c", "--optimizer", "sgd", "--lr", "1e30")


def test_an_old_model_stays_when_the_training_fails(capsys):
    assert main(["train", "iris", "--epochs", "1", "--out", "run", "--quiet"]) == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    assert mistake(capsys, "train", "iris", "--out", "run", "--optimizer", "sgd", "--lr", "1e30")
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_set_that_cannot_be_fetched(monkeypatch, capsys):
    from urllib.error import URLError

    from sklearn import datasets

    def fetch(**options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(datasets, "fetch_california_housing", fetch)
    assert mistake(capsys, "train", "california_housing") == (
        "california_housing is not on this machine yet, and could not be fetched: no network"
    )


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_missing_values_can_be_left_out_or_filled(model, capsys):
    frame = table(z=holes(1, 2), w=["a", None, "b"] * 20, done=[True, None] * 30)
    frame.to_parquet("a.parquet")
    settings = Settings(target="y", missing="drop", drop=["done"], model=model)
    dropped = prepare("a.parquet", settings)
    assert len(dropped.train) + len(dropped.test) == 60 - 20 - 1
    assert dropped.notes[0] == "21 of 60 rows were left out for missing values."
    assert main(["train", "a.parquet", "--target", "y", "--missing", "fill", "--model", model, "--out", "run"]) == 0
    loaded = Model.load(Path("run"))
    assert loaded.encoder.parts[-1].values == ["True"]
    capsys.readouterr()
    assert prepare("a.parquet", Settings(target="y", missing="fill")).notes[0] == "52 missing values filled in."
    assert main(["predict", "run", "a.parquet", "--out", "p.csv", "--quiet"]) == 0
    assert len(pd.read_csv("p.csv")) == 60
    said = mistake(capsys, "predict", "run", "a.parquet", "--out", "q.csv", "--missing", "error")
    assert said.startswith("column 'z' has 2 missing values, 'w' has 20 missing values, 'done' has 30")


def test_the_benchmarks_are_in_the_source_tree_only(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "site" / "gdfast" / "cli" / "bench.py"))
    assert mistake(capsys, "bench").startswith("the benchmark suite is in the source tree only")
