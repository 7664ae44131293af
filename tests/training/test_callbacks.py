"""Callbacks: the log, early stopping and the checkpoint of the best epoch, in one's own loop and in the estimators."""

import copy
import csv
import json
import math
import pickle

import numpy as np
import pytest

import gdfast
from gdfast.training.callbacks import Checkpoint, CSVLogger, EarlyStopping

NAN = math.nan
sklearn = pytest.importorskip("sklearn")
pytest.importorskip("safetensors")


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


# Early stopping


@pytest.mark.parametrize(
    ("options", "values", "stops_at", "best"),
    [
        ({"patience": 1}, [3.0, 2.0, 2.0], 2, (2.0, 1)),
        ({"patience": 2}, [3.0, 2.0, 2.5, 1.0, 1.0, 1.0], 5, (1.0, 3)),
        ({"patience": 1, "min_delta": 0.5}, [3.0, 2.6], 1, (3.0, 0)),
        ({"patience": 1, "mode": "max"}, [1.0, 2.0, 1.0], 2, (2.0, 1)),
        ({"patience": 2}, [NAN, 2.0, NAN, NAN], 3, (2.0, 1)),
        ({"patience": 2}, [NAN, NAN], 1, (NAN, -1)),
        ({"patience": 3}, [3.0, 2.0, 1.0], None, (1.0, 2)),
    ],
)
def test_early_stopping(options, values, stops_at, best):
    stop = EarlyStopping(**options)
    answers = [stop(epoch, {"loss": value}) for epoch, value in enumerate(values)]
    expected = [epoch == stops_at for epoch in range(len(values))]
    assert answers == expected
    np.testing.assert_equal((stop.best, stop.best_epoch), best)


def test_the_score_is_watched_where_there_is_one():
    stop = EarlyStopping(patience=1)
    assert [stop(i, {"loss": -i, "score": score}) for i, score in enumerate([0.5, 0.75, 0.75])] == [False, False, True]
    assert EarlyStopping("loss", patience=1)(0, {"loss": 1.0, "score": 0.0}) is False


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"monitor": 3}, TypeError, "monitor must be a name in the logs; got 3"),
        ({"mode": "least"}, ValueError, 'mode must be "min" or "max"; got \'least\''),
        ({"patience": 0}, ValueError, "patience must be at least 1; got 0"),
        ({"min_delta": -1.0}, ValueError, "min_delta must be in"),
        ({"min_delta": "x"}, TypeError, "min_delta must be a number"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        EarlyStopping(**options)


def test_logs_must_hold_what_is_watched():
    with pytest.raises(ValueError, match=r"monitor must be a name in the logs \(loss, lr\); got 'accuracy'"):
        EarlyStopping("accuracy")(0, {"loss": 1.0, "lr": 0.1})
    with pytest.raises(ValueError, match=r"\(empty\); got 'loss'"):
        EarlyStopping()(0, {})


# The log


def test_numbers_read_back_exactly(tmp_path):
    log = CSVLogger(tmp_path / "log.csv")
    losses = [0.1, 1 / 3, 1e-300, float(np.float32(0.1))]
    for epoch, loss in enumerate(losses):
        log(epoch, {"loss": loss, "lr": np.float64(loss)})
        assert len(table(log.path)) == epoch + 1  # each line at once
    rows = table(log.path)
    assert [float(row["loss"]) for row in rows] == [float(row["lr"]) for row in rows] == losses
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]


def test_a_number_that_comes_later_gets_a_column(tmp_path):
    log = CSVLogger(tmp_path / "log.csv")
    for epoch, logs in enumerate([{"loss": 1.0}, {"loss": 2.0, "score": 0.5}, {"loss": 3.0}]):
        log(epoch, logs)
    assert (tmp_path / "log.csv").read_text() == "epoch,loss,score\n0,1.0,\n1,2.0,0.5\n2,3.0,\n"


