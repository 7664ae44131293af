"""Rows to judge by that hold what the training rows do not: categories and classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import mistake, run

from gdfast.cli.model import Model


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("options", [["--folds", 5], ["--folds", 2], [], ["--missing", "fill", "--folds", 3]])
@pytest.mark.parametrize(("rows", "words"), [(60, 30), (200, 100)])
def test_categories_come_back_often_enough_in_all_rows_together(rows, words, options, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(rows), "c": [f"w{i % words}" for i in range(rows)]})
    frame.assign(y=frame.x + rng.random(rows)).to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", *options, "--out", "m")
    assert "'c' has" not in shown
    assert "c" in Model.load(Path("m")).encoder.names


def test_too_many_categories_are_refused_with_folds(capsys):
    frame = pd.DataFrame({"x": np.arange(60) / 7, "c": [f"w{i % 40}" for i in range(60)], "y": np.arange(60) / 3})
    frame.to_csv("a.csv", index=False)
    said = mistake(capsys, "train", "a.csv", "--target", "y", "--keep", "c", "--folds", 5)
    assert "'c' holds 40 different values in 60 rows, too many for categories" in said


def times(last=12, words=True):
    """Return a table whose last rows by time are of a class of their own."""
    labels = [i % 2 for i in range(60 - last)] + [2] * last
    y = np.array(["a", "b", "c"])[labels] if words else labels
    return pd.DataFrame({"x": np.random.default_rng(0).random(60), "when": np.arange(60.0), "y": y})


@pytest.mark.parametrize("words", [True, False])
def test_evaluate_scores_the_rows_that_train_held_out(words, capsys):
    frame = times(6, words)
    frame.to_csv("a.csv", index=False)
    frame[48:].to_csv("b.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--time", "when", "--out", "m")
    assert "6 rows are of classes without a row in the training: always wrong." in shown
    again = run(capsys, "evaluate", "m", "b.csv")
    assert set(again.splitlines()) <= set(shown.splitlines())
    assert "always wrong" in again
    assert "always wrong" in run(capsys, "predict", "m", "b.csv", "--out", "p.csv")
    frame[:48].to_csv("a.csv", index=False)
    assert "always wrong" in run(capsys, "train", "a.csv", "--target", "y", "--drop", "when", "--valid", "b.csv")


def test_a_class_that_is_never_found_counts_in_the_means(capsys):
    frame = times(6)
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--time", "when", "--out", "m")
    scores = Model.load(Path("m")).about["held out"]
    assert scores["balanced accuracy"] == pytest.approx(sum(scores["recall"]) / 3)


@pytest.mark.parametrize("last", [12, 20])
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_rows_held_out_may_all_be_of_one_class(last, loss, capsys):
    """Of the twenty last rows eight are in the training, of the twelve none."""
    times(last).to_csv("a.csv", index=False)
    shown = run(capsys, "train", "a.csv", "--target", "y", "--time", "when", "--loss", loss, "--out", "m")
    assert "accuracy       0.0000" in shown
    assert ("12 rows are of classes without a row in the training: always wrong." in shown) == (last == 12)
    assert "accuracy" in run(capsys, "train", "a.csv", "--target", "y", "--time", "when", "--folds", 4, "--out", "m")


def test_a_model_goes_on_with_its_classes_only(capsys):
    times(0).to_csv("a.csv", index=False)
    times(6).to_csv("b.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--out", "m")
    said = mistake(capsys, "train", "b.csv", "--target", "y", "--continue", "m", "--out", "n")
    assert "--continue: 'y' holds classes that the model does not know: c" in said


@pytest.mark.parametrize("cells", [[0, 1.5], [0, "x"], ["yes", "no"], [True, False], [7, 8]])
def test_other_labels_than_the_training_s_are_refused(cells, capsys):
    times(0, words=False).to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "y", "--out", "m")
    times(0).assign(y=cells * 30).to_csv("b.csv", index=False)
    assert "'y' holds" in mistake(capsys, "evaluate", "m", "b.csv")


def test_one_row_and_one_column_are_one(capsys):
    times(1).drop(columns="when").to_csv("a.csv", index=False)
    frame = pd.DataFrame({"x": np.arange(20.0), "when": np.arange(20.0), "y": ["a", "b"] * 9 + ["a", "c"]})
    frame.to_csv("b.csv", index=False)
    shown = run(capsys, "train", "b.csv", "--target", "y", "--time", "when", "--drop", "when", "--out", "m")
    assert "y from 1 column, 20 rows" in shown
    assert "1 row is of classes without a row in the training: always wrong." in shown
    pd.DataFrame({"x": [1.0], "y": ["a"]}).to_csv("c.csv", index=False)
    assert "1 of 1 row has a value of 'y'" in run(capsys, "evaluate", "m", "c.csv")
    frame.assign(x=frame.x.where(frame.index > 0)).to_csv("b.csv", index=False)
    options = ["--time", "when", "--drop", "when", "--missing", "drop"]
    assert "1 of 20 rows was left out" in run(capsys, "train", "b.csv", "--target", "y", *options, "--out", "m")
