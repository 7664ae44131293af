"""Scores of losses without probabilities, and importances of networks with weights and many columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from gdfast.__main__ import main
from gdfast.cli.importances import MOST_COLUMNS
from gdfast.cli.model import Model

RNG = np.random.default_rng(0)
N = 600


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    assert main(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_the_area_under_the_curve_of_any_loss(capsys, classes, loss):
    X = RNG.normal(size=(N, 3))
    y = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + 0.5 * RNG.normal(size=N), [0, 0.8][: classes - 1])]
    frame = pd.DataFrame({"p": X[:, 0], "q": X[:, 1], "y": y})
    frame.to_csv("rows.csv", index=False)
    shown = run(capsys, "train", "rows.csv", "--target", "y", "--loss", loss, "--out", "m")
    assert "ROC AUC" in shown
    assert ("log loss" in shown) == (loss == "log_loss")
    shown = run(capsys, "evaluate", "m", "rows.csv")
    model = Model.load(Path("m")).estimator
    of = model.predict_proba if loss == "log_loss" else model.decision_function
    scores = of(frame[["p", "q"]].to_numpy()).reshape(N, -1)
    compared = [1] if classes == 2 else range(3)
    expected = np.mean([roc_auc_score(y == "abc"[c], scores[:, c if scores.shape[1] > 1 else 0]) for c in compared])
    area = next(float(line.split()[2]) for line in shown.splitlines() if line.startswith("ROC AUC"))
    assert area == pytest.approx(expected, abs=1e-4)
    run(capsys, "predict", "m", "rows.csv", "--out", "p.csv")
    expected = ["prediction", *(f"probability_{c}" for c in "abc"[:classes] if loss == "log_loss")]
    assert list(pd.read_csv("p.csv")) == expected


def many(columns):
    frame = pd.DataFrame(RNG.normal(size=(N, columns)), columns=[f"x{i}" for i in range(columns)])
    frame["town"] = RNG.choice(["Bonn", "Kiel", "Ulm"], N)
    frame["y"] = 3 * frame.x7 + 2 * (frame.town == "Kiel") + 0.1 * RNG.normal(size=N)
    return frame


def test_importances_of_a_network_with_many_columns(capsys):
    many(80).to_csv("rows.csv", index=False)
    shown = run(
        capsys, "train", "rows.csv", "--target", "y", "--model", "mlp", "--hidden", "10", "--epochs", "60", "--lr",
        "0.01", "--out", "m",
    )  # fmt: skip
    said = f"of the {MOST_COLUMNS} of 81 columns with the largest weights"
    assert said in shown
    about = Model.load(Path("m")).about
    assert {name for name, _ in about["importances"][:2]} == {"x7", "town"}


def test_importances_count_weights(capsys):
    """Rows in which a matters have no weight."""
    frame = pd.DataFrame({"a": RNG.normal(size=N), "b": RNG.normal(size=N), "w": RNG.choice([0.0, 1.0], N)})
    frame["y"] = np.where(frame.w > 0, frame.b, frame.a)
    frame.to_csv("rows.csv", index=False)
    arguments = ["train", "rows.csv", "--target", "y", "--model", "mlp", "--hidden", "10", "--epochs", "60", "--lr"]
    run(capsys, *arguments, "0.01", "--weight", "w", "--out", "m")
    found = dict(Model.load(Path("m")).about["importances"])
    assert found["b"] > 1.0
    assert found.get("a", 0.0) < 0.1


@pytest.mark.parametrize("informed", [True, False])
def test_a_quantile_is_judged_by_its_own_loss(capsys, informed):
    """R2 of the quantile is below that of the mean, and no reason to beware."""
    x = RNG.normal(size=N)
    frame = pd.DataFrame({"x": x if informed else RNG.normal(size=N), "y": 3 * x + RNG.exponential(size=N)})
    frame.to_csv("rows.csv", index=False)
    shown = run(capsys, "train", "rows.csv", "--target", "y", "--loss", "quantile", "--quantile", "0.95", "--out", "m")
    assert "pinball loss" in shown
    assert ("No better than always saying the quantile of the rows" in shown) != informed
    assert ("beware" in shown) != informed
    assert "pinball loss" in run(capsys, "show", "m")
