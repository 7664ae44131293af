"""``gdfast train``: every kind of data, the report, and the three files that are left."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run
from scipy.sparse import random as random_sparse
from sklearn.datasets import dump_svmlight_file

from gdfast.cli.model import Model
from gdfast.cli.settings import Settings
from gdfast.cli.training import fit, prepare, train
from gdfast.tables.reading import read

FILES = ["curve.png", "log.csv", "model.safetensors"]
SPAM = Path(os.environ.get("GDFAST_SPAM", Path(__file__).parents[3] / "shared" / "data" / "sms-spam.csv"))


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def people(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Return numbers, categories, bools and texts, from which the two targets follow but for some noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": rng.lognormal(10, 1, rows),
            "town": rng.choice(["Bonn", "Kiel", "Ulm"], rows),
            "member": rng.random(rows) < 0.5,
            "note": rng.choice(["likes tea", "hates tea", "likes coffee and cake", ""], rows),
        }
    )
    score = (frame.age - 50) / 10 + 2 * (frame.town == "Kiel") - 3 * frame.note.str.startswith("hates") + frame.member
    frame["spent"] = score + 0.1 * rng.standard_normal(rows)
    frame["buys"] = np.where(score > 0, "yes", "no")
    return frame


def write(name: str, frame: pd.DataFrame) -> str:
    """Write a frame as the name says."""
    if name.endswith(".parquet"):
        frame.to_parquet(name)
    else:
        frame.to_csv(name, index=False, sep="\t" if name.endswith(".tsv") else ";" if "semi" in name else ",")
    return name


@pytest.mark.parametrize("name", ["people.csv", "people.tsv", "semi.csv", "people.parquet"])
@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_tables_of_numbers_words_and_texts(name, model, in_tmp, capsys):
    write(name, people())
    shown = run(
        capsys, "train", name, "--target", "buys", "--text", "note", "--drop", "spent", "--model", model, "--out", "run"
    )
    accuracy = next(float(line.split()[1]) for line in shown.splitlines() if line.startswith("accuracy"))
    assert accuracy > 0.9
    for part in ("buys from", "sparse columns, 400 rows", "320 rows", "of class yes", "predicted in columns"):
        assert part in shown
    assert sorted(path.name for path in (in_tmp / "run").iterdir()) == FILES
    model_file = Model.load(Path("run"))
    assert model_file.estimator.classes_.tolist() == ["no", "yes"]
    assert model_file.about["held out"]["accuracy"] == pytest.approx(accuracy, abs=1e-4)


def test_the_same_table_in_every_format_gives_the_same_model(in_tmp):
    settings = Settings(target="buys", text=["note"], epochs=2, quiet=True)
    coefficients = [
        fit(prepare(write(name, people()), settings)).estimator.coef_.tobytes()
        for name in ("a.csv", "a.tsv", "semi.csv", "a.parquet")
    ]
    assert len(set(coefficients)) == 1


def test_without_texts_the_columns_are_dense(in_tmp):
    task = prepare(write("a.csv", people()), Settings(target="spent", drop=["note"], quiet=True))
    assert isinstance(task.matrix, np.ndarray)
    assert (task.kind, task.matrix.shape) == ("regression", (320, 3 + 3 + 2))
    model = fit(task)
    assert model.estimator.score(model.encoder.encode(task.test), task.test_y) > 0.7


def test_many_categories_are_sparse_and_numbers_among_them_standardised(in_tmp):
    frame = people()
    frame["street"] = [f"street {i % 150}" for i in range(len(frame))]
    task = prepare(write("a.csv", frame), Settings(target="buys", drop=["note", "spent"]))
    ages = task.matrix[:, 0].toarray().ravel()
    assert abs(ages.mean()) < 1e-9
    assert ages.std() == pytest.approx(1)


def test_npz(in_tmp, capsys):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5)).astype(np.float32)
    np.savez("a.npz", X=X, weekday=rng.choice(["mo", "tu"], 300), y=X @ [1.0, -2.0, 0.0, 0.5, 1.0])
    shown = run(capsys, "train", "a.npz", "--out", "run")
    assert "y from 7 columns, 300 rows" in shown
    assert "GDRegressor, squared_error" in shown
    assert Model.load(Path("run")).about["held out"]["r2"] > 0.99


def test_npz_of_single_precision_stays_so(in_tmp):
    np.savez("a.npz", X=np.eye(20, 2, dtype=np.float32), y=np.arange(20) % 2)
    assert prepare("a.npz", Settings()).matrix.dtype == np.float32


def test_svmlight(in_tmp, capsys):
    X = random_sparse(300, 40, 0.3, "csr", random_state=0)
    dump_svmlight_file(X, (X @ np.arange(-20, 20) > 0).astype(int), "a.svm")
    shown = run(capsys, "train", "a.svm", "--out", "run")
    assert "target from 40 sparse columns" in shown
    assert Model.load(Path("run")).about["held out"]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("name", "target", "score", "least"),
    [
        ("digits", None, "accuracy", 0.95),
        ("iris", None, "f1", 0.9),
        ("breast_cancer", None, "f1", 0.93),
        ("wine", None, "accuracy", 0.94),
        ("diabetes", None, "r2", 0.3),
        ("linnerud", "Waist", "mae", 0),
    ],
)
def test_the_sets_of_scikit_learn(name, target, score, least, in_tmp):
    _, model, scores = train(name, Settings(target=target, quiet=True), Path("run"))
    assert scores[score] >= least
    assert model.target == (target or "target")


def test_classes_of_the_sets_have_their_names():
    assert set(read("iris").columns["target"]) == {"setosa", "versicolor", "virginica"}


def test_sets_that_are_fetched(monkeypatch, in_tmp):
    from sklearn import datasets
    from sklearn.utils import Bunch

    rng = np.random.default_rng(0)
    texts = Bunch(data=["some words", "other words"] * 30, target=np.arange(60) % 2, target_names=["a", "b"])
    monkeypatch.setattr(datasets, "fetch_20newsgroups", lambda **options: texts)
    task = prepare("20newsgroups", Settings(text=["text"], analyzer="word"))
    assert task.matrix.shape == (48, 2**18)
    assert set(task.train_y) == {"a", "b"}

    counts = Bunch(data=random_sparse(60, 9, 0.5, "coo", random_state=0), target=np.arange(60) % 3)
    monkeypatch.setattr(datasets, "fetch_20newsgroups_vectorized", lambda **options: counts)
    assert prepare("20newsgroups_vectorized", Settings()).matrix.shape == (48, 9)

    faces = Bunch(data=rng.random((60, 4)), target=np.arange(60) % 3)
    monkeypatch.setattr(datasets, "fetch_olivetti_faces", lambda **options: faces)
    assert list(read("olivetti_faces").columns) == ["x0", "x1", "x2", "x3", "target"]


def test_the_log_has_a_line_an_epoch_and_the_picture_is_one(in_tmp, capsys):
    run(capsys, "train", "iris", "--epochs", "5", "--early-stopping", "--out", "deep/run")
    with open("deep/run/log.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert 1 <= len(lines) <= 5
    assert lines[0].keys() == {"epoch", "loss", "lr", "score"}
    assert Path("deep/run/curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_folder_is_named_after_the_data(in_tmp, capsys):
    shown = run(capsys, "train", "iris", "--epochs", "1")
    assert shown.splitlines()[-1].split() == [
        "written", "model.safetensors,", "curve.png,", "log.csv", "in", "iris-model",
    ]  # fmt: skip
    assert sorted(path.name for path in (in_tmp / "iris-model").iterdir()) == FILES


def test_quiet(in_tmp, capsys):
    assert run(capsys, "train", "iris", "--epochs", "1", "--quiet") == ""


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_all_rows_may_be_trained_on(data, in_tmp, capsys):
    shown = run(capsys, "train", data, "--epochs", "1", "--test-size", "0", "--out", "run")
    assert "held out" not in shown
    assert Model.load(Path("run")).about["held out"] == {}


def test_classes_of_one_row_are_trained_on_too(in_tmp, capsys):
    frame = people(60)
    frame["buys"] = ["yes", "no"] * 29 + ["maybe", "yes"]
    write("a.csv", frame)
    run(capsys, "train", "a.csv", "--target", "buys", "--drop", "note", "--epochs", "1", "--out", "run")


def test_many_classes_have_no_confusion_matrix_in_the_report(in_tmp, capsys):
    rng = np.random.default_rng(0)
    np.savez("a.npz", X=rng.random((200, 3)), y=np.arange(200) % 18)
    assert "confusion" not in run(capsys, "train", "a.npz", "--epochs", "1", "--out", "run")


def test_long_names_of_classes_are_cut(in_tmp, capsys):
    frame = people().assign(buys=lambda frame: frame.buys + " of the long kind")
    write("a.csv", frame)
    shown = run(capsys, "train", "a.csv", "--target", "buys", "--drop", "note", "--epochs", "1", "--out", "run")
    assert "no of the l~" in shown


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ([0, 1, 2], "classification"),
        ([0.0, 1.0], "classification"),
        ([0.5, 1.0], "regression"),
        (range(21), "regression"),
        ([True, False], "classification"),
        (["a", "b"], "classification"),
    ],
)
def test_the_target_decides_the_task(labels, kind, in_tmp):
    labels = list(labels)
    np.savez("a.npz", X=np.arange(210.0)[:, None], y=np.array((labels * 210)[:210]))
    assert prepare("a.npz", Settings()).kind == kind


def test_the_task_can_be_chosen(in_tmp, capsys):
    assert "R2" in run(capsys, "train", "wine", "--target", "ash", "--task", "regression", "--out", "run")
    np.savez("a.npz", X=np.arange(60.0)[:, None], y=np.arange(60) % 30)
    assert prepare("a.npz", Settings(task="classification")).train_y.dtype.kind == "i"


def test_a_nameless_column_that_counts_the_rows_is_left_out(in_tmp, capsys):
    people().drop(columns="note").to_csv("a.csv")
    shown = run(capsys, "train", "a.csv", "--target", "buys", "--epochs", "1", "--out", "run")
    assert "row numbers and left out" in shown
    assert Model.load(Path("run")).encoder.names == ["age", "income", "member", "spent", "town"]


def test_nothing_in_the_file_but_arrays_and_json(in_tmp, capsys):
    run(capsys, "train", "iris", "--epochs", "1", "--out", "run")
    data = Path("run/model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    manifest = json.loads(header["__metadata__"]["gdfast"].split(" ", 2)[2])
    assert manifest["kind"] == "model of gdfast train"
    assert manifest["extra"]["fitted"]["classes_"] == ["setosa", "versicolor", "virginica"]
    assert {"extra/fitted/coef_", "extra/fitted/intercept_"} <= header.keys()


@pytest.mark.slow
@pytest.mark.skipif(not SPAM.exists(), reason="the messages are not here")
def test_a_spam_filter_in_one_command(in_tmp):
    scores = []
    for seed in range(5):
        settings = Settings(target="spam", text=["text"], seed=seed, quiet=True)
        scores.append(train(str(SPAM), settings, Path("run"))[2]["f1"])
    assert np.mean(scores) >= 0.945, scores