def test_replace_or_append(tmp_path):
    path = tmp_path / "log.csv"
    CSVLogger(path)(0, {"loss": 1.0})
    CSVLogger(path)(0, {"loss": 2.0})
    assert path.read_text() == "epoch,loss\n0,2.0\n"
    CSVLogger(path, append=True)(1, {"loss": 3.0})
    assert path.read_text() == "epoch,loss\n0,2.0\n1,3.0\n"
    CSVLogger(path, append=True)(2, {"lr": 0.5})
    assert path.read_text() == "epoch,loss,lr\n0,2.0,\n1,3.0,\n2,,0.5\n"
    CSVLogger(tmp_path / "new.csv", append=True)(0, {"loss": 1.0})
    assert len(table(tmp_path / "new.csv")) == 1


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        CSVLogger(tmp_path / "no" / "log.csv")(0, {"loss": 1.0})


# The checkpoint


def test_the_best_epoch_of_a_users_loop(tmp_path):
    w = np.array([1.0, 2.0])
    opt = gdfast.Adam(w, lr=0.1)
    best = Checkpoint(tmp_path / "best.safetensors", opt, monitor="accuracy", mode="max")
    kept = None
    for epoch, accuracy in enumerate([0.5, 0.9, 0.7]):
        opt.step(w.copy())
        assert best(epoch, {"loss": 1.0, "accuracy": np.float32(accuracy)}) is None
        if epoch == 1:
            kept = w.copy(), opt.state_dict()
    assert best.best_epoch == 1
    assert best.restore() == {"epoch": 1, "logs": {"loss": 1.0, "accuracy": float(np.float32(0.9))}}
    np.testing.assert_array_equal(w, kept[0])
    np.testing.assert_equal(opt.state_dict(), kept[1])


def test_a_lookahead(tmp_path):
    w = np.array([1.0])
    opt = gdfast.Lookahead(gdfast.SGD(w, lr=1.0), k=2)
    best = Checkpoint(tmp_path / "best.safetensors", opt)
    for epoch, loss in enumerate([2.0, 1.0, 3.0]):
        opt.step(np.ones(1))
        best(epoch, {"loss": loss})
    best.restore()
    assert (w[0], opt.step_count) == (0.0, 2)


def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    return X, X @ [1.0, -2.0, 0.5] + 0.1 * rng.standard_normal(80)


def make(kind, **options):
    from gdfast import sklearn

    X, y = data()
    y = (y > 0).astype(int) if "Classifier" in kind else y
    return getattr(sklearn, kind)(random_state=0, tol=None, **options), X, y


def weights(model):
    return [*model.coefs_, *model.intercepts_] if hasattr(model, "coefs_") else [model.coef_, model.intercept_]


KINDS = pytest.mark.parametrize("kind", ["GDClassifier", "GDRegressor", "MLPClassifier", "MLPRegressor"])


