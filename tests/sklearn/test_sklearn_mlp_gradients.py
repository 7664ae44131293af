"""The gradient of a network is that of its loss, and its bits depend on nothing but the data."""

import numpy as np
import pytest
from loss_cases import LOSS_CASES
from scipy import sparse
from scipy.special import erf, expit, log_softmax, logsumexp

from gdfast.sklearn import LOSSES as DECLARED
from gdfast.sklearn._native_loops import limited_blas
from gdfast.sklearn._network import ACTIVATIONS, Network, bind_inputs, scores_of

FORMULAS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "logistic": expit,
    "tanh": np.tanh,
    "gelu": lambda z: z * 0.5 * (1 + erf(z / np.sqrt(2))),
}
OWN = {
    "multinomial": lambda s, y: logsumexp(s, axis=1) - s[np.arange(len(s)), y[:, 0].astype(int)],
    "log_loss": lambda s, y: (np.logaddexp(0, s) - s * y).sum(axis=1),
    "squared_error": lambda s, y: 0.5 * ((s - y) ** 2).sum(axis=1),
    "poisson": lambda s, y: (y * (np.log(np.maximum(y, 1e-300)) - s) * (y > 0) - y + np.exp(s)).sum(axis=1),
}
LOSSES = dict.fromkeys([*OWN, *DECLARED["MLPRegressor"]])


def loss_by_formula(name, s, y):
    if name in OWN:
        return OWN[name](s, y)
    return LOSS_CASES[name].formula(s, y, LOSS_CASES[name].parameter).sum(axis=1)


def with_parameter(name):
    return name, 0.0 if name in OWN else LOSS_CASES[name].parameter


UNITS = (5, 7, 6, 3)
ROWS, ALPHA = 40, 0.3


def targets_of(rng, loss, n, width):
    if loss == "multinomial":
        return rng.integers(width, size=(n, 1)).astype(float)
    if loss == "log_loss":
        return rng.integers(2, size=(n, width)).astype(float)
    if loss == "poisson":
        return rng.poisson(1.0, (n, width)).astype(float)
    return rng.uniform(0.1, 3, (n, width)) if loss in ("gamma", "tweedie") else rng.standard_normal((n, width))


def plain_loss(network, activation, loss, X, y, weights):
    """The loss by its formula, in NumPy."""
    values = X
    for coef, intercept in zip(network.coefs[:-1], network.intercepts[:-1], strict=True):
        values = FORMULAS[activation](values @ coef + intercept)
    scores = values @ network.coefs[-1] + network.intercepts[-1]
    squares = sum((coef**2).sum() for coef in network.coefs)
    return (weights @ loss_by_formula(loss, scores, y) + 0.5 * ALPHA * squares) / weights.sum()


