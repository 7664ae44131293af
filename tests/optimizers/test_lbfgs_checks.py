"""What L-BFGS refuses, how it ends, and where it leaves the parameters then."""

import math
import sys
from fractions import Fraction

import numpy as np
import pytest

import gdfast
from arrays import assert_same_bits

optimize = pytest.importorskip("scipy.optimize")


def bowl(w):
    return lambda: (float(w @ w), 2 * w)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"lr": 0.0}, ValueError, r"lr must be in \(0, inf\); got 0.0"),
        ({"lr": lambda step: 1.0}, TypeError, "lr must be a number"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1; got 0"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an int; got 2.5"),
        ({"max_eval": True}, TypeError, "max_eval must be an int; got True"),
        ({"tolerance_grad": -1.0}, ValueError, r"tolerance_grad must be in \[0, inf\)"),
        ({"tolerance_change": math.nan}, ValueError, r"tolerance_change must be in \[0, inf\)"),
        ({"history_size": 0}, ValueError, "history_size must be at least 1"),
        ({"line_search": "armijo"}, ValueError, "line_search must be \"strong_wolfe\" or None; got 'armijo'"),
        ({"engine": "gpu"}, ValueError, "engine must be one of 'native', 'numpy'; got 'gpu'"),
        ({"n_threads": 0}, ValueError, "n_threads must not be 0"),
    ],
)
def test_options(options, error, match):
    with pytest.raises(error, match=match):
        gdfast.LBFGS(np.zeros(2), **options)


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ([{"params": np.zeros(2)}], ValueError, "params must be one structure of arrays"),
        (
            [np.zeros(2), np.zeros(2, np.float32)],
            TypeError,
            "params must all be float32 or all float64; got float32 and",
        ),
        ([], TypeError, "params must all be float32 or all float64; got no array"),
        (np.zeros((4, 4))[:, ::2], ValueError, "params must be C-contiguous"),
    ],
)
def test_arrays(params, error, match):
    with pytest.raises(error, match=match):
        gdfast.LBFGS(params)


def late(closure, answer, calls=4):
    """A closure that gives another answer, or raises it, from one call on."""
    count = 0

    def called():
        nonlocal count
        count += 1
        if count < calls:
            return closure()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return called


W = np.array([-1.2, 1.0])


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (1.0, TypeError, r"closure must return a pair \(loss, grads\); got float"),
        ((1.0,), TypeError, r"closure must return a pair \(loss, grads\); got tuple"),
        (("low", W), TypeError, "closure must return the loss as a number; got str"),
        ((True, W), TypeError, "closure must return the loss as a number; got bool"),
        ((np.ones(2), W), TypeError, "closure must return the loss as a number; got ndarray"),
        ((10**400, W), ValueError, "closure must return a loss that fits into a float; got int beyond"),
        ((-Fraction(10**400), W), ValueError, "a loss that fits into a float; got Fraction beyond"),
        ((1.0, W[:1]), ValueError, "grads must have the shape of params"),
        ((1.0, W.astype(np.float32)), TypeError, "grads must have the dtype of params"),
        ((1.0, [W]), TypeError, "grads must be a NumPy array"),
        (KeyboardInterrupt("from outside"), KeyboardInterrupt, "from outside"),
    ],
)
def test_after_an_error_the_parameters_are_where_the_last_iteration_left_them(answer, error, match):
    w, twin = W.copy(), W.copy()
    reached = gdfast.LBFGS(twin, max_iter=1)
    reached.step(lambda: (optimize.rosen(twin), optimize.rosen_der(twin)))
    calls = reached.func_evals + 1
    opt = gdfast.LBFGS(w)
    with pytest.raises(error, match=match):
        opt.step(late(lambda: (optimize.rosen(w), optimize.rosen_der(w)), answer, calls))
    assert_same_bits(w, twin)
    assert opt.n_iter == 1
    opt.step(lambda: (np.array(optimize.rosen(w)), optimize.rosen_der(w)))  # and it goes on
    assert opt.n_iter > 1


