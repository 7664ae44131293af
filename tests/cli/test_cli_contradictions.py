"""Options that the training cannot follow are refused, not left unread."""

import numpy as np
import pandas as pd
import pytest
from command import mistake, run


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(80), "k": rng.integers(0, 3, 80), "c": rng.choice(["red", "green"], 80)})
    frame["y"] = np.where(frame.a > 0.5, "yes", "no")
    frame.to_csv("a.csv", index=False)
    frame.assign(c="blue").to_csv("b.csv", index=False)
    frame.assign(c=["blue", *["red"] * 79]).to_csv("c.csv", index=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "regression"], "--task must be that of the model, classification; got 'regression'"),
        (["--model", "mlp"], "--model must be that of the model, linear; got 'mlp'"),
        (["--hidden", "5"], "--hidden must be that of the model, 100; got '5'"),
        (["--loss", "hinge"], "--loss must be that of the model, log_loss; got 'hinge'"),
        (["--text", "c"], "--text must be as in the model, none; got 'c'"),
        (["--category", "a"], "--category must be as in the model, k, c; got 'a'"),
    ],
)
def test_a_model_goes_on_as_it_is(options, said, capsys):
    same = ["--category", "k"]
    run(capsys, "train", "a.csv", "--target", "y", *same, "--out", "run", "--quiet")
    go_on = ["train", "a.csv", "--continue", "run", "--out", "other"]
    assert mistake(capsys, *go_on, *options) == said
    run(capsys, *go_on, *same, "--task", "classification", "--loss", "log_loss", "--epochs", "2", "--target", "y")


def test_a_network_goes_on_as_it_is(capsys):
    run(capsys, "train", "a.csv", "--target", "y", "--model", "mlp", "--hidden", "4,3", "--epochs", "2", "--out", "run")
    go_on = ["train", "a.csv", "--continue", "run", "--epochs", "2", "--out", "other"]
    run(capsys, *go_on, "--model", "mlp", "--hidden", "4, 3")
    assert mistake(capsys, *go_on, "--hidden", "4") == "--hidden must be that of the model, 4,3; got '4'"


@pytest.mark.parametrize(("data", "said"), [("b.csv", "80 cells of 'c' hold"), ("c.csv", "1 cell of 'c' holds")])
def test_categories_that_the_model_does_not_know_are_counted(data, said, capsys):
    run(capsys, "train", "a.csv", "--target", "y", "--out", "run", "--quiet")
    out = run(capsys, "train", data, "--continue", "run", "--out", "other")
    assert f"{said} what is no category of the model." in out


@pytest.mark.parametrize("option", [["--hash-bits", "10"], ["--statistics", "all"]])
def test_options_of_streams(option, capsys):
    expected = f"{option[0]} must be with --stream; got {option[1]}"
    assert mistake(capsys, "train", "a.csv", "--target", "y", *option).replace("'", "") == expected


def test_a_linear_model_has_its_penalty_from_alpha(capsys):
    said = "optimizer must leave weight_decay to penalty and --alpha; got 0.1 as its option"
    assert mistake(capsys, "train", "a.csv", "--target", "y", "--optimizer", "adam:weight_decay=0.1") == said
    assert "options of" in mistake(capsys, "train", "a.csv", "--target", "y", "--optimizer", "adam:common=1")
    run(
        capsys,
        "train",
        "a.csv",
        "--target",
        "y",
        "--model",
        "mlp",
        "--optimizer",
        "adam:weight_decay=0.1",
        "--epochs",
        "2",
    )
