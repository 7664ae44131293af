"""Model files under a right checksum that say what no training leaves: one sentence each, and no prediction."""

from pathlib import Path

import numpy as np
import pytest

from gdfast.__main__ import main
from gdfast.checkpoint.plain import read_data, write_data
from gdfast.cli.model import KIND
from gdfast.cli.settings import Settings
from gdfast.cli.training import fit, prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    lines = [f"{i % 3},{i},{'SML'[i % 3]},{'good' if i % 2 else 'bad'} thing {i}" for i in range(60)]
    (folder / "a.csv").write_text("\n".join(["y,x,size,note", *lines]))
    (folder / "a.svm").write_text("\n".join(f"{i % 2} 1:{i} {2 + i % 7}:1" for i in range(60)))
    for name, file, options in (
        ("texts", "a.csv", {"text": ["note"]}),
        ("classes", "a.csv", {"drop": ["note"]}),
        ("numbers", "a.csv", {"drop": ["note"], "task": "regression"}),
        ("network", "a.csv", {"drop": ["note"], "model": "mlp", "hidden": "3"}),
        ("several", "a.csv", {"drop": ["note"], "task": "regression", "model": "mlp", "hidden": "3"}),
        ("two", "a.svm", {"model": "mlp", "hidden": "2,2"}),
    ):
        settings = Settings(
            target="y" if file == "a.csv" else None,
            epochs=1,
            test_size=0.0,
            keep=["x"] if file == "a.csv" else [],
            **options,
        )
        fit(prepare(str(folder / file), settings)).save(folder / name)
    return folder


def put(*path):
    """Put the last of these where the others lead."""
    *way, last, value = path

    def change(data):
        for key in way:
            data = data[key]
        data[last] = value

    return change


COEF, NETWORK = ("fitted", "coef_"), ("fitted", "coefs_")
OTHERS = {
    "other features": ("classes", put(*COEF, np.zeros((3, 2)))),
    "a coefficient": ("classes", put(*COEF, 1.0)),
    "other intercepts": ("classes", put("fitted", "intercept_", np.zeros(4))),
    "whole coefficients": ("classes", put(*COEF, np.zeros((3, 4), int))),
    "whole intercepts": ("classes", put("fitted", "intercept_", np.zeros(3, int))),
    "other loss": ("classes", put("params", "loss", "cubic")),
    "few classes": ("classes", put("fitted", "classes_", [0, 1])),
    "one class": ("classes", put("fitted", "classes_", [0])),
    "a class twice": ("classes", put("fitted", "classes_", [0, 1, 1])),
    "classes in rows": ("classes", put("fitted", "classes_", [[0, 1, 2]])),
    "broken classes": ("classes", put("fitted", "classes_", [0.5, 1.0, 2.0])),
    "several columns of numbers": ("numbers", put(*COEF, np.zeros((1, 4)))),
    "no layers": ("network", put(*NETWORK, [])),
    "a layer less": ("network", put(*NETWORK, [np.zeros((4, 3))])),
    "layers that do not fit": ("network", put(*NETWORK, 0, np.zeros((4, 5)))),
    "other features of a network": ("network", put(*NETWORK, 0, np.zeros((1000, 3)))),
    "a layer of nothing": ("network", put(*NETWORK, 0, 7.0)),
    "whole layers": ("network", put(*NETWORK, 0, np.zeros((4, 3), int))),
    "layers of two types": ("network", put(*NETWORK, 0, np.zeros((4, 3), np.float32))),
    "other activation": ("network", put("params", "activation", "cube")),
    "no activation": ("network", put("params", "activation", ["relu"])),
    "other outputs": ("network", put("fitted", "out_activation_", "logistic")),
    "outputs of two classes": ("two", put("fitted", "out_activation_", "softmax")),
    "a number of outputs": ("network", put("fitted", "n_outputs_", 1)),
    "several labels": ("network", put("fitted", "_multilabel", True)),
    "two classes of three outputs": ("network", put("fitted", "classes_", [0, 1])),
    "few means": ("classes", put("columns", 0, "means", np.zeros(3))),
    "deviations in words": ("classes", put("columns", 0, "deviations", np.array([True]))),
    "names that are none": ("classes", put("columns", 0, "names", [1])),
    "no names": ("classes", put("columns", 0, "names", "x")),
    "categories that are none": ("classes", put("columns", 1, "values", ["a", 1, "b"])),
    "a category's name": ("classes", put("columns", 1, "name", None)),
    "a text's name": ("texts", put("columns", 2, "name", None)),
    "n-grams of other things": ("texts", put("columns", 2, "analyzer", "page")),
    "fewer n-grams": ("texts", put("columns", 2, "hashes", 5)),
    "whole weights": ("texts", put("columns", 2, "idf", np.ones(2**18, int))),
    "other width": ("two", put("columns", 0, "width", 2**31)),
    "no width": ("two", put("columns", 0, "width", True)),
    "a width below zero": ("two", put("columns", 0, "width", -8)),
    "columns that are none": ("classes", put("columns", [1])),
    "columns in an array": ("classes", put("columns", np.zeros(2))),
    "other kind": ("classes", put("columns", 0, "kind", "file")),
    "no target": ("classes", put("target", None)),
    "no scale": ("classes", put("columns", 0, "deviations", np.zeros(1))),
    "a negative scale": ("classes", put("columns", 0, "deviations", -np.ones(1))),
    "a mean that is no number": ("classes", put("columns", 0, "means", np.full(1, np.nan))),
    "an infinite scale": ("classes", put("columns", 0, "deviations", np.full(1, np.inf))),
    "negative weights": ("texts", put("columns", 2, "idf", np.full(2**18, -1.0))),
    "infinite coefficients": ("classes", put(*COEF, np.full((3, 4), np.inf))),
    "no number as intercept": ("classes", put("fitted", "intercept_", np.full(3, np.nan))),
    "a layer of nothing finite": ("network", put(*NETWORK, 0, np.full((4, 3), np.nan))),
    "a number of layers": ("network", put("fitted", "n_layers_", 7)),
    "the other task": ("classes", put("estimator", "GDRegressor")),
    "the task of numbers": ("numbers", put("estimator", "GDClassifier")),
    "a network of the other task": ("network", put("estimator", "MLPRegressor")),
    "an estimator that is none": ("classes", put("estimator", "Pipeline")),
    "no classes": ("classes", lambda data: data["fitted"].pop("classes_")),
    "no columns": ("classes", lambda data: data.pop("columns")),
    "more in a column": ("classes", put("columns", 0, "median", np.zeros(1))),
    "a loss in an array": ("several", put("params", "loss", np.zeros(2))),
    "a loss of classes": ("several", put("params", "loss", "hinge")),
    "a loss of linear models in an array": ("numbers", put("params", "loss", np.zeros(2))),
    "shares below nothing": ("classes", put("about", "guess", "shares", np.array([-1.0, 1.0, 1.0]))),
    "shares of more than all": ("classes", put("about", "guess", "shares", np.ones(3))),
    "a mean that is no number of targets": ("numbers", put("about", "guess", "mean", np.nan)),
    "a policy in an array": ("classes", put("missing", np.zeros(2))),
    "other policy": ("classes", put("missing", "guess")),
}