def test_arrays_that_changed_since():
    w = np.ones(4)
    opt = gdfast.LBFGS(w)
    w.flags.writeable = False
    with pytest.raises(ValueError, match="params must be writeable"):
        opt.step(bowl(w))
    w.flags.writeable = True
    w.resize(400, refcheck=False)
    with pytest.raises(ValueError, match="params was resized after the optimizer was made"):
        opt.step(bowl(w))


def test_a_gradient_in_the_memory_of_the_parameters():
    w = np.ones(2)
    with pytest.raises(ValueError, match="grads must not share memory with params"):
        gdfast.LBFGS(w).step(lambda: (1.0, w))


@pytest.mark.parametrize(("loss", "grad"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, -math.inf)])
def test_not_finite_at_the_start(loss, grad):
    w = np.ones(2)
    with pytest.raises(FloatingPointError, match="not finite at the start"):
        gdfast.LBFGS(w).step(lambda: (loss, np.full(2, grad)))
    assert np.all(w == 1)


@pytest.mark.parametrize("outside", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_to_a_non_finite_loss_counts_as_too_long(outside, where):
    """-log(x) + x, which ends at 0: its minimum at 1 is found from far away, and no warning is hidden or made."""
    w = np.array([30.0])

    def barrier():
        x = w[0]
        if x > 0:
            return x - math.log(x), np.array([1 - 1 / x])
        return (outside, np.ones(1)) if where == "loss" else (-1e9, np.array([outside]))

    opt = gdfast.LBFGS(w, lr=40.0, max_iter=100)
    opt.step(barrier)
    np.testing.assert_allclose(w, 1.0, rtol=1e-5)


def test_non_finite_losses_all_around():
    w = np.array([1.0])
    for search in ("strong_wolfe", None):
        opt = gdfast.LBFGS(w, line_search=search)
        loss = opt.step(lambda: (1.0 if w[0] == 1 else math.nan, np.ones(1)))
        assert (opt.status, loss, w.tolist(), opt.n_iter) == ("line_search", 1.0, [1.0], 0)


def test_non_finite_losses_after_some_iterations():
    """The history points into it, and so does the steepest descent: both are tried, and the point is kept."""
    w = np.array([3.0, 1.0])
    opt = gdfast.LBFGS(w, max_iter=2)
    opt.step(lambda: (optimize.rosen(w), optimize.rosen_der(w)))
    reached, iterations = w.copy(), opt.n_iter
    opt.max_iter, opt.max_eval = 10, 1000
    opt.step(lambda: (optimize.rosen(w) if np.all(w == reached) else math.nan, optimize.rosen_der(w)))
    assert (opt.status, opt.n_iter) == ("line_search", iterations)
    assert_same_bits(w, reached)


def test_a_wrong_gradient_ends_the_iterations():
    w = np.array([3.0, 1.0])
    opt = gdfast.LBFGS(w)
    assert opt.step(lambda: (float(w @ w), -2 * w)) <= 10.0
    assert opt.status == "line_search"


def test_a_history_that_points_uphill_is_dropped():
    """Whatever made it so: the iterations begin anew."""
    w = np.array([3.0, 1.0])
    opt = gdfast.LBFGS(w, max_iter=2)
    opt.step(lambda: (float(w[0] ** 4 + w[1] ** 2), np.array([4 * w[0] ** 3, 2 * w[1]])))
    assert opt._curvature.count > 0
    opt._curvature.scale = -1.0
    opt._curvature.inverses[:] = 0.0
    opt.max_iter, opt.max_eval = 50, 60
    opt.step(bowl(w))
    assert opt.status == "tolerance_grad"


def test_lbfgs_stop_reasons():
    w = np.array([3.0, 4.0])
    opt = gdfast.LBFGS(w)
    opt.step(bowl(w))
    assert opt.status == "tolerance_grad"
    opt.step(bowl(w))
    assert opt.status == "tolerance_grad"  # at once, with one evaluation
    w[:] = W
    for options, status in [
        ({"max_iter": 3, "max_eval": 100}, "max_iter"),
        ({"max_iter": 30, "max_eval": 2}, "max_eval"),
        ({"max_iter": 30, "max_eval": 1}, "max_eval"),
        ({"max_iter": 300, "tolerance_change": 1e-2}, "tolerance_change"),
        ({"max_iter": 5, "line_search": None, "lr": 1e-4, "max_eval": 3}, "max_eval"),
        ({"max_iter": 5, "line_search": None, "lr": 1e-12}, "tolerance_change"),
    ]:
        w[:] = W
        opt = gdfast.LBFGS(w, **options)
        loss = opt.step(lambda: (optimize.rosen(w), optimize.rosen_der(w)))
        assert opt.status == status, options
        assert loss == optimize.rosen(w) <= optimize.rosen(W)
        assert opt.func_evals <= opt.max_eval + 20  # the evaluations of one search


def test_max_iter_with_the_minimum_in_the_last_iteration():
    w = np.array([3.0, 4.0])
    opt = gdfast.LBFGS(w, max_iter=1, lr=2.5, line_search=None)
    opt.step(lambda: (float(w @ w) / 2, w.copy()))
    assert (opt.status, w.tolist()) == ("max_iter", [1.5, 2.0])


def test_warnings_of_the_closure_are_not_silenced():
    w = np.array([3.0])

    def closure():
        np.log(np.zeros(1))
        return float(w @ w), 2 * w

    with pytest.warns(RuntimeWarning, match="divide by zero"):
        gdfast.LBFGS(w).step(closure)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r'needs SciPy: pip install "gdfast\[scipy\]", or give line_search=None'):
        gdfast.LBFGS(np.zeros(2))
    w = np.array([3.0, 4.0])
    gdfast.LBFGS(w, lr=0.3, max_iter=100, line_search=None).step(bowl(w))
    np.testing.assert_allclose(w, 0.0, atol=1e-4)


