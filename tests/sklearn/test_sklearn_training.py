"""What all estimators share: choices in words, the loop over epochs, progress, callbacks, stopping, best weights."""

import builtins
import sys

import numpy as np
import pytest
from sklearn.callback import ScoringMonitor
from sklearn.exceptions import ConvergenceWarning

import gdfast
import gdfast.sklearn
from gdfast import optimizers
from gdfast.sklearn import GDClassifier, GDRegressor, MLPRegressor
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._choices import make_generator, resolve_lr, resolve_optimizer
from gdfast.sklearn._training import split_rows, train


class Model:
    """As little of an estimator as `train` looks at."""

    def __init__(self, tol=None, n_iter_no_change=2, verbose=0, callbacks=None):
        self.tol, self.n_iter_no_change, self.verbose, self.callbacks = tol, n_iter_no_change, verbose, callbacks


def run(losses, scores=None, n_epochs=None, **options):
    """Train a model whose one weight is the number of the epoch; return the history and the weight left."""
    weight = np.zeros(1)
    epochs = []

    def run_epoch(epoch):
        weight[0] = epoch
        epochs.append(epoch)
        return losses[epoch]

    score = None if scores is None else lambda: scores[epochs[-1]]
    history = train(Model(**options), run_epoch, n_epochs or len(losses), [weight], score=score)
    return history, weight[0]


def test_without_tol_every_epoch_runs():
    history, weight = run([3.0, 3.0, 3.0, 3.0, 3.0])
    assert (history.n_iter, history.stopped, history.best_epoch, weight) == (5, False, 4, 4)


def test_tol_stops_when_the_loss_stays():
    history, _ = run([3.0, 2.0, 1.99, 1.98, 1.97], tol=0.1)
    assert (history.n_iter, history.stopped) == (4, True)


def test_tol_warns_when_epochs_run_out():
    with pytest.warns(ConvergenceWarning, match="ran all 3 epochs"):
        run([3.0, 2.0, 1.0], tol=0.1)


def test_early_stopping_keeps_the_best_weights():
    history, weight = run([4.0, 3.0, 2.0, 1.0, 0.5], [0.1, 0.5, 0.4, 0.5, 0.9])
    assert (history.n_iter, history.stopped, history.best_epoch, weight) == (4, True, 1, 1)
    assert history.scores == [0.1, 0.5, 0.4, 0.5]


def test_diverging_is_an_error():
    with pytest.raises(ValueError, match="the loss became nan in epoch 2"):
        run([1.0, np.nan])


def test_callbacks_are_called_and_may_stop():
    seen = []

    class Watcher:
        def on_fit_begin(self, estimator):
            seen.append(type(estimator).__name__)

        def on_epoch_end(self, epoch, logs):
            seen.append((epoch, dict(logs)))
            return epoch == 1

        def on_fit_end(self, estimator):
            seen.append("end")

    also = []
    history, _ = run([3.0, 2.0, 1.0], [0.1, 0.2, 0.3], callbacks=[Watcher(), lambda epoch, logs: also.append(epoch)])
    assert history.stopped
    assert seen == ["Model", (0, {"loss": 3.0, "score": 0.1}), (1, {"loss": 2.0, "score": 0.2}), "end"]
    assert also == [0, 1]
    assert run([1.0, 1.0], callbacks=lambda epoch, logs: 1)[0].n_iter == 2  # only True itself stops
    with pytest.raises(TypeError, match="callbacks must be functions"):
        run([1.0], callbacks=[3])


def test_progress_by_tqdm(capsys):
    run([3.0, 2.5], [0.1, 0.2], verbose=1)
    shown = capsys.readouterr().err
    assert "Model: 100%" in shown
    assert "loss=2.5, score=0.2" in shown


def test_progress_in_plain_lines(capsys, monkeypatch):
    found = builtins.__import__

    def without_tqdm(name, *arguments, **options):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return found(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_tqdm)
    run([3.0, 2.5], verbose=True)
    assert capsys.readouterr().out.splitlines()[1] == "Model: epoch 2/2, loss 2.5"


def test_scikit_learns_own_callbacks():
    monitor = ScoringMonitor(scoring="accuracy")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3))
    model = GDClassifier(max_iter=4, random_state=0).set_callbacks(monitor).fit(X, (X[:, 0] > 0).astype(int))
    assert model.n_iter_ == 4
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 4
    assert scores[-1] == model.score(X, (X[:, 0] > 0).astype(int))


def test_split_rows():
    labels = np.array([0] * 90 + [1] * 10)
    rng = np.random.default_rng(0)
    train_at, held_at = split_rows(100, 0.2, rng, classes=labels)
    assert sorted([*train_at, *held_at]) == list(range(100))
    assert (labels[held_at] == 1).sum() == 2
    assert len(split_rows(4, 0.5, rng, classes=np.array([0, 0, 0, 1]))[0]) == 2  # a class of one row cannot be split
    with pytest.raises(ValueError, match=r"1 rows with validation_fraction=0\.5 cannot be split"):
        split_rows(1, 0.5, rng)


@pytest.mark.parametrize(
    "choice",
    ["adam", gdfast.Adam, ("adam", {"eps": 1e-6}), (gdfast.Adam, {"eps": 1e-6})],
    ids=["name", "class", "name and options", "class and options"],
)
def test_choice_of_an_optimizer(choice):
    kind, options = resolve_optimizer(choice)
    assert kind is gdfast.Adam
    assert options == ({"eps": 1e-6} if isinstance(choice, tuple) else {})


