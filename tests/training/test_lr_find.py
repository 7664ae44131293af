"""The learning-rate finder: what it sees, what it suggests, and that it leaves nothing behind."""

import math
import random

import numpy as np
import pytest
from cases import CASES

import gdfast
from gdfast.training.lr_finder import LRFindResult, Sweep


def bowl(w):
    """A loss of which the gradients are as large as the parameters."""
    return float(sum((a.astype(float) ** 2).sum() for a in w)), [2 * a for a in w]


def everything(opt, arrays):
    """All that could have changed, as bytes and values."""
    states = [array.tobytes() for arrays in opt.state.values() for array in arrays.values()]
    groups = [dict(group.values_now) for group in opt.param_groups]
    described = {key: value for key, value in opt.state_dict().items() if key not in ("state", "sums")}
    return [array.tobytes() for array in arrays], states, groups, described, opt.last_norm, opt.lr


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everything_is_restored(case):
    rng = np.random.default_rng(0)
    w = [rng.standard_normal(70).astype(np.float32), rng.standard_normal((3, 5)).astype(np.float32)]
    options = {"ema_decay": 0.9, "clip_norm": 5.0}
    opt, twin_w = case.make(w, **options), [a.copy() for a in w]
    twin = case.make(twin_w, **options)
    for o, arrays in ((opt, w), (twin, twin_w)):
        o.step(bowl(arrays)[1])
    before = everything(opt, w)
    found = gdfast.lr_find(opt, lambda: bowl(w), n_steps=20)
    assert len(found.lrs) > 1
    assert everything(opt, w) == before
    for o, arrays in ((opt, w), (twin, twin_w)):
        o.step(bowl(arrays)[1])
    assert everything(opt, w) == everything(twin, twin_w)


def test_schedules_bound_gradients_and_counts_are_restored():
    w, g = np.ones(3), np.full(3, 7.0)
    plateau = gdfast.schedules.ReduceOnPlateau(0.5)
    opt = gdfast.SGD([{"params": w, "momentum": lambda step: 0.9 - 0.001 * step}], grads=[g], lr=plateau)

    def closure():
        g[...] = 2 * w
        return w @ w  # the loss alone

    found = gdfast.lr_find(opt, closure)
    assert found.diverged
    assert opt.param_groups[0]["lr"] is plateau
    assert opt.lr == 0.5
    assert (w == 1).all()
    assert (g == 7).all()
    assert opt.step_count == 0


def test_copies_are_restored():
    w, half = np.ones(3, np.float32), np.zeros(3, np.float16)
    opt = gdfast.SGD(w, copies=half)
    opt.step(np.ones(3, np.float32))
    before = half.copy()
    gdfast.lr_find(opt, lambda: (float(w @ w), 2 * w))
    assert half.tobytes() == before.tobytes()


def test_everything_is_restored_after_an_error():
    w = np.ones(3)
    opt, calls = gdfast.Adam(w), []

    def closure():
        calls.append(opt.lr)
        if len(calls) == 5:
            opt.accumulate(w.copy())
            raise KeyboardInterrupt
        return w @ w, 2 * w

    before = everything(opt, [w])
    with pytest.raises(KeyboardInterrupt):
        gdfast.lr_find(opt, closure)
    assert len(set(calls)) == 5
    assert everything(opt, [w]) == before
    assert opt.accumulation.count == 0


def test_random_states_are_restored():
    generator, older = np.random.default_rng(1), np.random.RandomState(2)
    w = np.ones(3)
    drawn = []

    def draw():
        return generator.random(), older.rand(), np.random.rand(), random.random()

    def closure():
        drawn.append(draw())
        return w @ w, 2 * w

    np.random.seed(3)
    random.seed(3)
    gdfast.lr_find(gdfast.SGD(w), closure, rng=(generator, older))
    assert draw() == drawn[0]
    with pytest.raises(TypeError, match="rng must be NumPy Generators or RandomStates; got int"):
        gdfast.lr_find(gdfast.SGD(w), closure, rng=[3])
    state = generator.bit_generator.state
    gdfast.lr_find(gdfast.SGD(w), closure, rng=generator)
    assert generator.bit_generator.state == state


def test_the_sweep_is_exponential_and_sees_the_loss_before_each_step():
    w = np.array([3.0])
    seen = []

    def closure():
        seen.append(w @ w)
        return w @ w, 2 * w

    found = gdfast.lr_find(gdfast.SGD(w), closure, lr_min=1e-3, lr_max=0.4, n_steps=8, smoothing=0.0)
    np.testing.assert_allclose(found.lrs, np.geomspace(1e-3, 0.4, 8))
    np.testing.assert_array_equal(found.losses, seen)
    np.testing.assert_array_equal(found.smoothed, seen)
    factors = np.cumprod((1 - 2 * found.lrs) ** 2)
    np.testing.assert_allclose(found.losses[1:], 9 * factors[:-1])
    assert not found.diverged