def mistakes(model, rows, tmp_path, capsys):
    """Return what each command says of a model file that it refuses, without leaving anything."""
    go_on = ["train", str(rows), "--continue", str(model), "--out", str(tmp_path / "more")]
    commands = [
        ["predict", str(model), str(rows), "--out", str(tmp_path / "p.csv")],
        ["evaluate", str(model), str(rows)],
    ]
    found = set()
    for command in (*commands, ["show", str(model)], go_on):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        found.add(err.rstrip("\n"))
    assert not (tmp_path / "p.csv").exists()
    assert not (tmp_path / "more").exists()
    return found


@pytest.mark.parametrize(("model", "change"), OTHERS.values(), ids=OTHERS)
def test_what_no_training_leaves(folder, model, change, capsys, tmp_path):
    data = read_data(folder / model, KIND)
    change(data)
    write_data(tmp_path / "m", KIND, data)
    (said,) = mistakes(tmp_path / "m", folder / ("a.svm" if model == "two" else "a.csv"), tmp_path, capsys)
    assert said.startswith(f"gdfast: {tmp_path / 'm'} holds no model of gdfast train: ")
    assert "Error" not in said


@pytest.mark.parametrize("version", [2, 0, "new", True])
def test_other_versions(folder, version, capsys, tmp_path):
    data = read_data(folder / "classes", KIND)
    write_data(tmp_path / "m", KIND, data | {"version": version})
    assert mistakes(tmp_path / "m", folder / "a.csv", tmp_path, capsys) == {
        f"gdfast: {tmp_path / 'm'} is a model of version {version!r}, and this gdfast reads 1: update gdfast"
    }


@pytest.mark.parametrize("model", ["classes", "numbers"])
def test_a_file_without_a_guess(folder, model, capsys, tmp_path):
    data = read_data(folder / model, KIND)
    data["about"]["guess"] = None
    write_data(tmp_path / "m", KIND, data)
    assert main(["evaluate", str(tmp_path / "m"), str(folder / "a.csv")]) == 0
    assert "always" in capsys.readouterr().out


def test_what_is_said_of_a_file_is_one_line(folder, capsys, tmp_path):
    data = read_data(folder / "classes", KIND)
    write_data(tmp_path / "m", KIND, data | {"version": np.zeros((100, 100))})
    (said,) = mistakes(tmp_path / "m", folder / "a.csv", tmp_path, capsys)
    assert len(said) < 400 + len(str(tmp_path))


def test_predictions_that_are_not_finite(folder, capsys, tmp_path):
    data = read_data(folder / "numbers", KIND)
    data["fitted"]["coef_"][:] = 1e308
    write_data(tmp_path / "m", KIND, data)
    assert main(["predict", str(tmp_path / "m"), str(folder / "a.csv"), "--out", str(tmp_path / "p.csv")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gdfast: 59 of 60 rows get inf as prediction: values of the data, or of the model, are too")


def test_they_are_whole_before_the_change(folder, tmp_path):
    for model in {model for model, _ in OTHERS.values()}:
        rows = folder / ("a.svm" if model == "two" else "a.csv")
        assert main(["predict", str(folder / model), str(rows), "--out", str(tmp_path / "p.csv"), "--quiet"]) == 0
        assert len(Path(tmp_path / "p.csv").read_text().splitlines()) == 61


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 1:nan", "Input X contains NaN."),
        ("1 1:1e400", "Input X contains infinity"),
        ("1 2147483646:1", "b.svm must have at most 8 columns, as in training; got 2,147,483,646"),
    ],
)
def test_numbers_that_no_model_takes(folder, text, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("b.svm").write_text(text)
    assert main(["predict", str(folder / "two"), "b.svm", "--out", "p.csv"]) == 2
    assert capsys.readouterr().err.startswith(f"gdfast: {said}")
