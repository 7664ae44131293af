"""What an estimator says of its schedule is what its fit does."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_diabetes, load_iris

import gdfast
from gdfast.sklearn import LOSSES, GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

IRIS, DIABETES = load_iris(return_X_y=True), load_diabetes(return_X_y=True)
LARGE = np.tile(DIABETES[0], (3, 1)), np.tile(DIABETES[1], 3)


class Slow(gdfast.SGD):
    """Declares no rate of its own."""

    def __init__(self, params, **options):
        super().__init__(params, **options)


def counted(optimizer=gdfast.Adam):
    """An optimizer class that counts its steps and keeps its first rate."""

    class Counted(optimizer):
        steps, rates = 0, ()

        def step(self, *args, **options):
            Counted.steps += 1
            Counted.rates = (*Counted.rates, self.lr)
            super().step(*args, **options)

    return Counted


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 10, "max_iter": 3}, {"lr": 0.02}, {"lr": gdfast.schedules.Cosine(0.1, total_steps=9)}],
    ids=str,
)
@pytest.mark.parametrize(("kind", "data"), [(GDClassifier, IRIS), (GDRegressor, DIABETES), (GDRegressor, LARGE)])
def test_linear_models(kind, data, options, early_stopping, make):
    X, y = data
    optimizer = counted()
    model = kind(optimizer=optimizer, early_stopping=early_stopping, n_iter_no_change=10_000, random_state=0, **options)
    outputs = 3 if kind is GDClassifier else 1
    resolved = model.resolved_schedule(len(X), X.shape[1] * outputs, sparse=make is sparse.csr_matrix)
    model.fit(make(X), y)
    assert (model.n_iter_, optimizer.steps) == (resolved.max_iter, resolved.n_steps)
    assert optimizer.rates[0] == resolved.initial_lr


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 64},
        {"lr": 0.02},
        {"optimizer": gdfast.SGD},
        {"optimizer": Slow},
        {"optimizer": (gdfast.SGD, {"lr": 0.03, "momentum": 0.9})},
        {"lr": gdfast.schedules.Cosine(0.1, total_steps=9)},
    ],
    ids=str,
)
@pytest.mark.parametrize(("kind", "data"), [(MLPClassifier, IRIS), (MLPRegressor, DIABETES)])
def test_networks(kind, data, options, early_stopping):
    choice, more = options.get("optimizer", gdfast.Adam), {}
    if isinstance(choice, tuple):
        choice, more = choice
    optimizer = counted(choice)
    options = {**options, "optimizer": (optimizer, more), "early_stopping": early_stopping, "max_iter": 4, "tol": None}
    model = kind(hidden_layer_sizes=(5,), alpha=1e-4, random_state=0, **options)  # "auto" may make more fits
    resolved = model.resolved_schedule(len(data[0]))
    model.fit(*data)
    assert (model.n_iter_, optimizer.steps) == (resolved.max_iter, resolved.n_steps)
    assert optimizer.rates[0] == resolved.initial_lr


@pytest.mark.parametrize(
    ("model", "size", "error", "message"),
    [
        (GDClassifier(max_iter=0), (100, 3), ValueError, "max_iter must be at least 1"),
        (MLPClassifier(max_iter=0), (100,), ValueError, "max_iter"),
        (GDClassifier(), (0, 3), ValueError, "n_rows must be at least 1"),
        (GDClassifier(), (100, 0), ValueError, "n_coefficients must be at least 1"),
        (GDClassifier(), ("all", 3), TypeError, "n_rows must be an int"),
        (MLPRegressor(), (2.5,), TypeError, "n_rows must be an int"),
        (
            MLPRegressor(early_stopping=True),
            (1,),
            ValueError,
            "n_rows must be more than early_stopping holds out; got 1",
        ),
    ],
)
def test_wrong_sizes_and_parameters(model, size, error, message):
    with pytest.raises(error, match=message):
        model.resolved_schedule(*size)


@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor, MLPRegressor])
def test_every_loss_is_described(kind):
    for name in LOSSES[kind.__name__]:
        assert f'- "{name}": ' in kind.__doc__