def stepped(n=2, **options):
    w = np.arange(1.0, n + 1)
    opt = gdfast.LBFGS(w, max_iter=3, **options)
    scales = np.arange(1.0, n + 1)
    opt.step(lambda: (float(scales @ w**2), 2 * scales * w))
    return opt


def changed(state_dict, **state):
    return {**state_dict, "state": {**state_dict["state"], **state}}


def test_a_state_that_does_not_fit_changes_nothing():
    theirs = stepped().state_dict()
    assert len(theirs["state"]["ro"]) > 1
    for state_dict, error, match in [
        ([], TypeError, "state_dict must be that of an LBFGS"),
        (gdfast.Adam(np.zeros(2)).state_dict(), TypeError, "state_dict must be that of an LBFGS"),
        (stepped(3).state_dict(), ValueError, r'state\["old_stps"\] must be float64 \(\d, 2\); got float64 \(\d, 3\)'),
        (changed(theirs, old_dirs=[1.0]), ValueError, r'state\["old_dirs"\] must be float64 \(\d, 2\); got list'),
        (
            {**theirs, "options": {**theirs["options"], "history_size": 1}},
            ValueError,
            "at most 1 steps, the history_size",
        ),
        ({**theirs, "options": {**theirs["options"], "lr": -1.0}}, ValueError, "lr must be in"),
        ({**theirs, "options": {"lr": 1.0}}, ValueError, r'state_dict\["options"\] must have the keys lr, .*; got lr'),
        ({**theirs, "state": {}}, ValueError, r'state_dict\["state"\] must have the keys old_stps, .*; got none'),
        ({**theirs, "state": [1]}, TypeError, r'state_dict\["state"\] must be a dict; got list'),
        (changed(theirs, ro=theirs["state"]["ro"][:, None]), ValueError, r'state\["ro"\] must be float64 \(\d,\); got'),
        (changed(theirs, H_diag=-1.0), ValueError, r'state\["H_diag"\] must be a positive number; got -1.0'),
        ({**theirs, "n_iter": -1}, ValueError, "n_iter must be at least 0; got -1"),
    ]:
        opt = stepped()
        before = opt.state_dict()
        with pytest.raises(error, match=match):
            opt.load_state_dict(state_dict)
        after = opt.state_dict()
        assert_same_bits(after["state"]["old_stps"], before["state"]["old_stps"])
        assert (after["options"], after["n_iter"]) == (before["options"], before["n_iter"])


def test_one_thread_at_a_time():
    w = np.ones(2)
    opt = gdfast.LBFGS(w)
    with pytest.raises(RuntimeError, match="another thread is stepping this LBFGS"):
        opt.step(lambda: (opt.step(bowl(w)), 2 * w))
