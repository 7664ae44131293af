"""Models that are evaluated with an average of what is trained: every estimator keeps the average, whoever looks on."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

import gdfast
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor
from gdfast.sklearn._evaluation import averaging_state, evaluating

FREE = ["schedulefreesgd", "schedulefreeadamw"]
AVERAGES = [*FREE, ("sgd", {"ema_decay": 0.9}), ("schedulefreesgd", {"ema_decay": 0.9})]
X, NUMBERS = load_diabetes(return_X_y=True)
CLASSES = (NUMBERS > 140).astype(int)
KINDS = [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor]


def model(kind, optimizer, **options):
    more = {"hidden_layer_sizes": (6,)} if kind in (MLPClassifier, MLPRegressor) else {}
    usual = {"lr": 0.05, "max_iter": 6, "tol": None, "random_state": 0, "batch_size": 64}
    return kind(optimizer=optimizer, **{**usual, **more, **options})


def y_for(kind):
    return CLASSES if kind in (GDClassifier, MLPClassifier) else NUMBERS


def weights_of(fitted):
    parts = [*fitted.coefs_, *fitted.intercepts_] if hasattr(fitted, "coefs_") else [fitted.coef_, fitted.intercept_]
    return np.concatenate([np.ravel(part) for part in parts])


class Looking:
    """Keeps what every epoch's model is."""

    def __init__(self):
        self.seen, self.estimator = [], None

    def on_fit_begin(self, estimator):
        self.estimator = estimator

    def on_epoch_end(self, epoch, logs):
        self.seen.append(weights_of(self.estimator))


@pytest.mark.parametrize("optimizer", FREE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_keeps_the_average(kind, optimizer, monkeypatch):
    """What is put down is x; the training point y, where gradients are taken, is another."""
    kept = weights_of(model(kind, optimizer).fit(X, y_for(kind)))
    monkeypatch.setattr(
        f"gdfast.{'ScheduleFreeSGD' if optimizer == FREE[0] else 'ScheduleFreeAdamW'}.eval", lambda _: None
    )
    trained = weights_of(model(kind, optimizer).fit(X, y_for(kind)))
    assert np.abs(kept - trained).max() > 1e-3 * np.abs(trained).max()


def test_the_average_of_a_network_by_hand():
    """One row a batch, one linear unit: the network's weights are those of the rule, stepped here."""
    options = {"activation": "identity", "standardize": False, "shuffle": False, "alpha": 0.0}
    network = model(MLPRegressor, ("schedulefreesgd", {"momentum": 0.8}), **options, max_iter=1).fit(X, NUMBERS / 100)
    state = network.partial_fit(X, NUMBERS / 100)._trainer.optimizer
    y = [entry.param.array.copy() for entry in state._layout.entries]
    with evaluating(state):
        x = [entry.param.array.copy() for entry in state._layout.entries]
    for training, z, average in zip(y, averaging_state(state), x, strict=True):
        np.testing.assert_allclose(training, 0.2 * z + 0.8 * average, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(network.coefs_[0], x[0])


@pytest.mark.parametrize("optimizer", AVERAGES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_who_looks_on_changes_nothing(kind, optimizer):
    alone = weights_of(model(kind, optimizer).fit(X, y_for(kind)))
    looking = Looking()
    watched = weights_of(model(kind, optimizer, callbacks=looking).fit(X, y_for(kind)))
    np.testing.assert_array_equal(watched, alone)
    np.testing.assert_array_equal(looking.seen[-1], alone)


@pytest.mark.parametrize("optimizer", AVERAGES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_early_stopping_keeps_the_average_of_the_best_epoch(kind, optimizer):
    looking = Looking()
    stopped = model(kind, optimizer, lr=0.5, early_stopping=True, max_iter=12, callbacks=looking, n_iter_no_change=12)
    stopped.fit(X, y_for(kind))
    best = int(np.argmax(stopped.validation_scores_))
    assert best < 11
    np.testing.assert_array_equal(weights_of(stopped), looking.seen[best])


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_partial_fit_goes_on_where_the_training_was(kind):
    """Also after a pickle: calls one after the other are the epochs of one fit."""
    options = {"max_iter": 3, "shuffle": False, "alpha": 0.0, "standardize": False}
    whole = model(kind, "schedulefreeadamw", **options).fit(X, y_for(kind))
    parts = model(kind, "schedulefreeadamw", **options)
    given = {"classes": [0, 1]} if kind is MLPClassifier else {}
    for _ in range(3):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y_for(kind), **given)))
    np.testing.assert_array_equal(weights_of(parts), weights_of(whole))


def test_an_error_in_the_midst_of_an_evaluation_leaves_the_training_as_it_was():
    params = {"w": np.ones(4), "b": np.zeros(2)}
    opt = gdfast.ScheduleFreeSGD(params, lr=0.1)
    for _ in range(3):
        opt.step({"w": np.arange(4.0), "b": np.ones(2)})
    before = {name: param.copy() for name, param in params.items()}

    def fail():
        with evaluating(opt):
            assert (params["w"][1:] != before["w"][1:]).all()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    for name, param in params.items():
        np.testing.assert_array_equal(param, before[name])
    opt.step({"w": np.arange(4.0), "b": np.ones(2)})
