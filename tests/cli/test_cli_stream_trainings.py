"""Trainings with ``--stream``: networks, losses with a parameter, and what is kept where the disk is full."""

import errno

import numpy as np
import pandas as pd
import pytest

from gdfast.__main__ import main
from gdfast.cli import streaming
from gdfast.cli.model import Model
from gdfast.sklearn import MLPRegressor
from gdfast.sklearn._stream_linear import LinearLearner
from gdfast.tables import Parquet

RNG = np.random.default_rng(0)
N = 2000
FRAME = pd.DataFrame({"a": RNG.normal(size=N), "b": RNG.normal(size=N), "town": RNG.choice(["Bonn", "Kiel"], N)})
FRAME["y"] = FRAME.a * FRAME.b + (FRAME.town == "Kiel")
FRAME["up"] = np.where(FRAME.y > 0.5, "yes", "no")


@pytest.fixture(autouse=True)
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FRAME.to_parquet("rows.parquet", row_group_size=500)


def run(capsys, *arguments, code=0):
    assert main(list(arguments)) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    return err if code else out


def train(capsys, *arguments, target="y", code=0):
    return run(capsys, "train", "rows.parquet", "--stream", "--target", target, *arguments, code=code)


@pytest.mark.parametrize(("target", "other"), [("y", "up"), ("up", "y")])
def test_a_network(capsys, target, other):
    FRAME.to_csv("valid.csv", index=False)
    out = train(
        capsys, "--drop", other, "--model", "mlp", "--hidden", "20,10", "--lr", "0.01", "--epochs", "30",
        "--hash-bits", "6", "--valid", "valid.csv", "--out", "m", target=target,
    )  # fmt: skip
    assert "MLPRegressor, squared_error, adam" in out or "MLPClassifier, log_loss, adam" in out
    assert "hashed to 64," in out
    scores = {line.split()[0]: float(line.split()[1]) for line in out.splitlines() if line[:3] in ("R2 ", "acc")}
    assert min(scores.values()) > 0.85
    run(capsys, "predict", "m", "rows.parquet", "--out", "streamed.csv", "--stream")
    run(capsys, "predict", "m", "rows.parquet", "--out", "whole.csv")
    pd.testing.assert_frame_equal(pd.read_csv("streamed.csv"), pd.read_csv("whole.csv"))


def test_a_network_is_that_of_the_estimator(capsys, tmp_path):
    how = ["--model", "mlp", "--penalty", "none", "--epochs", "2", "--out", "m"]
    train(capsys, "--drop", "up", "--drop", "town", *how)
    found = Model.load(tmp_path / "m").estimator
    source = Parquet("rows.parquet", target="y", columns=["a", "b"])
    same = MLPRegressor(alpha=0.0, max_iter=2, tol=None, random_state=0).fit(source)
    np.testing.assert_array_equal(found.coefs_[0], same.coefs_[0])


def test_hashed_columns_of_a_network_are_fewer(capsys, tmp_path):
    train(capsys, "--drop", "up", "--model", "mlp", "--hidden", "2", "--epochs", "1", "--out", "m")
    assert Model.load(tmp_path / "m").estimator.n_features_in_ == 2**14 + 2


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("stream", [["--stream"], ["--test-size", "0"]])
def test_a_quantile(capsys, tmp_path, model, stream):
    arguments = ["train", "rows.parquet", "--target", "y", "--drop", "up", "--drop", "town", "--model", model]
    arguments += ["--loss", "quantile", "--quantile", "0.9", "--epochs", "20", "--lr", "0.05", "--out", "m"]
    run(capsys, *arguments, *stream)
    found = Model.load(tmp_path / "m")
    assert found.estimator.quantile == 0.9
    below = FRAME.y < found.estimator.predict(FRAME[["a", "b"]].to_numpy())
    assert 0.8 < below.mean() < 0.97


def test_the_parameter_of_a_loss_stays_with_the_model(capsys, tmp_path):
    FRAME.assign(rate=np.exp(FRAME.y)).to_parquet("rows.parquet")
    arguments = ["rows.parquet", "--target", "rate", "--drop", "up", "--epochs", "3", "--test-size", "0"]
    run(capsys, "train", *arguments, "--loss", "tweedie", "--power", "0", "--out", "m")
    run(capsys, "train", "rows.parquet", "--continue", "m", "--epochs", "1", "--out", "n")
    assert Model.load(tmp_path / "n").estimator.power == 0.0
    more = ["--loss", "tweedie", "--power", "-1"]
    run(capsys, "train", "rows.parquet", "--continue", "m", *more, "--epochs", "1", "--out", "n")
    assert Model.load(tmp_path / "n").estimator.power == -1.0
    run(capsys, "train", *arguments, "--loss", "huber", "--epsilon", "0.5", "--out", "h")
    assert Model.load(tmp_path / "h").estimator.epsilon == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--quantile", "0.9"], "--quantile must be with --loss quantile; got 'auto'"),
        (["--loss", "huber", "--power", "1.5"], "--power must be with --loss tweedie; got 'huber'"),
        (
            ["--loss", "quantile", "--epsilon", "1"],
            "--epsilon must be with --loss huber, log_cosh, ep",
        ),
        (["--loss", "quantile", "--quantile", "2"], "--quantile must be"),
        (["--loss", "tweedie", "--power", "0.5"], "--power must not be between 0 and 1; got 0.5"),
        (["--loss", "quantile", "--quantile", "half"], "must be a number; got 'half'"),
    ],
)
def test_the_parameter_of_another_loss_is_refused(capsys, arguments, said):
    assert said in " ".join(train(capsys, *arguments, code=2).split())


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_the_end_leaves_the_training(capsys, tmp_path, monkeypatch):
    train(capsys, "--drop", "up", "--out", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Model, "save", full)
        error = train(capsys, "--drop", "up", "--out", "m", code=2)
    assert "(No space left on device); got 'm'. The training is kept in m/checkpoint.safetensors: the same co" in error
    with monkeypatch.context() as patch:
        patch.setattr(LinearLearner, "train_on", full)
        train(capsys, "--drop", "up", "--out", "m")
    found, whole = (Model.load(tmp_path / name) for name in ("m", "whole"))
    assert found.estimator.coef_.tobytes() == whole.estimator.coef_.tobytes()
    assert (found.about["rows"], found.about["epochs"]) == (N, whole.about["epochs"])
    assert not (tmp_path / "m" / streaming.CHECKPOINT).exists()


def test_a_disk_that_is_full_for_the_checkpoint_too(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(Model, "save", full)
    monkeypatch.setattr("gdfast.sklearn._stream_checkpoint.save", full)
    error = train(capsys, "--drop", "up", "--out", "m", code=2)
    assert error.strip().endswith("(No space left on device); got 'm'")
    assert not (tmp_path / "m").exists()
