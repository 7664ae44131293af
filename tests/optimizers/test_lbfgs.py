"""L-BFGS finds minima, in about as few evaluations as SciPy's, with the same bits whatever carries it out."""

import copy
import pickle

import numpy as np
import pytest
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, bits, hostile, plain
from gdfast.engine import _plan, threads
from gdfast.optimizers.lbfgs.curvature import Curvature, axpy_dot_of

optimize = pytest.importorskip("scipy.optimize")

ENGINES = ["native", "numpy"]


def rosenbrock(w):
    """The chained form of any length."""
    return lambda: (optimize.rosen(w), optimize.rosen_der(w))


def start(n):
    return np.resize([-1.2, 1.0], n)


def quadratic(w, n, condition, seed=0):
    """An ill-conditioned one with its minimum somewhere."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    matrix = (q * np.geomspace(1.0, condition, n)) @ q.T
    lowest = rng.standard_normal(n)
    return lowest, lambda: (0.5 * (w - lowest) @ matrix @ (w - lowest), matrix @ (w - lowest))


def logistic(dtype, n=300, width=8):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n, width)).astype(dtype)
    y = (X @ rng.standard_normal(width) + rng.standard_normal(n) > 0).astype(dtype)

    def loss_of(coef, intercept):
        z = X @ coef + intercept
        p = 1 / (1 + np.exp(-z))
        loss = np.mean(np.logaddexp(0, z) - y * z) + 0.005 * coef @ coef
        return float(loss), {
            "coef": X.T @ (p - y) / n + dtype(0.01) * coef,
            "intercept": np.array([np.mean(p - y)], dtype),
        }

    return loss_of


@pytest.mark.parametrize("n", [2, 20])
def test_rosenbrock_in_about_as_many_evaluations_as_scipy(n):
    w = start(n)
    opt = gdfast.LBFGS(w, max_iter=200, tolerance_grad=1e-5, tolerance_change=0.0, history_size=10)
    loss = opt.step(rosenbrock(w))
    theirs = optimize.minimize(
        optimize.rosen, start(n), jac=optimize.rosen_der, method="L-BFGS-B", options={"gtol": 1e-5, "ftol": 0.0}
    )
    assert opt.status == "tolerance_grad"
    assert loss == optimize.rosen(w) <= 1e-10
    np.testing.assert_allclose(w, 1.0, atol=1e-5)
    assert opt.func_evals <= 1.3 * theirs.nfev


def test_logistic_regression_as_scipy():
    loss_of = logistic(np.float64)
    w = {"coef": np.zeros(8), "intercept": np.zeros(1)}
    opt = gdfast.LBFGS(w, max_iter=200, tolerance_grad=1e-8, tolerance_change=0.0)
    opt.step(lambda: loss_of(w["coef"], w["intercept"][0]))

    def flat(x):
        loss, grads = loss_of(x[:8], x[8])
        return loss, np.concatenate([grads["coef"], grads["intercept"]])

    theirs = optimize.minimize(flat, np.zeros(9), jac=True, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 0.0})
    assert opt.status == "tolerance_grad"
    np.testing.assert_allclose([*w["coef"], *w["intercept"]], theirs.x, atol=1e-6)
    assert opt.func_evals <= 1.3 * theirs.nfev


def test_float32_and_nested_arrays():
    loss_of = logistic(np.float32)
    w = [{"coef": np.zeros((2, 4), np.float32)}, (np.zeros((), np.float32), np.zeros(0, np.float32))]

    def closure():
        loss, grads = loss_of(w[0]["coef"].ravel(), w[1][0])
        none = np.zeros(0, np.float32)
        return loss, [{"coef": grads["coef"].reshape(2, 4)}, (grads["intercept"].reshape(()), none)]

    opt = gdfast.LBFGS(w, max_iter=100, tolerance_grad=1e-5)
    opt.step(closure)
    exact = {"coef": np.zeros(8), "intercept": np.zeros(1)}
    gdfast.LBFGS(exact, max_iter=100).step(lambda: logistic(np.float64)(exact["coef"], exact["intercept"][0]))
    # The two data sets differ by their rounding only.
    np.testing.assert_allclose(w[0]["coef"].ravel(), exact["coef"], atol=2e-2)


@pytest.mark.parametrize(("n", "condition"), [(2, 100.0), (10, 1.0), (10, 100.0), (12, 1e3), (12, 1e6)])
def test_quadratics_in_as_many_iterations_as_scipy(n, condition):
    w, twin = np.zeros(n), np.zeros(n)
    lowest, closure = quadratic(w, n, condition)
    opt = gdfast.LBFGS(w, max_iter=2000, tolerance_grad=1e-7, tolerance_change=0.0)
    opt.step(closure)
    _, theirs_closure = quadratic(twin, n, condition)

    def flat(x):
        twin[:] = x
        return theirs_closure()

    options = {"gtol": 1e-7, "ftol": 0.0, "maxcor": 100}
    theirs = optimize.minimize(flat, np.zeros(n), jac=True, method="L-BFGS-B", options=options)
    assert opt.status == "tolerance_grad"
    np.testing.assert_allclose(w, lowest, atol=1e-6)
    assert opt.n_iter <= 1.2 * theirs.nit + 1


def test_without_a_search_as_pytorch():
    """But for the first step, which PyTorch scales by the sum of absolute values."""
    torch = pytest.importorskip("torch")
    scales = np.array([1.0, 3.0, 10.0])
    first = np.array([0.4, 2.0, -0.3])
    w, theirs = first.copy(), torch.nn.Parameter(torch.from_numpy(first.copy()))

    def evaluate(at):
        mixed = at[0] * at[1] + at[1] * at[2]
        return 0.5 * scales @ at**2 + 0.3 * mixed, scales * at + 0.3 * np.array([at[1], at[0] + at[2], at[1]])

    def peers_closure():
        loss, grad = evaluate(theirs.detach().numpy())
        theirs.grad = torch.from_numpy(grad)
        return torch.tensor(loss)

    opt = gdfast.LBFGS(w, lr=0.5, max_iter=1, line_search=None, history_size=3)
    peer = torch.optim.LBFGS([theirs], lr=0.5, max_iter=1, history_size=3)
    for step in range(8):
        grad = evaluate(w)[1]
        opt.lr = 0.5 * np.linalg.norm(grad) / np.abs(grad).sum() if step == 0 else 0.5
        opt.step(lambda: evaluate(w))
        peer.step(peers_closure)
        np.testing.assert_allclose(w, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
    assert opt.n_iter == peer.state[theirs]["n_iter"] == 8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 15, 17, 513, 65536, 200_001])
def test_a_pass_has_the_same_bits_at_every_level_and_thread_count(size, dtype, use_level, monkeypatch):
    monkeypatch.setattr(_plan, "GRAIN_BYTES", 1)
    rng = np.random.default_rng(0)
    for make in (plain, hostile):
        y, x, z = (make(rng, size, dtype) for _ in range(3))
        for source, a, c in [(x, -0.3, 1.0), (x, 0.7, -1.7), (None, 0.0, 1.0)]:
            expected = y.copy()
            product = axpy_dot_of("numpy", 1)(expected, source, z, a, c)
            for level in LEVELS:
                use_level(level)
                for n_threads in (1, 2, 3, 8):
                    actual = y.copy()
                    other = axpy_dot_of("native", n_threads)(actual, source, z, a, c)
                    assert_same_bits(actual, expected)
                    assert bits(np.array(other)) == bits(np.array(product))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_has_the_same_bits_at_every_level_and_thread_count(dtype, use_level, monkeypatch):
    monkeypatch.setattr(_plan, "GRAIN_BYTES", 1)
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    size = 70_000
    weights = np.linspace(1, 50, size, dtype=dtype)

    def run(**options):
        w = [np.ones(size - 5, dtype), np.ones(5, dtype)]

        def closure():
            flat = np.concatenate(w)
            grad = weights * flat + flat**3
            return float(gdfast.global_norm(flat * np.sqrt(weights))), [grad[:-5].copy(), grad[-5:].copy()]

        opt = gdfast.LBFGS(w, max_iter=4, history_size=3, tolerance_change=0.0, **options)
        for _ in range(3):
            opt.step(closure)
        return w, opt.state_dict()["state"]

    expected, state = run(engine="numpy")
    assert len(state["ro"]) == 3
    for level in LEVELS:
        use_level(level)
        for n_threads in (1, 2, 3, 8):
            actual, other = run(n_threads=n_threads)
            assert_same_bits(actual, expected)
            for name in ("old_stps", "old_dirs", "ro"):
                assert_same_bits(other[name], state[name])


def test_the_direction_is_the_quasi_newton_one():
    """Against the BFGS matrix written out."""
    rng = np.random.default_rng(4)
    n, axpy_dot = 5, axpy_dot_of("numpy", 1)
    curvature = Curvature(n, 3, np.float64)
    matrix = np.diag(np.arange(1.0, 6.0))
    pairs = []
    for _ in range(5):
        s = rng.standard_normal(n)
        curvature.update(0.5, 2 * s, matrix @ s, np.zeros(n), axpy_dot)
        pairs.append((s, matrix @ s))
        curvature.update(0.5, 2 * s, -matrix @ s, np.zeros(n), axpy_dot)  # curved the wrong way: not taken in
    assert curvature.count == 3
    inverse = np.eye(n) * curvature.scale
    for s, y in pairs[-3:]:
        rho = 1 / (s @ y)
        side = np.eye(n) - rho * np.outer(s, y)
        inverse = side @ inverse @ side.T + rho * np.outer(s, s)
    grad, direction = rng.standard_normal(n), np.empty(n)
    slope = curvature.direction(grad, direction, axpy_dot)
    np.testing.assert_allclose(direction, -inverse @ grad, rtol=1e-12)
    assert slope == pytest.approx(direction @ grad, rel=1e-12)


@pytest.mark.parametrize("way", ["state_dict", "pickle", "deepcopy"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_resumed_run_goes_on_bit_for_bit(way, engine):
    w = start(20)
    opt = gdfast.LBFGS(w, max_iter=7, history_size=5, engine=engine)
    opt.step(rosenbrock(w))
    if way == "state_dict":
        later = w.copy()
        other = gdfast.LBFGS(later, lr=0.5, history_size=9, engine=engine)
        other.load_state_dict(opt.state_dict())
    elif way == "pickle":
        other, later = pickle.loads(pickle.dumps((opt, w)))
    else:
        other, later = copy.deepcopy((opt, w))
    for _ in range(3):
        opt.step(rosenbrock(w))
        other.step(rosenbrock(later))
    assert_same_bits(later, w)
    assert_same_bits(other.state_dict()["state"]["old_dirs"], opt.state_dict()["state"]["old_dirs"])
    assert (other.n_iter, other.func_evals, repr(other)) == (opt.n_iter, opt.func_evals, repr(opt))
