"""``gdfast lr-find``, ``gdfast plot``, ``gdfast bench``; and how the options of a training become an estimator."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run

import gdfast
from gdfast import schedules
from gdfast.__main__ import main
from gdfast.cli import bench
from gdfast.cli.settings import Settings, Shape
from gdfast.cli.training import find_lr, prepare


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistake(capsys, *arguments: str) -> str:
    """Return the one sentence that ``gdfast`` says."""
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("gdfast: ").rstrip("\n")


def is_picture(name: str) -> bool:
    data = Path(name).read_bytes()
    return data.startswith(b"GIF8" if name.lower().endswith(".gif") else b"\x89PNG\r\n\x1a\n") and len(data) > 5000


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_lr_find(model, capsys):
    shown = run(capsys, "lr-find", "digits", "--model", model, "--out", "a.png")
    assert len(re.findall(r"^--lr [-.0-9e]+ +(valley|steepest|minimum): ", shown, re.MULTILINE)) == 3
    assert shown.count("the one that --lr find takes") == 1
    assert is_picture("a.png")


def test_lr_find_says_what_train_takes(capsys):
    assert run(capsys, "train", "iris", "--lr", "find", "--epochs", "2", "--out", "run").count("adam, lr ") == 1
    found = find_lr(prepare("iris", Settings(seed=3, test_size=0.0)))
    assert f"--lr {found.lr:.3g} " in run(capsys, "lr-find", "iris", "--seed", "3")


def test_lr_find_counts_rows_by_their_weight(capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(200), "w": rng.integers(0, 2, 200) * 5.0})
    frame["y"] = np.where(frame.w > 0, 100 * frame.x, rng.random(200))
    frame.to_csv("a.csv", index=False)
    some = ["lr-find", "a.csv", "--target", "y", "--loss", "huber"]
    assert run(capsys, *some, "--weight", "w") != run(capsys, *some, "--drop", "w")
    found = [find_lr(prepare("a.csv", Settings(target="y", test_size=0.0, **more))) for more in ({"weight": "w"}, {})]
    assert found[0].losses[0] != found[1].losses[0]


def test_no_rate_makes_the_loss_fall(monkeypatch, capsys):
    monkeypatch.setattr("gdfast.training.lr_finder._suggestions", lambda lrs, smoothed: {})
    for command in (["lr-find", "iris"], ["train", "iris", "--lr", "find"]):
        assert mistake(capsys, *command) == (
            "the loss falls at no learning rate from 1e-07 to 10: leave --lr away, give it a number, or try another "
            "--optimizer"
        )
    assert not Path("lr.png").exists()


def test_lr_find_without_an_answer(capsys):
    Path("a.csv").write_text("x,y\n" + "0,1.0\n0,0.5\n" * 30)
    assert mistake(capsys, "lr-find", "a.csv", "--target", "y", "--keep", "x", "--out", "no/a.png").startswith(
        "--out must be"
    )


@pytest.mark.parametrize("names", [[], ["cosine"], ["linear", "onecycle"]])
def test_schedules(names, capsys):
    assert run(capsys, "plot", "schedules", *names, "--steps", "50", "--out", "a.png").split() == ["picture", "a.png"]
    assert is_picture("a.png")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [([], "a.png"), (["ravine"], "a.PNG"), (["beale", "--steps", "5"], "a.gif"), (["--steps", "3"], "a.gif")],
)
def test_paths(arguments, name, capsys):
    run(capsys, "plot", "paths", *arguments, "--out", name)
    assert is_picture(name)


def test_losses_of_logs(capsys):
    for name in ("one", "two"):
        run(capsys, "train", "iris", "--epochs", "3", "--out", name)
    run(capsys, "plot", "losses", "one", "two/log.csv")
    assert is_picture("losses.png")


def test_plot_alone_is_its_help(capsys):
    main(["plot"])
    assert "schedules" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["schedules", "poly"], "a schedule must be one of cosine, linear, constant, step, onecycle; got 'poly'"),
        (["schedules", "--lr", "-1"], "lr must be "),
        (["schedules", "--steps", "0"], ""),
        (["schedules", "--out", "a.pdf"], "--out must be a file that ends in .png; got 'a.pdf'"),
        (["paths", "hill"], "SURFACE must be one of ravine, saddle, rosenbrock, beale; got 'hill'"),
        (["paths", "--steps", "0"], "--steps must be a whole number from 1 on; got 0"),
        (["paths", "--out", "no/a.png"], "--out must be a file that can be written (No such file or directory)"),
        (["losses", "nowhere"], "nowhere cannot be read: No such file or directory"),
        (["losses", "empty.csv"], "empty.csv has no epochs"),
        (["losses", "other.csv"], "other.csv must have a column of numbers named loss: 'loss'"),
        (["losses", "words.csv"], "words.csv must have a column of numbers named loss: could not convert"),
    ],
)
def test_what_can_be_wrong_with_a_picture(arguments, said, capsys):
    Path("empty.csv").write_text("epoch,loss\n")
    Path("other.csv").write_text("epoch,score\n0,1\n")
    Path("words.csv").write_text("epoch,loss\n0,low\n")
    assert mistake(capsys, "plot", *arguments).startswith(said)


@pytest.mark.parametrize(("options", "quick"), [([], ["--quick"]), (["--full"], [])])
@pytest.mark.parametrize("code", [0, 1])
def test_bench_runs_the_suite_of_the_source_tree(options, quick, code, monkeypatch, in_tmp):
    calls = []

    def fake(command, cwd, check):
        calls.append((command[1:], Path(cwd)))
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(bench.subprocess, "run", fake)
    assert main(["bench", *options, "--out", "x"]) == code
    tree = Path(gdfast.__file__).parents[1]
    assert calls == [(["-m", "benchmarks.report", *quick, "--out", str(in_tmp / "x")], tree)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"optimizer": "auto", "lr": "auto", "max_iter": "auto", "batch_size": "auto", "tol": None}),
        ({"model": "mlp"},
         {"optimizer": "adam", "lr": "auto", "max_iter": 200, "batch_size": "auto", "tol": 1e-4, "alpha": "auto"}),
        ({"lr": "0.1", "epochs": 100}, {"lr": schedules.Cosine(0.1, 200, min_lr=0.001), "max_iter": 100}),
        ({"lr": "0.1", "model": "mlp", "epochs": 5}, {"lr": schedules.Warmup(schedules.Constant(0.1), 0), "tol": 1e-4}),
        ({"schedule": "linear", "epochs": 500, "warmup": 0.1}, {"lr": schedules.Linear(0.1, 1000, warmup_steps=100)}),
        ({"schedule": "linear", "model": "mlp"}, {"lr": schedules.Linear(1.5e-3, 400), "tol": None}),
        ({"schedule": "linear", "model": "mlp", "epochs": 10, "optimizer": "lion"}, {"lr": schedules.Linear(1e-4, 20)}),
        ({"early_stopping": True, "batch_size": 50, "epochs": 4, "lr": "1"},
         {"lr": schedules.Cosine(1.0, 32, min_lr=0.01), "batch_size": 50}),
        ({"penalty": "none"}, {"penalty": None, "alpha": "auto"}),
        ({"penalty": "none", "model": "mlp"}, {"alpha": 0.0}),
        ({"penalty": "l1", "alpha": "0.5"}, {"penalty": "l1", "alpha": 0.5}),
        ({"balanced": True}, {"class_weight": "balanced"}),
        ({"model": "mlp", "hidden": "30,20"}, {"hidden_layer_sizes": (30, 20)}),
        ({"loss": "hinge"}, {"loss": "hinge"}),
        ({"optimizer": "sgd:momentum=0.9,nesterov=True"},
         {"optimizer": (gdfast.SGD, {"momentum": 0.9, "nesterov": True})}),
    ],
)  # fmt: skip
def test_options_become_parameters(options, expected):
    found = Settings(**options).estimator("classification", Shape(400, 5)).get_params()
    for name, value in expected.items():
        assert repr(found[name]) == repr(value), name


def test_texts_have_a_penalty_of_their_own():
    classifier = Settings().estimator("classification", Shape(200, 5, True, True))
    assert (classifier.alpha, classifier.standardize) == (0.01 / 200, False)
    regressor = Settings().estimator("regression", Shape(200, 5, True, True), lr=0.5)
    assert (regressor.alpha, regressor.standardize) == ("auto", True)
