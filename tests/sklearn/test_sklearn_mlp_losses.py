"""Networks learn by every loss of the linear regressor, with its parameters in the targets' units."""

import pickle

import numpy as np
import pytest
from loss_cases import LOSS_CASES
from sklearn.base import clone
from sklearn.datasets import load_diabetes

from gdfast.sklearn import LOSSES, GDRegressor, MLPRegressor
from gdfast.sklearn._network import Network, bind_inputs

try:
    import torch
    from torch.nn import functional
except ImportError:  # for one test only
    torch = None

X, Y = load_diabetes(return_X_y=True)
NAMES = list(LOSSES["MLPRegressor"])
WITH_EPSILON = [name for name in NAMES if "epsilon" in getattr(LOSSES["MLPRegressor"][name].parameter, "name", "")]
QUICK = {"hidden_layer_sizes": (8,), "lr": 1e-2, "max_iter": 40, "tol": None, "random_state": 0}
NUMBER = 0.4
# PyTorch's own losses, or its formulas where it has none.
TORCH = {
    "huber": lambda s, y: functional.huber_loss(s, y, reduction="sum", delta=NUMBER),
    "log_cosh": lambda s, y: NUMBER**2 * torch.log(torch.cosh((s - y) / NUMBER)).sum(),
    "epsilon_insensitive": lambda s, y: functional.relu((s - y).abs() - NUMBER).sum(),
    "squared_epsilon_insensitive": lambda s, y: functional.relu((s - y).abs() - NUMBER).square().sum(),
    "quantile": lambda s, y: torch.maximum(NUMBER * (y - s), (NUMBER - 1) * (y - s)).sum(),
    "gamma": lambda s, y: (s + y * torch.exp(-s)).sum(),
    "tweedie": lambda s, y: (torch.exp((2 - NUMBER) * s) / (2 - NUMBER) - y * torch.exp((1 - NUMBER) * s) / 0.6).sum(),
}


