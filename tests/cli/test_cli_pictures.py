"""The picture of a training: the curves, and a panel for what suits the task."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gdfast.cli import picture
from gdfast.cli.model import Model
from gdfast.cli.preparing import prepare
from gdfast.cli.settings import Settings
from gdfast.cli.training import fit
from gdfast.cli.watching import Watching
from gdfast.plot.style import make_figure

COLUMNS = {"y": "two", "z": "three", "price": "numbers", "many": "many classes"}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Return a function that trains, draws, and returns what was drawn."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(400), "b": rng.random(400)})
    frame["y"] = np.where(frame.a + 0.5 * rng.random(400) > 0.7, "yes", "no")
    frame["z"] = rng.choice(["x", "second", "z"], 400)
    frame["price"] = 3 * frame.a + frame.b
    frame["many"] = [f"k{i % 50:02}" for i in range(400)]
    frame["w"] = np.arange(400) % 3
    frame.to_csv("a.csv", index=False)
    figures = []

    def record(*size, dpi):
        figures.append(make_figure(*size, dpi=dpi))
        return figures[-1]

    monkeypatch.setattr(picture, "make_figure", record)

    def draw(target, **options):
        drop = [name for name in COLUMNS if name != target] + ["w"] * (options.get("weight") is None)
        task = prepare("a.csv", Settings(target=target, drop=drop, **options))
        watching = Watching(task)
        model = fit(task, [watching])
        picture.draw(model, task, watching, Path("c.png"))
        assert Path("c.png").read_bytes()[:4] == b"\x89PNG"
        return figures[-1].axes, watching, model

    return draw


@pytest.mark.parametrize(
    ("target", "options", "titles", "measure"),
    [
        ("y", {}, ["GDClassifier, 320 rows", "80 rows held out", "calibration"], "log loss"),
        ("y", {"loss": "hinge"}, ["GDClassifier, 320 rows", "80 rows held out"], "share of wrong classes"),
        ("z", {"model": "mlp", "epochs": 5}, ["MLPClassifier, 320 rows", "80 rows held out"], "log loss"),
        ("price", {"weight": "w"}, ["GDRegressor, 320 rows", "80 rows held out", "residuals"], "RMSE"),
        ("price", {"test_size": 0.0}, ["GDRegressor, 400 rows"], "RMSE"),
        ("y", {"early_stopping": True}, ["GDClassifier, 320 rows", "80 rows held out", "calibration"], "log loss"),
    ],
)
def test_panels(drawn, target, options, titles, measure):
    axes, watching, model = drawn(target, **options)
    assert [ax.get_title() for ax in axes] == titles
    assert axes[0].get_ylabel() == watching.measure == measure
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels[: 1 + (len(titles) > 1)] == ["training", "held out"][: len(labels)]
    assert any(label.startswith("kept") for label in labels) == ("early_stopping" in options)
    assert len(watching.epochs) == len(watching.training)
    assert watching.epochs[0] == 1
    assert watching.epochs[-1] <= model.about["epochs"]
    assert watching.seconds > 0
    assert not hasattr(watching, "_estimator")


def test_the_last_point_is_the_score_of_the_report(drawn):
    from gdfast.cli.report import scores

    _, watching, model = drawn("price", model="mlp", epochs=20)
    task = prepare("a.csv", Settings(target="price", drop=["y", "z", "many", "w"], model="mlp", epochs=20))
    assert watching.epochs == list(range(1, 21))
    assert watching.held_out[-1] == pytest.approx(scores(model, task.test, task.test_y)["rmse"])


def test_late_epochs_are_scored_rarely(drawn):
    watching = drawn("price", optimizer="adam")[1]
    assert watching.epochs[:99] == list(range(1, 100))
    assert np.diff(watching.epochs).max() > 1


def test_steps_on_all_rows_are_called_so(drawn):
    axes, watching, model = drawn("price")
    assert (axes[0].get_xlabel(), len(watching.epochs)) == ("Step on all rows", model.about["epochs"])


def test_many_rows_are_scored_by_some(drawn, monkeypatch):
    monkeypatch.setattr("gdfast.cli.watching.MOST_ROWS", 30)
    _, watching, _ = drawn("price", epochs=3)
    assert len(watching.held_out) == 3


def test_classes_are_named_or_said_to_be_too_many(drawn, monkeypatch):
    axes, _, _ = drawn("many", epochs=2, task="classification")
    assert axes[1].get_xlabel() == "Predicted (50 classes are too many to name, in their order)"
    monkeypatch.setattr(picture, "MOST_NAMES", 50)
    axes, _, _ = drawn("many", epochs=2, task="classification")
    assert [text.get_text() for text in axes[1].get_xticklabels()] == [f"k{i:02}" for i in range(50)]
    assert not axes[1].texts
    axes, _, _ = drawn("z", epochs=2)
    assert [text.get_text() for text in axes[1].get_yticklabels()] == ["second", "x", "z"]
    assert len(axes[1].texts) == 9


def test_two_classes_of_which_one_is_held_out(drawn, tmp_path):
    Path("b.csv").write_text("a,b,y\n" + "0.1,0.2,no\n" * 3)
    axes, _, model = drawn("y", valid="b.csv")
    assert [ax.get_title() for ax in axes[1:]] == ["3 rows held out", "calibration"]
    assert isinstance(model, Model)
