"""``--optimizer auto``: what ``gdfast train`` takes, and what it says of it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run
from sklearn.linear_model import LogisticRegression

from gdfast.cli.model import Model


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(rows=200, columns=3):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((rows, columns)), columns=[f"x{i}" for i in range(columns)])
    frame["y"] = frame.x0 - frame.x1 + rng.standard_normal(rows)
    frame["c"] = np.where(frame.y > 0, "yes", "no")
    return frame


@pytest.mark.parametrize(
    ("options", "said", "course"),
    [
        (["--drop", "c", "--target", "y"], "GDRegressor, squared_error, Newton's method", "2 steps on all rows"),
        (["--drop", "y", "--target", "c"], "GDClassifier, log_loss, Newton's method", r"\d+ steps on all rows"),
        (["--drop", "y", "--target", "c", "--loss", "squared_hinge"], ", L-BFGS", r"\d+ steps on all rows"),
        (["--drop", "c", "--target", "y", "--loss", "quantile"], "GDRegressor, quantile, adam", "1000 epochs"),
        (["--drop", "c", "--target", "y", "--penalty", "l1"], "squared_error, adam", "1000 epochs"),
        (["--drop", "c", "--target", "y", "--epochs", "1"], "squared_error, adam", "1 epoch"),
        (["--drop", "c", "--target", "y", "--lr", "0.1", "--epochs", "3"], "squared_error, adam", "3 epochs"),
        (["--drop", "c", "--target", "y", "--lr", "find"], "squared_error, adam, lr ", "1000 epochs"),
        (["--drop", "c", "--target", "y", "--schedule", "linear"], "squared_error, adam", "1000 epochs"),
        (["--drop", "c", "--target", "y", "--batch-size", "50"], "squared_error, adam", r"\d+ epochs"),
        (["--drop", "c", "--target", "y", "--early-stopping"], "squared_error, adam", r"\d+ epochs"),
        (["--drop", "c", "--target", "y", "--optimizer", "sgd:momentum=0.9"], "squared_error, sgd:momentum=0.9",
         "1000 epochs"),
        (["--drop", "c", "--target", "y", "--model", "mlp", "--epochs", "2"], "MLPRegressor, squared_error, adam",
         "2 epochs"),
        (["--drop", "c", "--target", "y", "--stream"], "GDRegressor, squared_error, Newton's method",
         r"\d+ steps on all rows"),
        (["--drop", "c", "--target", "y", "--stream", "--epochs", "3"], "GDRegressor, squared_error, adam", "3 epochs"),
    ],
)  # fmt: skip
def test_the_report_names_what_was_taken(options, said, course, capsys):
    table().to_csv("a.csv", index=False)
    out = run(capsys, "train", "a.csv", *options)
    assert said in out.split("model ")[1].split("\n")[0]
    assert re.search(f"training       (160|200) rows, {course}, |training       {course}, ", out)
    taken = said.split(", ")[-2 if "lr " in said else -1]
    assert re.search(f"training       (160|200) rows, {taken}, {course}, loss ", run(capsys, "show", "a-model"))


def test_it_is_the_minimum_that_scikit_learn_finds(capsys):
    frame = table()
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--drop", "y", "--target", "c", "--penalty", "none", "--test-size", "0")
    model = Model.load(Path("a-model"))
    peer = LogisticRegression(C=np.inf, tol=1e-10).fit(frame[["x0", "x1", "x2"]], frame.c)
    np.testing.assert_allclose(model.estimator.coef_, peer.coef_, rtol=1e-4)
    assert len(pd.read_csv("a-model/log.csv")) == model.about["epochs"]


def test_larger_data_have_mini_batches(capsys):
    table(rows=3000, columns=60).to_csv("a.csv", index=False)
    out = run(capsys, "train", "a.csv", "--drop", "c", "--target", "y")
    assert "GDRegressor, squared_error, adam" in out


def test_steps_that_did_not_suffice_are_said(monkeypatch, capsys):
    monkeypatch.setattr("gdfast.sklearn._newton.MOST_STEPS", 2)
    table().to_csv("a.csv", index=False)
    out = run(capsys, "train", "a.csv", "--drop", "y", "--target", "c")
    said = (
        "\n               GDClassifier: Newton's method ended at step 2, before it reached the minimum: with a larger "
        "penalty (--alpha), or columns of similar scale, it needs fewer.\n"
    )
    assert said in out
    assert said in run(capsys, "show", "a-model")


def test_a_model_trained_further_is_said_to_forget(capsys):
    table().to_csv("a.csv", index=False)
    options = ["train", "a.csv", "--drop", "c", "--target", "y"]
    run(capsys, *options)
    said = "Its steps go to the minimum wherever they begin; --epochs N trains N epochs from the old weights."
    again = run(capsys, *options, "--continue", "a-model", "--out", "b")
    assert said in again
    assert " 1 step on all rows, " in again
    some = run(capsys, *options, "--continue", "a-model", "--epochs", "3", "--out", "c")
    assert (said in some, "squared_error, adam" in some, " 3 epochs, " in some) == (False, True, True)


def test_lr_find_says_whose_rates_it_finds(capsys):
    table().to_csv("a.csv", index=False)
    options = ["lr-find", "a.csv", "--drop", "c", "--target", "y"]
    assert run(capsys, *options).startswith("optimizer      adam\n--lr ")
    assert run(capsys, *options, "--optimizer", "sgd").startswith("optimizer      sgd\n--lr ")


def test_of_many_columns_that_are_left_out_the_first_have_a_line_each(capsys):
    frame = table().assign(**{f"same{i}": i for i in range(15)})
    frame.to_csv("a.csv", index=False)
    out = run(capsys, "train", "a.csv", "--target", "y", "--drop", "c")
    assert out.count(" is always ") == 10
    others = ", ".join(f"'same{i}'" for i in range(10, 15))
    assert f"5 more columns are left out likewise: {others}\n" in out
    frame.drop(columns=["same10", "same11", "same12", "same13", "same14"]).to_csv("a.csv", index=False)
    out = run(capsys, "train", "a.csv", "--target", "y", "--drop", "c")
    assert (out.count(" is always "), "more columns" in out) == (10, False)
