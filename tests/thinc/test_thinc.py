"""thinc's Adam on gdfast's step: thinc's own results, its averages, schedules and models."""

import importlib.metadata

import numpy as np
import pytest

thinc = pytest.importorskip("thinc", minversion="8.3", reason="needs thinc")

from thinc.api import Linear, Relu, Softmax, chain, registry  # noqa: E402
from thinc.optimizers import Adam as TheirAdam  # noqa: E402
from thinc.schedules import warmup_linear  # noqa: E402

from gdfast.thinc import Adam  # noqa: E402

KEY = (1, "W")


def made(seed=0, shape=(30, 7)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        dict,
        lambda: {"L2": 0.01, "grad_clip": 0.0},
        lambda: {"L2": 0.01, "L2_is_weight_decay": False},
        lambda: {"grad_clip": 0.1, "use_averages": False},
        lambda: {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
        lambda: {"learn_rate": warmup_linear(0.01, 5, 100)},
        lambda: {"grad_clip": [2.0, 1.0, 0.5, 0.25], "eps": [1e-3, 1e-8]},
    ],
)
def test_the_results_of_thinc(options):
    ours, theirs = (make(**{"learn_rate": 0.01, **options()}) for make in (Adam, TheirAdam))
    weights, expected, start = made(), made(), made()
    for step in range(50):
        gradient = made(step + 1)
        for optimizer, array, lr_scale in ((ours, weights, 0.5), (theirs, expected, 0.5)):
            given = gradient.copy()
            stepped, left = optimizer(KEY, array, given, lr_scale=lr_scale)
            assert np.shares_memory(stepped, array)
            assert not left.any()
            optimizer.step_schedules()
    assert np.abs(weights - start).max() > 0.05
    decayed = 2e-5 if ours.L2 else 3e-6  # thinc shrinks the weights after the step
    np.testing.assert_allclose(weights, expected, rtol=0, atol=decayed)
    np.testing.assert_allclose(ours.mom1[KEY], theirs.mom1[KEY].reshape(30, 7), rtol=1e-4, atol=1e-7)
    assert ours.nr_update[KEY] == theirs.nr_update[KEY] == 50
    assert (ours.averages is None) == (theirs.averages is None)
    if ours.averages is not None:
        np.testing.assert_allclose(ours.averages[KEY], theirs.averages[KEY], rtol=0, atol=decayed)


def test_other_memory_for_the_same_weights_keeps_the_state():
    moved, still = (Adam(0.01) for _ in range(2))
    weights, others = made(), made()
    for step in range(6):
        if step % 2:
            weights = weights.copy()
        moved(KEY, weights, made(step))
        still(KEY, others, made(step))
    assert weights.tobytes() == others.tobytes()
    assert moved.averages[KEY].tobytes() == still.averages[KEY].tobytes()


def test_a_view_of_the_same_memory_is_the_same_array():
    optimizer, weights = Adam(0.01), made()
    optimizer(KEY, weights, made(1))
    before = optimizer.mom1[KEY]
    optimizer(KEY, weights[:], made(2))
    assert np.shares_memory(optimizer.mom1[KEY], before)


def test_a_model_learns_and_is_evaluated_with_the_averages():
    X, labels = made(0, (200, 6)), np.arange(200) % 2
    X[:, 0] += 3 * labels
    Y = np.eye(2, dtype=np.float32)[labels]
    model = chain(Relu(16), Softmax(2))
    model.initialize(X=X, Y=Y)
    optimizer = Adam(0.01)
    for _ in range(100):
        guess, backprop = model.begin_update(X)
        backprop((guess - Y) / len(X))
        model.finish_update(optimizer)
    with model.use_params(optimizer.averages):
        assert (model.predict(X).argmax(1) == labels).mean() > 0.9
    assert len(optimizer.averages) == 4


@pytest.mark.parametrize(
    ("weights", "gradient", "error", "said"),
    [
        (made().tolist(), made(), TypeError, r"the weights \(1, 'W'\) must be a NumPy array, on a CPU; got list"),
        (made().astype(np.float16), made(), TypeError, r"the weights \(1, 'W'\) must be float32; got float16"),
        (made(), made().astype(np.float64), TypeError, "float64"),
        (made(), made(0, (7, 30)), ValueError, "shape"),
    ],
)
def test_what_is_refused(weights, gradient, error, said):
    with pytest.raises(error, match=said):
        Adam(0.01, use_averages=False)(KEY, weights, gradient)


def test_an_empty_gradient_is_left_alone():
    weights = np.zeros((0, 3), np.float32)
    assert Adam(0.01)(KEY, weights, weights)[0] is weights


def test_a_bad_hyperparameter_is_named():
    with pytest.raises(ValueError, match=r"lr must be in \[0, inf\); got -1"):
        Adam(-1.0)(KEY, made(), made())


def test_a_configuration_finds_it_by_name():
    try:
        found = importlib.metadata.distribution("gdfast").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gdfast is not installed")
    assert [point.name for point in found.select(group="thinc_optimizers")] == ["gdfast.Adam.v1"]
    optimizer = registry.resolve({"optimizer": {"@optimizers": "gdfast.Adam.v1", "learn_rate": 0.5}})["optimizer"]
    assert isinstance(optimizer, Adam)
    model = Linear(2, 3)
    model.initialize()
    model.set_grad("b", np.ones(2, np.float32))
    model.finish_update(optimizer)
    np.testing.assert_allclose(model.get_param("b"), -0.5, rtol=1e-5)