def run(losses, **options):
    """Sweep over given losses."""
    opt, it = gdfast.SGD(np.zeros(1)), iter(losses)
    return gdfast.lr_find(opt, lambda: (next(it), np.zeros(1)), n_steps=len(losses), **options)


def test_smoothing_divides_out_the_bias():
    found = run([4.0, 2.0, 1.0], smoothing=0.5)
    np.testing.assert_allclose(found.smoothed, [4.0, (2.0 + 1.0) / 0.75 * (2 / 3), (0.5 + 0.5 + 0.5) / 0.875])
    np.testing.assert_allclose(run([5.0] * 20).smoothed, 5.0)


@pytest.mark.parametrize(
    ("losses", "steps"),
    [
        ([2.0, 1.0, 4.1, 0.0], 3),
        ([2.0, 1.0, 3.9, 0.5], None),
        ([2.0, math.nan, 1.0], 2),
        ([2.0, math.inf, 1.0], 2),
        ([-1.0, -2.0, 3.9, -3.0], None),
        ([-1.0, -2.0, 4.1, -3.0], 3),
    ],
)
def test_divergence_ends_the_sweep(losses, steps):
    found = run(losses, smoothing=0.0)
    assert found.diverged == (steps is not None)
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) == (steps or len(losses))


def test_gradients_that_are_not_finite_are_a_divergence():
    w = np.ones(2)
    opt = gdfast.SGD(w, nonfinite="raise")
    found = gdfast.lr_find(opt, lambda: (1.0, np.full(2, np.nan if opt.step_count == 3 else 1.0)))
    assert found.diverged
    assert len(found.lrs) == 4
    assert math.isnan(found.losses[-1])