@pytest.mark.skipif(torch is None, reason="needs torch")
@pytest.mark.parametrize("outputs", [1, 64, 150])
@pytest.mark.parametrize("name", TORCH)
def test_same_gradient_as_pytorch(name, outputs):
    """Of any number of outputs: a loop gets 64 of them at a time."""
    rng, n = np.random.default_rng(1), 30
    network = Network((4, 6, outputs), n, np.float64)
    network.draw(rng, "tanh")
    data, targets = rng.standard_normal((n, 4)), rng.uniform(0.1, 2, (n, outputs))
    kernel = network.make_kernel("tanh", (name, NUMBER), n)
    bind_inputs(kernel, data)
    kernel.bind_targets(targets, None)
    loss = kernel.gradient(np.arange(n), 0, n, 0.0, 0.0, 0, 1)
    coefs, intercepts = ([torch.tensor(a, requires_grad=True) for a in b] for b in (network.coefs, network.intercepts))
    values = torch.tanh(torch.tensor(data) @ coefs[0] + intercepts[0])
    expected = TORCH[name](values @ coefs[1] + intercepts[1], torch.tensor(targets)) / n
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    found = np.concatenate([parameter.grad.numpy().ravel() for parameter in coefs + intercepts])
    np.testing.assert_allclose(network.grads, found, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_learned(name, dtype):
    model = MLPRegressor(name, **QUICK, epsilon=20.0).fit(X.astype(dtype), Y)
    assert model.loss_ < model.loss_curve_[0]
    assert model.score(X, Y) > 0.3
    assert model.predict(X).dtype == dtype
    assert model.out_activation_ == ("exp" if name in ("poisson", "gamma", "tweedie") else "identity")
    several = MLPRegressor(name, **QUICK, epsilon=20.0).fit(X, np.c_[Y, Y / 2])
    assert several.score(X, np.c_[Y, Y / 2]) > 0.3
    goes_on = pickle.loads(pickle.dumps(clone(model).partial_fit(X, Y))).partial_fit(X, Y)
    assert np.isfinite(goes_on.predict(X)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_reported_loss_is_the_formula(name):
    model = MLPRegressor(name, **{**QUICK, "max_iter": 1, "lr": 1e-12, "alpha": 0.0}, epsilon=0.4, quantile=0.3)
    targets = Y / 100
    model.set_params(standardize=False).fit(X, targets)
    predicted = model.predict(X)
    scores = np.log(predicted) if model.out_activation_ == "exp" else predicted
    expected = LOSS_CASES[name].formula(scores, targets, LOSS_CASES[name].parameter).mean()
    if name == "poisson":
        expected += (targets * np.log(targets) - targets).mean()
    assert model.loss_ == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_units_of_the_targets_do_not_matter(name):
    some, others = (MLPRegressor(name, **QUICK, epsilon=20.0 * unit).fit(X, Y * unit).predict(X) for unit in (1, 1024))
    np.testing.assert_allclose(some * 1024, others, rtol=1e-5)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantiles_cover(quantile):
    """Noise that grows with a feature: the share of new targets below, in each half of it."""
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (6000, 2))
    y = np.sin(3 * data[:, 0]) + (1.5 + data[:, 1]) * rng.standard_normal(6000)
    options = {"hidden_layer_sizes": (20,), "max_iter": 60, "lr": 5e-3, "tol": None, "random_state": 0}
    model = MLPRegressor("quantile", quantile=quantile, **options).fit(data[:3000], y[:3000])
    new, below = data[3000:], y[3000:] < model.predict(data[3000:])
    for half in (new[:, 1] < 0, new[:, 1] >= 0):
        assert below[half].mean() == pytest.approx(quantile, abs=0.04)


@pytest.mark.parametrize("name", ["huber", "log_cosh", "epsilon_insensitive"])
def test_outliers_are_borne(name):
    y = Y.copy()
    y[::20] += 1e4
    fitted = {loss: MLPRegressor(loss, **QUICK, epsilon=20.0).fit(X, y).predict(X) for loss in (name, "squared_error")}
    errors = {loss: np.median(np.abs(found - Y)) for loss, found in fitted.items()}
    assert errors[name] < 60 < errors["squared_error"]


@pytest.mark.parametrize("name", ["huber", "log_cosh"])
def test_the_automatic_penalty_leaves_a_small_epsilon_something_to_learn(name):
    model = MLPRegressor(name, max_iter=60, tol=None, random_state=0).fit(X[::2], Y[::2])
    assert model.score(X[1::2], Y[1::2]) > 0.35
    assert model.set_params(epsilon=1e9)._penalty(1.0, 400) == 4.0


def test_powers():
    options = {**QUICK, "max_iter": 3}
    for power, name in ((1.0, "poisson"), (2.0, "gamma")):
        same = MLPRegressor("tweedie", power=power, **options).fit(X, Y), MLPRegressor(name, **options).fit(X, Y)
        np.testing.assert_array_equal(same[0].predict(X), same[1].predict(X))


@pytest.mark.parametrize("name", WITH_EPSILON)
def test_targets_of_one_epsilon_have_one_scale(name):
    y = np.c_[Y, 1000 * Y]
    model = MLPRegressor(name, **QUICK).fit(X, y)
    assert model._standardizer.target_scale[0] == pytest.approx(y.std(axis=0)[0] * 1000**0.5)
    assert np.ptp(model._standardizer.target_scale) == 0
    # a training that began with a scale for each cannot go on with one epsilon, and is left as it was
    other = MLPRegressor(**QUICK).partial_fit(X, y)
    before, trainer = other.predict(X), other._trainer
    with pytest.raises(ValueError, match=f"loss='{name}' cannot go on"):
        other.set_params(loss=name).partial_fit(X, y)
    assert other._trainer is trainer
    np.testing.assert_array_equal(other.predict(X), before)
    one = MLPRegressor(**QUICK).partial_fit(X, Y).set_params(loss=name).partial_fit(X, Y)
    assert np.isfinite(one.predict(X)).all()


REFUSED = {
    "zeros": ({"loss": "gamma"}, Y * (Y > 100), "y must be positive for loss='gamma'; got a minimum of 0"),
    "zeros and a power": ({"loss": "tweedie", "power": 3.0}, Y * (Y > 100), "y must be positive for loss='tweedie'"),
    "negative": ({"loss": "tweedie"}, -Y, "y must be non-negative for loss='tweedie'"),
    "epsilon": ({"loss": "huber", "epsilon": -1.0}, Y, "epsilon must be"),
    "no epsilon": ({"loss": "huber", "epsilon": np.nan}, Y, "epsilon must be"),
    "zero epsilon": ({"loss": "huber", "epsilon": 0}, Y, "epsilon must be"),
    "zero range": ({"loss": "log_cosh", "epsilon": 0.0}, Y, "epsilon must be"),
    "quantile": ({"loss": "quantile", "quantile": 1.0}, Y, "quantile must be"),
    "power": ({"loss": "tweedie", "power": 0.5}, Y, "power must not be between 0 and 1"),
    "loss": ({"loss": "absolute_error"}, Y, "loss"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    parameters, y, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        MLPRegressor(**QUICK, **parameters).fit(X, y)
    begun = MLPRegressor("gamma", **QUICK).partial_fit(X, Y)
    with pytest.raises(ValueError, match=message):
        begun.set_params(**parameters).partial_fit(X, y)
    assert np.isfinite(begun.predict(X)).all()


def test_a_parameter_that_is_no_number():
    with pytest.raises(TypeError, match="quantile must be"):
        MLPRegressor("quantile", quantile="half").resolved_schedule(100)


def test_a_pickle_of_before_there_were_parameters():
    model = MLPRegressor(**QUICK).partial_fit(X, Y)
    state = pickle.loads(pickle.dumps(model)).__getstate__()
    old = MLPRegressor.__new__(MLPRegressor)
    old.__setstate__({name: value for name, value in state.items() if name not in ("epsilon", "quantile", "power")})
    assert old.get_params() == model.get_params()
    np.testing.assert_array_equal(old.predict(X), model.predict(X))
    np.testing.assert_array_equal(old.partial_fit(X, Y).predict(X), model.partial_fit(X, Y).predict(X))


def test_parameters_are_those_of_the_linear_models():
    ours, linear = MLPRegressor().get_params(), GDRegressor().get_params()
    assert {name: ours[name] for name in ("epsilon", "quantile", "power")} == {
        name: linear[name] for name in ("epsilon", "quantile", "power")
    }


@pytest.mark.parametrize("name", NAMES)
def test_which_targets_the_tags_say(name):
    tags = MLPRegressor(name).__sklearn_tags__()
    assert tags.target_tags.positive_only == (LOSSES["MLPRegressor"][name].targets != "real")
