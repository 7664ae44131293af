"""``gdfast predict``: the predictions of the estimator itself, from a file that is whole or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import dump_svmlight_file

from gdfast.__main__ import main
from gdfast.checkpoint.plain import write_data
from gdfast.cli.model import KIND, Model
from gdfast.cli.settings import Settings
from gdfast.cli.training import prepare, train
from gdfast.tables.errors import TableError
from gdfast.tables.reading import Reading, read


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shop(rows: int = 200) -> pd.DataFrame:
    """Return numbers, categories and texts, classes as whole numbers, strings and bools, and a number to predict."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "price": rng.random(rows).astype(np.float32),
            "size": rng.choice(["S", "M", "L"], rows),
            "note": rng.choice(["good and cheap", "too dear", "good"], rows),
        }
    )
    frame["stars"] = np.where(frame.note.str.startswith("good"), 5, 1) + (frame["size"] == "M")
    frame["kept"] = frame.stars > 3
    frame["mood"] = frame.kept.map({True: "glad", False: "sad"})
    frame["days"] = 10 * frame.price + frame.stars + 0.01 * rng.standard_normal(rows)
    return frame


def mistake(capsys, *arguments: str) -> str:
    """Run ``gdfast predict`` with these; return the one sentence it says, and see that it writes nothing."""
    assert main(["predict", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert not Path("p.csv").exists()
    return err.removeprefix("gdfast: ").rstrip("\n")


TARGETS = ["stars", "kept", "mood", "days"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("text", [["note"], []])
@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("target", TARGETS)
def test_the_predictions_are_those_of_the_estimator(target, model, text, suffix, capsys):
    shop().to_parquet("a.parquet")
    settings = Settings(
        target=target, model=model, text=text, drop=[t for t in TARGETS if t != target], epochs=3, quiet=True
    )
    task, trained, _ = train("a.parquet", settings, Path("run"))
    assert main(["predict", "run", "a.parquet", "--out", f"p{suffix}", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    found = pd.read_csv("p.csv") if suffix == ".csv" else pd.read_parquet("p.parquet")
    matrix = trained.encoder.encode(read("a.parquet", Reading(texts=text)))
    expected = trained.estimator.predict(matrix)
    np.testing.assert_array_equal(found["prediction"].to_numpy(expected.dtype if target == "days" else None), expected)
    if target == "days":
        assert list(found) == ["prediction"]
    else:
        classes = trained.estimator.classes_
        assert list(found) == ["prediction", *(f"probability_{c}" for c in classes)]
        expected = trained.estimator.predict_proba(matrix)
        np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(expected.dtype), expected)
    again = Model.load(Path("run/model.safetensors")).predict(task.train)["prediction"]
    np.testing.assert_array_equal(again, trained.estimator.predict(task.matrix))


@pytest.mark.parametrize("loss", ["hinge", "poisson"])
def test_losses_that_change_what_a_model_says(loss, capsys):
    shop().to_csv("a.csv", index=False)
    target = "mood" if loss == "hinge" else "days"
    settings = Settings(target=target, loss=loss, drop=["note"], epochs=2, quiet=True)
    trained = train("a.csv", settings, Path("run"))[1]
    found = Model.load(Path("run")).predict(read("a.csv"))
    assert list(found) == ["prediction"]
    np.testing.assert_array_equal(found["prediction"], trained.predict(read("a.csv"))["prediction"])


@pytest.mark.parametrize("target", TARGETS)
def test_data_with_the_target_is_scored(target, capsys):
    shop().to_csv("a.csv", index=False)
    rest = [f"--drop={name}" for name in (*TARGETS, "note") if name != target]
    assert main(["train", "a.csv", "--target", target, *rest, "--epochs", "30", "--out", "run", "--quiet"]) == 0
    assert main(["predict", "run", "a.csv", "--out", "p.csv"]) == 0
    shown = capsys.readouterr().out
    assert ("R2" if target == "days" else "accuracy") in shown
    assert shown.endswith(f"{'written':<15}200 predictions in p.csv\n")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("what", ["nothing", "holes", "other"])
def test_data_without_a_usable_target_is_not(target, what, capsys):
    frame = shop()
    frame.to_csv("a.csv", index=False)
    drop = [name for name in (*TARGETS, "note") if name != target]
    train("a.csv", Settings(target=target, drop=drop, epochs=1, quiet=True), Path("run"))
    frame[target] = {"nothing": None, "holes": [None] + [1] * 199, "other": ["?"] * 200}[what]
    frame = frame.drop(columns=target) if what == "nothing" else frame
    frame.to_csv("b.csv", index=False)
    assert main(["predict", "run", "b.csv", "--out", "p.csv"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].startswith("written")
    if what == "nothing":
        assert len(shown) == 1
    elif what == "other" or target == "mood":
        expected = "numbers for a regression" if target == "days" else "holds classes that the model does not know"
        assert len(shown) == 2
        assert shown[0].startswith("no scores ")
        assert expected in shown[0]
    else:
        assert shown[0] == f"{'scored':<15}199 of 200 rows have a value of {target!r}"


def test_unknown_categories_are_counted(capsys):
    frame = shop()
    frame.to_csv("a.csv", index=False)
    train("a.csv", Settings(target="mood", text=["note"], drop=["days", "stars", "kept"], quiet=True), Path("run"))
    frame.loc[:2, "size"] = ["XL", "XS", "XL"]
    frame[["note", "size", "price"]].to_csv("b.csv", index=False)
    assert main(["predict", "run", "b.csv", "--out", "p.csv"]) == 0
    out, err = capsys.readouterr()
    assert err == "gdfast: 3 cells of 'size' hold categories that the model does not know\n"
    assert out.split() == ["written", "200", "predictions", "in", "p.csv"]


def test_categories_that_look_like_numbers_elsewhere():
    frame = pd.DataFrame({"zip": ["1", "x", "2", "x"] * 20, "y": [0, 1, 0, 1] * 20})
    frame.to_csv("a.csv", index=False)
    model = train("a.csv", Settings(target="y", quiet=True), Path("run"))[1]
    pd.DataFrame({"zip": [1.0, 2.0]}).to_csv("b.csv", index=False)
    assert model.predict(read("b.csv"))["prediction"].tolist() == [0, 0]


def test_svmlight_files_that_lack_the_last_columns(capsys):
    X = csr_matrix(np.eye(60)[:, :30] + np.eye(60)[:, 29::-1])
    dump_svmlight_file(X, np.arange(60) % 2, "a.svm")
    dump_svmlight_file(X[:, :20], np.arange(60) % 2, "b.svm")
    assert main(["train", "a.svm", "--out", "run", "--quiet"]) == 0
    assert main(["predict", "run", "b.svm", "--out", "p.csv", "--quiet"]) == 0
    assert len(pd.read_csv("p.csv")) == 60
    Path("p.csv").unlink()
    shop().to_csv("a.csv", index=False)
    assert mistake(capsys, "run", "a.csv", "--out", "p.csv") == (
        "the data must have 30 numbers a row without names, as in training; got none"
    )
    model = Model.load(Path("run"))
    dump_svmlight_file(csr_matrix(np.eye(40)), np.zeros(40), "c.svm")
    wider = read("c.svm")
    with pytest.raises(TableError, match="must have 30 numbers a row without names, as in training; got 40"):
        model.predict(wider)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "b.csv", "--out", "p.csv"], "the data lacks columns that the model was trained on: price, size"),
        (["run", "c.csv", "--out", "p.csv"], "column 'price' must hold numbers, as in training; got 'cheap'"),
        (["run", "d.parquet", "--out", "p.csv"], "column 'size' holds dates"),
        (["run", "e.csv", "--out", "p.csv"], "column 'price' has 200 missing values in 200 rows: --missing fill"),
        (["run", "a.csv", "--out", "p.txt"], "--out must be a file that ends in .csv or .parquet; got 'p.txt'"),
        (["run", "a.csv", "--out", "no/p.csv"],
         "--out must be a file that can be written (No such file or directory); got 'no/p.csv'"),
        (["run", "a.csv", "--out", "p.csv", "--missing", "drop"],
         "--missing must be error or fill, since every row gets its prediction; got 'drop'"),
        (["nowhere", "a.csv", "--out", "p.csv"], "nowhere cannot be read: No such file or directory"),
        (["a.csv", "a.csv", "--out", "p.csv"], "a.csv cannot be loaded: it is no checkpoint"),
        (["run", "nowhere.csv", "--out", "p.csv"], "nowhere.csv cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_what_can_be_wrong(arguments, said, capsys):
    frame = shop()
    frame.to_csv("a.csv", index=False)
    train("a.csv", Settings(target="mood", drop=["note", "days", "stars", "kept"], epochs=1, quiet=True), Path("run"))
    frame[["note"]].to_csv("b.csv", index=False)
    frame.assign(price="cheap").to_csv("c.csv", index=False)
    frame.assign(size=pd.Timestamp("2026-01-01")).to_parquet("d.parquet")
    frame.assign(price=np.nan).to_csv("e.csv", index=False)
    assert mistake(capsys, *arguments).startswith(said)


def test_every_damaged_byte_is_noticed(capsys):
    train("iris", Settings(epochs=1, quiet=True), Path("run"))
    data = Path("run/model.safetensors").read_bytes()
    for at in range(0, len(data), 97):
        Path("bad.safetensors").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert mistake(capsys, "bad.safetensors", "iris", "--out", "p.csv").startswith(
            "bad.safetensors cannot be loaded"
        )
    for size in (0, 7, 100, len(data) - 1):
        Path("bad.safetensors").write_bytes(data[:size])
        assert mistake(capsys, "bad.safetensors", "iris", "--out", "p.csv").startswith(
            "bad.safetensors cannot be loaded"
        )


@pytest.mark.parametrize("data", [None, {}, {"estimator": "eval"}, {"estimator": "GDClassifier", "params": 3}])
def test_files_of_other_contents(data, capsys):
    write_data("other.safetensors", KIND, data)
    assert mistake(capsys, "other.safetensors", "iris", "--out", "p.csv").startswith(
        "other.safetensors holds no model of gdfast train: "
    )
    write_data("other.safetensors", "shopping list", data)
    assert mistake(capsys, "other.safetensors", "iris", "--out", "p.csv") == (
        "other.safetensors holds no model of gdfast train"
    )


def test_the_encoding_is_learned_from_the_training_rows_alone():
    shop().to_csv("a.csv", index=False)
    task = prepare("a.csv", Settings(target="mood", drop=["days", "stars", "kept", "note"]))
    numbers = task.encoder.parts[0]
    assert numbers.means[0] == pytest.approx(task.train.columns["price"].mean())