def test_suggestions():
    lrs = np.geomspace(1e-4, 1e4, 9)
    smoothed = np.array([10.0, 10.5, 10.0, 9.5, 6.0, 5.0, 4.5, 8.0, np.nan])
    found = LRFindResult(lrs, smoothed, smoothed, True)
    assert found.suggestions == {
        "valley": pytest.approx(lrs[1 + 2 * 5 // 3]),  # it falls from 10.5 to 4.5
        "steepest": pytest.approx(lrs[4]),  # 4.5 in 2 decades
        "minimum": pytest.approx(lrs[6] / 10),
    }
    assert found.lr == found.suggestions["valley"]
    assert repr(found) == "LRFindResult(9 steps, valley=1.00e+00, steepest=1.00e+00, minimum=1.00e+01, diverged)"


@pytest.mark.parametrize("losses", [[1.0, 1.0, 1.0], [1.0, 2.0, 3.0], [1.0, math.nan, 0.0]])
def test_no_suggestion_where_the_loss_does_not_fall(losses):
    found = run(losses)
    assert found.suggestions == {}
    assert "no suggestion" in repr(found)
    with pytest.raises(ValueError, match="made the loss fall"):
        found.lr  # noqa: B018


@pytest.mark.parametrize("optimizer", [gdfast.SGD, gdfast.Adam, gdfast.RMSprop])
def test_the_suggestion_trains(optimizer):
    """With the rate it suggests, a least-squares problem gets to a hundredth of its loss in 300 steps."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = X @ rng.standard_normal(5)
    w = np.zeros(5)

    def closure():
        rows = rng.integers(200, size=32)
        error = X[rows] @ w - y[rows]
        return error @ error / 32, X[rows].T @ error * (2 / 32)

    found = gdfast.lr_find(optimizer(w), closure, rng=rng)
    opt = optimizer(w, lr=found.lr)
    first = closure()[0]
    for _ in range(300):
        opt.step(closure()[1])
    assert closure()[0] < first / 100


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lr_min": 0.0}, ValueError, r"lr_min must be in \(0"),
        ({"lr_max": math.inf}, ValueError, "lr_max must be in"),
        ({"lr_min": 1.0, "lr_max": 1.0}, ValueError, "lr_max must be above lr_min, 1.0; got 1.0"),
        ({"lr_min": "small"}, TypeError, "lr_min must be a number"),
        ({"n_steps": 1}, ValueError, "n_steps must be at least 2; got 1"),
        ({"n_steps": 2.5}, TypeError, "n_steps must be an int"),
        ({"smoothing": 1.0}, ValueError, r"smoothing must be in \[0, 1\); got 1.0"),
        ({"divergence": 1.0}, ValueError, r"divergence must be in \(1"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        Sweep(**options)


def test_bad_input():
    w = np.ones(2)
    opt = gdfast.SGD(w)
    with pytest.raises(TypeError, match="opt must be a gdfast optimizer; got ndarray"):
        gdfast.lr_find(w, lambda: (1.0, w))
    with pytest.raises(TypeError, match="closure must return"):
        gdfast.lr_find(opt, lambda: None)
    with pytest.raises(TypeError, match="step needs grads"):
        gdfast.lr_find(opt, lambda: 1.0)
    with pytest.raises(ValueError, match="must be a finite number before the first step; got nan"):
        gdfast.lr_find(opt, lambda: (np.nan, w))
    opt.accumulate(w.copy())
    with pytest.raises(RuntimeError, match="while micro-batches from accumulate"):
        gdfast.lr_find(opt, lambda: (1.0, w))
    opt.step(w.copy())
    averaging = gdfast.SGD(w.copy(), ema_decay=0.9)
    with averaging.averaged(), pytest.raises(RuntimeError, match="parameters hold their averages"):
        gdfast.lr_find(averaging, lambda: (1.0, w))


class TestEstimators:
    """`lr_find` of the estimators in gdfast.sklearn."""

    sklearn = pytest.importorskip("sklearn")

    @pytest.fixture
    def data(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((120, 4))
        return X, X @ [1.0, -2.0, 0.5, 0.0] + 0.1 * rng.standard_normal(120)

    @pytest.fixture(params=["GDClassifier", "GDRegressor", "MLPClassifier", "MLPRegressor"])
    def kind(self, request):
        from gdfast import sklearn

        return getattr(sklearn, request.param)

    def fitted_to(self, kind, data):
        X, y = data
        return X, (y > 0).astype(int) if "Classifier" in kind.__name__ else y

    def test_it_leaves_the_estimator_alone(self, kind, data):
        X, y = self.fitted_to(kind, data)
        rng, calls = np.random.default_rng(5), []
        options = {"max_iter": 3, "tol": None, "batch_size": 16}
        model = kind(random_state=rng, callbacks=lambda *a: calls.append(a), early_stopping=True, **options)
        before, state = dict(vars(model)), rng.bit_generator.state
        found = model.lr_find(X, y, n_steps=30, sample_weight=np.ones(len(X)))
        assert vars(model) == before
        assert rng.bit_generator.state == state
        assert calls == []
        assert found.suggestions.keys() == {"valley", "steepest", "minimum"}
        assert len(found.lrs) <= 30

    def test_it_begins_where_the_next_fit_would(self, kind, data):
        X, y = self.fitted_to(kind, data)
        options = {"random_state": 0, "max_iter": 20, "tol": None, "batch_size": 16}
        model = kind(warm_start=True, **options).fit(X, y)
        fresh = kind(**options).lr_find(X, y)
        warm = model.lr_find(X, y)
        assert warm.losses[0] < fresh.losses[0]
        again = kind(**options).lr_find(X, y)
        np.testing.assert_array_equal(fresh.losses, again.losses)

    def test_the_global_random_state_is_restored(self, kind, data):
        X, y = self.fitted_to(kind, data)
        np.random.seed(0)
        before = np.random.get_state()[1].copy()
        kind().lr_find(X, y, n_steps=5)
        assert (np.random.get_state()[1] == before).all()

    def test_its_arguments_are_checked(self, kind, data):
        with pytest.raises(ValueError, match="lr_min must be in"):
            kind().lr_find(*self.fitted_to(kind, data), lr_min=-1.0)

    def test_find_trains_with_what_it_suggests(self, kind, data):
        X, y = self.fitted_to(kind, data)
        weights = np.linspace(0.5, 2, len(X))
        options = {"random_state": 0, "max_iter": 4, "tol": None, "batch_size": 16}
        model = kind(lr="find", **options).fit(X, y, weights)
        assert model.lr_ == kind(**options).lr_find(X, y, weights).lr
        steps = 4 * 8  # of 120 rows in 16 at a time
        lr = gdfast.schedules.Cosine(model.lr_, total_steps=steps) if kind.__name__.startswith("GD") else model.lr_
        same = kind(lr=lr, **options).fit(X, y, weights)
        assert model.loss_curve_ == same.loss_curve_
        np.testing.assert_array_equal(model.predict(X), same.predict(X))
        assert not hasattr(same, "lr_")
        assert not hasattr(model.set_params(lr="auto").fit(X, y), "lr_")

    @pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
    def test_find_serves_every_optimizer(self, kind, data, optimizer):
        X, y = self.fitted_to(kind, data)
        model = kind(lr="find", optimizer=optimizer, random_state=0, max_iter=15, tol=None).fit(X, y)
        assert model.loss_curve_[-1] < model.loss_curve_[0]

    def test_find_is_refused_where_it_cannot_be(self, kind, data):
        X, y = self.fitted_to(kind, data)
        classes = {"classes": [0, 1]} if "Classifier" in kind.__name__ else {}
        model = kind(lr="find", max_iter=2, tol=None).fit(X, y)
        before = {name: value for name, value in vars(model).items() if name.endswith("_")}
        with pytest.raises(ValueError, match='lr="find" needs all data at once'):
            model.partial_fit(X, y, **classes)
        assert {"lr_", "n_iter_"} <= before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())
        with pytest.raises(ValueError, match='"auto" or "find"; got \'fnid\''):
            kind(lr="fnid").fit(X, y)

    def test_find_in_a_search(self, kind, data):
        from sklearn.model_selection import GridSearchCV

        X, y = self.fitted_to(kind, data)
        model = kind(random_state=0, max_iter=3, tol=None, batch_size=16)
        search = GridSearchCV(model, {"lr": ["auto", "find", 0.01]}, cv=2, error_score="raise").fit(X, y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
