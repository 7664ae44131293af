"""scikit-learn's own networks on gdfast's steps: the same training, nothing allocated, and nothing left behind."""

import pickle
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network import _multilayer_perceptron as networks
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from gdfast.sklearn import use_gdfast
from gdfast.sklearn._use import GdfastAdam, GdfastSGD

OPTIONS = [
    {"solver": "adam"},
    {"solver": "adam", "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3, "learning_rate_init": 0.01},
    {"solver": "adam", "early_stopping": True},
    {"solver": "sgd"},
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
    {"solver": "sgd", "nesterovs_momentum": False},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "learning_rate_init": 0.1},
]


def data(dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 6)).astype(dtype)
    return X, rng.integers(3, size=90)


def fit(model, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args, **options)


def arrays(model):
    return [*model.coefs_, *model.intercepts_]


def same(one, other, rtol=1e-9):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_same_training(kind, options):
    X, y = data()
    options = {"hidden_layer_sizes": (7, 5), "batch_size": 20, "max_iter": 12, "random_state": 0, **options}
    theirs = fit(kind(**options), X, y)
    with use_gdfast():
        ours = fit(kind(**options), X, y)
    assert isinstance(ours._optimizer, GdfastAdam | GdfastSGD)
    same(theirs, ours)
    np.testing.assert_allclose(theirs.loss_curve_, ours.loss_curve_, rtol=1e-9)
    assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate, rel=1e-12)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_float32_with_float64_weights_of_rows(solver):
    X, y = data(np.float32)
    options = {"solver": solver, "max_iter": 5, "random_state": 0}
    theirs = fit(MLPClassifier(**options), X, y, sample_weight=np.linspace(0.5, 2.0, len(X)))
    with use_gdfast():
        ours = fit(MLPClassifier(**options), X, y, sample_weight=np.linspace(0.5, 2.0, len(X)))
    assert ours.coefs_[0].dtype == np.float32
    same(theirs, ours, rtol=1e-4)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_goes_on_outside_pickled_and_on_other_arrays(solver):
    X, y = data()

    def train(context):
        model = MLPClassifier((5,), solver=solver, random_state=0)
        with context:
            model.partial_fit(X, y, classes=[0, 1, 2])
        model.partial_fit(X, y)
        model = pickle.loads(pickle.dumps(model))
        model.partial_fit(X, y)
        model.coefs_ = [array.copy() for array in model.coefs_]
        return model.partial_fit(X, y)

    ours, theirs = train(use_gdfast()), train(warnings.catch_warnings())
    assert isinstance(ours._optimizer, GdfastAdam | GdfastSGD)
    assert not isinstance(theirs._optimizer, GdfastAdam | GdfastSGD)
    same(ours, theirs)


@pytest.mark.parametrize(("ours", "theirs"), [(GdfastSGD, SGDOptimizer), (GdfastAdam, AdamOptimizer)])
def test_a_step_allocates_nothing_of_the_weights_size(ours, theirs):
    size = 200_000
    params, grads = [np.ones(size)], [np.ones(size)]

    def peak(optimizer):
        optimizer.update_params(params, grads)
        tracemalloc.start()
        optimizer.update_params(params, grads)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(ours(params)) < 100_000
    assert peak(theirs(params)) > 8 * size


def originals():
    return networks.SGDOptimizer is SGDOptimizer and networks.AdamOptimizer is AdamOptimizer


def test_nested_and_after_an_error():
    assert originals()
    with use_gdfast():
        with pytest.raises(KeyError), use_gdfast():
            raise KeyError
        assert networks.AdamOptimizer is GdfastAdam
        assert networks.SGDOptimizer is GdfastSGD
    assert originals()


def test_threads_in_and_out_at_any_time():
    """Each finds gdfast within its block; when the last has left, scikit-learn is as it was."""
    wrong = []

    def work():
        for _ in range(200):
            with use_gdfast():
                if networks.AdamOptimizer is not GdfastAdam:
                    wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert originals()