def bound(loss="multinomial", activation="relu", units=UNITS, n=ROWS, dtype=np.float64, make=np.asarray, weighted=True):
    """A drawn network, a pass bound to data, and the data."""
    rng = np.random.default_rng(0)
    network = Network(units, n, dtype)
    network.draw(rng, activation)
    X = rng.standard_normal((n, units[0])).astype(dtype)
    X[rng.random(X.shape) < 0.3] = 0
    y = targets_of(rng, loss, n, units[-1])
    weights = rng.uniform(0, 2, n) if weighted else np.ones(n)
    kernel = network.make_kernel(activation, with_parameter(loss), n)
    bind_inputs(kernel, make(X))
    kernel.bind_targets(y.astype(dtype), weights.astype(dtype) if weighted else None)
    return network, kernel, (X, y, weights)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_is_that_of_the_formula(activation, name, weighted):
    network, kernel, data = bound(name, activation, weighted=weighted)
    loss = kernel.gradient(np.arange(ROWS), 0, ROWS, ALPHA, 0.0, 0, 1)
    assert loss == pytest.approx(plain_loss(network, activation, name, *data), rel=1e-13)
    step = 1e-6
    for i in range(network.params.size):
        kept = network.params[i]
        network.params[i] = kept + step
        above = plain_loss(network, activation, name, *data)
        network.params[i] = kept - step
        below = plain_loss(network, activation, name, *data)
        network.params[i] = kept
        assert network.grads[i] == pytest.approx((above - below) / (2 * step), abs=3e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_accurate(activation, dtype):
    network = Network((1, 1, 1), 5001, dtype)
    network.params[...] = [1, 1, 0, 0]  # both weights, both biases
    kernel = network.make_kernel(activation, ("squared_error", 0.0), 5001)
    z = np.linspace(-120, 120, 5001, dtype=dtype)[:, None]
    bind_inputs(kernel, z)
    expected = FORMULAS[activation](z.astype(np.float64))
    error = np.abs(scores_of(kernel, None, 5001, 1, dtype, 5001, 1) - expected)
    assert np.all(error <= 4 * np.finfo(dtype).eps * np.maximum(np.abs(expected), 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_csr_rows_are_the_dense_ones(index_type, dtype):
    def csr(X):
        X = sparse.csr_matrix(X)
        X.indices, X.indptr = X.indices.astype(index_type), X.indptr.astype(index_type)
        return X

    dense, dense_pass, _ = bound(dtype=dtype)
    other, sparse_pass, _ = bound(dtype=dtype, make=csr)
    order = np.random.default_rng(1).permutation(ROWS)
    losses = [p.gradient(order, 3, 33, ALPHA, 0.0, 0, 1) for p in (dense_pass, sparse_pass)]
    tolerance = 30 * float(np.finfo(dtype).eps)
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)
    np.testing.assert_allclose(other.grads, dense.grads, atol=tolerance)
    scores = [scores_of(p, order, ROWS, UNITS[-1], dtype, 16, 1) for p in (dense_pass, sparse_pass)]
    np.testing.assert_allclose(*scores, atol=tolerance)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_standardised_inputs(make):
    rng = np.random.default_rng(2)
    network, kernel, (X, _, _) = bound(make=make)
    scale, offset = rng.uniform(0.5, 2, UNITS[0]), rng.standard_normal(UNITS[0])
    bind_inputs(kernel, make(X), offset, scale)
    shown = X * scale if make is sparse.csr_matrix else (X - offset) * scale
    values = shown
    for coef, intercept in zip(network.coefs[:-1], network.intercepts[:-1], strict=True):
        values = np.maximum(values @ coef + intercept, 0)
    expected = values @ network.coefs[-1] + network.intercepts[-1]
    np.testing.assert_allclose(scores_of(kernel, None, ROWS, UNITS[-1], np.float64, ROWS, 1), expected, atol=1e-14)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype, make, dropout):
    n, units = 700, (40, 50, 60, 4)
    found = []
    with limited_blas(True):
        for n_threads in (1, 2, 3, 8):
            network, kernel, _ = bound("multinomial", "tanh", units, n, dtype, make)
            order = np.random.default_rng(3).permutation(n)
            loss = kernel.gradient(order, 0, n, ALPHA, dropout, 99, n_threads)
            scores = scores_of(kernel, order, n, 4, dtype, n, n_threads)
            found.append((loss, network.grads.tobytes(), scores.tobytes()))
    assert all(other == found[0] for other in found)


def test_dropout_leaves_units_out_and_keeps_the_mean():
    n, units = 512, (3, 400, 1)
    network, kernel, _ = bound("squared_error", "identity", units, n)
    network.params[...] = 0
    network.intercepts[0][...] = 1  # every hidden value is 1, and 1/(1 - dropout) or 0 after the dropout
    kernel.bind_targets(np.zeros((n, 1)), None)

    def kept(seed):
        """How often each hidden unit is kept: the output's weights have the sum of the hidden values as gradient."""
        network.intercepts[1][...] = 1  # so that every row has gradient 1
        kernel.gradient(np.arange(n), 0, n, 0.0, 0.25, seed, 1)
        return network.grads[units[0] * units[1] : units[0] * units[1] + units[1]].copy()

    shares = kept(1)
    assert np.array_equal(shares, kept(1))
    assert not np.array_equal(shares, kept(2))
    assert shares.mean() == pytest.approx(1, abs=0.01)
    assert 0.01 < shares.std() < 0.05  # binomial: sqrt(0.25/0.75/512) = 0.0255


def test_gradient_with_dropout_is_that_of_the_units_left():
    """In a finite difference with one seed the same units are left out."""
    network, kernel, _ = bound("log_loss", "gelu")

    def loss():
        return kernel.gradient(np.arange(ROWS), 0, ROWS, ALPHA, 0.5, 7, 1)

    loss()
    gradient, step = network.grads.copy(), 1e-6
    for i in range(0, network.params.size, 5):
        kept = network.params[i]
        network.params[i] = kept + step
        above = loss()
        network.params[i] = kept - step
        below = loss()
        network.params[i] = kept
        assert gradient[i] == pytest.approx((above - below) / (2 * step), abs=3e-8)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_is_never_hidden(activation, name):
    network, kernel, _ = bound(name, activation)
    network.coefs[0][0, 0] = np.nan
    assert np.isnan(kernel.gradient(np.arange(ROWS), 0, ROWS, 0.0, 0.0, 0, 1))
    assert np.isnan(scores_of(kernel, None, ROWS, UNITS[-1], np.float64, ROWS, 1)).any()


def test_rows_of_no_weight_leave_no_gradient():
    network, kernel, (_, y, _) = bound()
    kernel.bind_targets(y, np.zeros(ROWS))
    assert kernel.gradient(np.arange(ROWS), 0, ROWS, ALPHA, 0.0, 0, 1) == 0
    assert not network.grads.any()


def test_large_scores():
    network, kernel, (_, y, _) = bound("multinomial")
    network.intercepts[-1][...] = [0, 5000, -5000]
    scores = scores_of(kernel, None, ROWS, 3, np.float64, ROWS, 1)
    expected = -log_softmax(scores, axis=1)[np.arange(ROWS), y[:, 0].astype(int)]
    kernel.bind_targets(y, None)
    loss = kernel.gradient(np.arange(ROWS), 0, ROWS, 0.0, 0.0, 0, 1)
    assert loss == pytest.approx(expected.mean(), rel=1e-13)
    assert np.isfinite(network.grads).all()