def test_every_optimizer_has_a_name():
    names = optimizers.by_name()
    assert names["adamw"] is gdfast.AdamW
    assert "optimizer" not in names


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ("adan?", ValueError, "optimizer must be one of .*'adam'"),
        (("adam",), TypeError, "optimizer must be a name, a class, or"),
        (("adam", 3), TypeError, "optimizer must be a name, a class, or"),
        (3, TypeError, "optimizer must be a name, a subclass of gdfast.Optimizer"),
        (dict, TypeError, "optimizer must be a name, a subclass of gdfast.Optimizer"),
    ],
)
def test_wrong_optimizer(choice, error, message):
    with pytest.raises(error, match=message):
        resolve_optimizer(choice)


def test_choice_of_a_learning_rate():
    schedule = gdfast.schedules.Cosine(0.1, total_steps=10)
    assert resolve_lr(0.5, dict) == 0.5
    assert resolve_lr(schedule, dict) is schedule
    assert resolve_lr("auto", lambda: 0.25) == 0.25
    for wrong, error in [
        ("best", ValueError),
        (0.0, ValueError),
        (np.inf, ValueError),
        (True, TypeError),
        (None, TypeError),
    ]:
        with pytest.raises(error, match="lr must be"):
            resolve_lr(wrong, dict)


def test_randomness():
    rng = np.random.default_rng(0)
    assert make_generator(rng) is rng
    one, other = make_generator(3), make_generator(np.random.RandomState(3))
    assert one.random() == other.random()


def test_order_of_the_batches():
    rows, rng = np.arange(10), np.random.default_rng(0)
    assert BatchOrder(rows, rng, False, 4).epoch() is rows
    assert BatchOrder(rows, rng, True, len(rows)).epoch() is rows  # a batch of all rows needs no other order
    for in_place in (False, True):
        order = BatchOrder(rows.copy(), rng, True, 4, in_place=in_place)
        first, second = order.epoch().copy(), order.epoch()
        assert list(first) != list(second)
        assert sorted(first) == sorted(second) == list(rows)
    batches = BatchOrder(rows[:5], rng, False, 2).batches()
    assert [list(next(batches)) for _ in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


def test_the_package_imports_lazily(monkeypatch):
    assert "GDClassifier" in dir(gdfast.sklearn)
    with pytest.raises(AttributeError, match="no attribute 'GDCluster'"):
        gdfast.sklearn.GDCluster  # noqa: B018
    for missing, message in (("scipy", "gdfast.sklearn needs scipy"), ("elsewhere", "No module named 'elsewhere'")):

        def refuse(name, missing=missing):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

        with monkeypatch.context() as patch:
            patch.setattr(gdfast.sklearn.importlib, "import_module", refuse)
            with pytest.raises(ImportError, match=message):
                gdfast.sklearn.__getattr__("GDRegressor")


def test_without_scikit_learns_callbacks(monkeypatch):
    """Older versions have none: the stand-ins do nothing."""
    import importlib

    from gdfast.sklearn import _training

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.callback", None)
        older = importlib.reload(_training)
        assert older.with_callbacks(max) is max
        assert not hasattr(older.CallbackSupportMixin, "set_callbacks")
    importlib.reload(_training)


def test_callbacks_see_the_estimator_as_if_it_were_fitted():
    scores = []

    class Watcher:
        def on_fit_begin(self, estimator):
            self.estimator = estimator

        def on_epoch_end(self, epoch, logs):
            scores.append(self.estimator.score(X, y))

    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 3))
    y = X @ np.arange(3.0)
    model = GDRegressor(max_iter=30, callbacks=[Watcher()], random_state=0).fit(X, y)
    assert len(scores) == 30
    assert scores[-1] == model.score(X, y) > scores[0]


def test_averages_of_the_optimizer_are_what_predicts():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 5))
    y = X[:, 0] + rng.standard_normal(300)
    options = {"random_state": 0, "max_iter": 5, "lr": 0.05}
    own = GDRegressor(optimizer=("adam", {"ema_decay": "average"}), **options).fit(X, y)
    np.testing.assert_array_equal(own.coef_, GDRegressor(average=True, **options).fit(X, y).coef_)
    assert not np.array_equal(own.coef_, GDRegressor(**options).fit(X, y).coef_)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_averages_of_a_networks_optimizer_are_what_predicts(early_stopping):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 4))
    y = X[:, 0] + 0.1 * rng.standard_normal(100)

    def fitted(max_iter, **options):  # one step an epoch
        options |= {"max_iter": max_iter, "early_stopping": early_stopping}
        return MLPRegressor(hidden_layer_sizes=(5,), lr=0.1, tol=None, random_state=0, **options).fit(X, y)

    averaged = fitted(2, optimizer=("adam", {"ema_decay": "average"}), n_iter_no_change=9)
    if early_stopping:  # every epoch is better than the one before
        assert averaged.validation_scores_[1] < fitted(2, n_iter_no_change=9).validation_scores_[1]
    first, second = fitted(1).coefs_, fitted(2).coefs_
    for found, one, two in zip(averaged.coefs_, first, second, strict=True):
        np.testing.assert_allclose(found, (one + two) / 2, rtol=1e-12)


def test_estimators_stop_early_and_average():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 5)).astype(np.float32)
    y = X @ np.arange(5.0) + 0.1 * rng.standard_normal(400)
    for average in (False, True, 20):
        model = GDRegressor(random_state=0, early_stopping=True, average=average, n_iter_no_change=30).fit(
            X, y, np.ones(400)
        )
        assert len(model.validation_scores_) == model.n_iter_
        assert model.score(X, y) > 0.95
    classifier = GDClassifier(random_state=0, early_stopping=True).fit(X, y > 0)
    assert max(classifier.validation_scores_) > 0.9