@KINDS
def test_the_best_epoch_of_an_estimator(kind, tmp_path):
    """A number that gets worse after the third epoch: the file holds the weights of that one."""
    path, seen = tmp_path / "best.safetensors", []

    class Scores:
        def on_epoch_end(self, epoch, logs):
            logs["odd"] = -abs(epoch - 2)
            best(epoch, logs)
            seen.append([array.copy() for array in weights(model)])

        def on_fit_begin(self, estimator):
            best.on_fit_begin(estimator)

        def on_fit_end(self, estimator):
            best.on_fit_end(estimator)

    best = Checkpoint(path, monitor="odd", mode="max")
    model, X, y = make(kind, max_iter=5, callbacks=[Scores()])
    model.fit(X, y)
    assert (best.best_epoch, best._estimator) == (2, None)
    assert not np.array_equal(seen[2][0], seen[4][0])
    about = best.restore(model)
    assert about["epoch"] == 2
    assert about["logs"]["odd"] == 0
    for array, expected in zip(weights(model), seen[2], strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    model.predict(X)


@KINDS
def test_all_three_with_an_estimator(kind, tmp_path):
    log, best = CSVLogger(tmp_path / "log.csv"), Checkpoint(tmp_path / "best.safetensors")
    stop = EarlyStopping("loss", patience=2, min_delta=1e9)
    model, X, y = make(kind, max_iter=9, callbacks=[log, best, stop])
    for _ in range(2):  # each fit begins anew
        model.fit(X, y)
        assert model.n_iter_ == 3  # the first is the best, two more are not better
        rows = table(tmp_path / "log.csv")
        assert [float(row["loss"]) for row in rows] == model.loss_curve_
        assert set(rows[0]) == {"epoch", "loss", "lr"}
        assert best.best == min(model.loss_curve_)


def test_what_the_file_says(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "best.safetensors"
    model, X, y = make("MLPClassifier", hidden_layer_sizes=(4,) * 11, max_iter=2, callbacks=Checkpoint(path))
    model.fit(X, y)
    with safe_open(path, framework="numpy") as file:
        names, about = set(file.keys()), json.loads(file.metadata()["gdfast"])
    assert names == {f"{name}.{i}" for name in ("coefs_", "intercepts_") for i in range(12)}
    assert about == {"epoch": 1, "logs": {"loss": model.loss_curve_[1], "lr": pytest.approx(about["logs"]["lr"])}}
    before = [array.copy() for array in weights(model)]
    assert Checkpoint(path).restore(model) == about  # layer 10 comes after layer 9
    for array, expected in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_checkpoint_of_another_model(tmp_path):
    path = tmp_path / "best.safetensors"
    model, X, y = make("GDRegressor", max_iter=2, callbacks=Checkpoint(path))
    model.fit(X, y)
    other = make("GDRegressor", max_iter=2)[0].fit(X[:, :2], y)
    before = other.coef_.copy()
    with pytest.raises(ValueError, match=r"of the shapes in .*'coef_': \(3,\).*; got .*'coef_': \(2,\)"):
        Checkpoint(path).restore(other)
    np.testing.assert_array_equal(other.coef_, before)
    with pytest.raises(ValueError, match="got none"):
        Checkpoint(path).restore(make("GDRegressor")[0])
    network = make("MLPRegressor", max_iter=2)[0].fit(X, y)
    with pytest.raises(ValueError, match="estimator must be a fitted one"):
        Checkpoint(path).restore(network)
    gdfast.save(path, gdfast.SGD({"a.b": np.zeros(2)}))
    with pytest.raises(ValueError, match=r"not a checkpoint|estimator must be a fitted one"):
        Checkpoint(path).restore(network)


def test_a_damaged_file(tmp_path):
    path = tmp_path / "best.safetensors"
    model, X, y = make("GDRegressor", max_iter=2, callbacks=Checkpoint(path))
    model.fit(X, y)
    whole, before = path.read_bytes(), model.coef_.copy()
    for damaged in (b"", b"nonsense" * 9, whole[:-5], whole[:40]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged, or not a checkpoint"):
            Checkpoint(path).restore(model)
    np.testing.assert_array_equal(model.coef_, before)


def test_bad_checkpoints(tmp_path):
    with pytest.raises(TypeError, match="opt must be a gdfast optimizer; got ndarray"):
        Checkpoint("x", np.zeros(1))
    with pytest.raises(ValueError, match="opt must be given unless an estimator"):
        Checkpoint("x")(0, {"loss": 1.0})
    with pytest.raises(TypeError, match="estimator must be given"):
        Checkpoint("x").restore()
    with pytest.raises(FileNotFoundError):
        Checkpoint(tmp_path / "none.safetensors").restore(make("GDRegressor")[0])


def test_they_can_be_copied_and_pickled(tmp_path):
    """As the parameters of an estimator must."""
    from sklearn.base import clone

    callbacks = [CSVLogger(tmp_path / "log.csv"), EarlyStopping(), Checkpoint(tmp_path / "best")]
    model, X, y = make("GDRegressor", max_iter=2, callbacks=callbacks)
    clone(model).fit(X, y)
    assert len(table(tmp_path / "log.csv")) == 2
    assert copy.deepcopy(callbacks)[1].best_epoch == -1
    pickle.loads(pickle.dumps(model.fit(X, y))).fit(X, y)
