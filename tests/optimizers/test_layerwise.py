"""Rules with numbers of each array, and gradients by unit: their formulas written out, their options, their errors."""

import math

import numpy as np
import pytest
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, plain, snapshot
from gdfast import reference
from gdfast.engine import isa, measured
from gdfast.reference import norm, units

ENGINES = ["native", "numpy"]
both_engines = pytest.mark.parametrize("engine", ENGINES)


def centralized(grad):
    return grad - grad.mean(axis=tuple(range(1, grad.ndim)), keepdims=True) if grad.ndim > 1 else grad


def clipped(grad, param, clipping):
    """Adaptive gradient clipping as its paper has it, the units along the first axis; a vector is one unit."""
    axes = tuple(range(1, grad.ndim)) if grad.ndim > 1 else None
    norm_g = np.sqrt((grad**2).sum(axis=axes, keepdims=True))
    limit = clipping * np.maximum(np.sqrt((param**2).sum(axis=axes, keepdims=True)), 1e-3)
    return np.where(norm_g < limit, grad, grad * (limit / np.maximum(norm_g, 1e-6)))


@both_engines
@pytest.mark.parametrize("shape", [(), (7,), (4, 6), (3, 4, 5), (2, 3, 2, 2), (5, 1), (1, 5), (3, 0)], ids=str)
def test_centralised_and_clipped_by_unit(shape, engine):
    rng = np.random.default_rng(0)
    for options in ({"centralize": True}, {"clip_adaptive": 0.3}, {"centralize": True, "clip_adaptive": 0.3}):
        param, grad = rng.standard_normal(shape), rng.standard_normal(shape)
        grad = np.asarray(grad * 10.0 ** rng.integers(-3, 2, (*shape[:1], *[1] * (len(shape) - 1))))
        param = np.asarray(param)
        g = np.clip(-0.5 * grad, -0.9, 0.9)  # the scale and the sign, and the value, come first; the decay last
        g = centralized(g) if "centralize" in options and grad.size else g
        g = clipped(g, param, 0.3) if "clip_adaptive" in options else g
        expected = param - 0.1 * (g + 0.2 * param)
        opt = gdfast.SGD(param, lr=0.1, weight_decay=0.2, clip_value=0.9, maximize=True, engine=engine, **options)
        opt.step(grad, grad_scale=0.5)
        np.testing.assert_allclose(param, expected, rtol=1e-13, atol=1e-15)


@both_engines
def test_parameters_at_zero_can_move_when_clipped(engine):
    param = np.zeros((2, 2))
    gdfast.SGD(param, lr=1.0, clip_adaptive=0.5, engine=engine).step(np.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(param, [[-3e-4, -4e-4], [0.0, 0.0]])


@both_engines
def test_units_of_one_group_only(engine):
    """As for the last layer of a network, which the paper leaves out."""
    hidden, last = np.ones((2, 2)), np.ones((2, 2))
    groups = [{"params": hidden}, {"params": last, "clip_adaptive": 0.0, "centralize": False}]
    opt = gdfast.SGD(groups, lr=1.0, clip_adaptive=0.01, centralize=True, engine=engine)
    opt.step([np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[1.0, 3.0], [2.0, 2.0]])])
    np.testing.assert_allclose(hidden, [[1.01, 0.99], [1.0, 1.0]])
    assert last.tolist() == [[0.0, -2.0], [-1.0, -1.0]]


@both_engines
def test_nan_and_infinity_reach_their_whole_unit(engine):
    for bad in (np.nan, np.inf):
        param, grad = np.ones((3, 4)), np.ones((3, 4))
        grad[1, 2] = bad
        gdfast.SGD(param, centralize=True, clip_adaptive=0.1, engine=engine).step(grad)
        assert np.isnan(param).all(axis=1).tolist() == [False, True, False]
        assert not np.isnan(param[[0, 2]]).any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"centralize": 1}, TypeError, "centralize must be True or False; got 1"),
        ({"clip_adaptive": -0.1}, ValueError, r"clip_adaptive must be in \[0, inf\); got -0.1"),
        (
            {"clip_adaptive": lambda step: 0.1},
            TypeError,
            r"clip_adaptive must be a number in \[0, inf\); got <function",
        ),
        ({"clip_adaptive": "0.1"}, TypeError, "clip_adaptive must be a number"),
    ],
)
def test_bad_options_of_units(options, error, message):
    with pytest.raises(error, match=message):
        gdfast.Adam(np.zeros((2, 2)), **options)


@both_engines
def test_rows_of_a_table_cannot_go_with_units_nor_with_numbers_of_arrays(engine):
    table = np.ones((5, 2))
    rows = gdfast.Rows(np.array([1]), np.ones((1, 2)))
    for opt, message in [
        (
            gdfast.SGD(table, clip_adaptive=0.1, engine=engine),
            "with centralize or clip_adaptive: they need whole units",
        ),
        (gdfast.LARS(table, engine=engine), "LARS must step the rows without a gradient too"),
    ]:
        with pytest.raises(TypeError, match=message):
            opt.step(rows)
    assert (table == 1).all()


@pytest.mark.parametrize(("name", "value"), [("centralize", True), ("clip_adaptive", 0.1)])
def test_unit_options_are_fixed_at_construction(name, value):
    opt = gdfast.Adam(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=f"{name} is settled when Adam is made"):
        opt.param_groups[0][name] = value


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_rows_and_columns(dtype, level, use_level, many_cpus):
    """In the reference's order, and right."""
    use_level(level)
    rng = np.random.default_rng(0)
    assert units.ROWS == measured._plan.ROWS
    assert norm.BLOCK == units.BLOCK
    for shape in [(1, 1), (3, 1), (1, 3), (700, 33), (5, 1500), (2, 300, 7), (70_000, 2)]:
        grad = plain(rng, math.prod(shape), dtype).reshape(shape)
        expected = reference.matrix_sums(grad, *shape[-2:])
        opt = gdfast.Adafactor(np.ones(shape, dtype))
        engine = opt._engine
        for n_threads in (1, 2, 3, 8):
            many_cpus(opt, n_threads)
            engine.take((grad,))
            engine.set_numbers(0, (1.0, math.inf, 0.0, 0.0, 0.0, (0.0,) * (2 if len(shape) > 1 else 4)))
            assert_same_bits(list(engine.measure_matrices(0, *shape[-2:], n_threads, False)), list(expected))
        squares = grad.astype(np.float64).reshape(-1, *shape[-2:]) ** 2
        np.testing.assert_allclose(expected[0], squares.sum(axis=2), rtol=1e-12)
        np.testing.assert_allclose(expected[1], squares.sum(axis=1), rtol=1e-12)
    assert isa.level_name(isa.rules) == level


@both_engines
def test_lars_and_lamb_move_at_the_plain_rate_where_a_norm_is_zero(engine):
    for optimizer in (gdfast.LARS, gdfast.LAMB, gdfast.NovoGrad, gdfast.Adafactor):
        zero, still = np.zeros(2), np.ones(2)
        opt = optimizer([zero, still], lr=0.5, engine=engine)
        opt.step([np.array([1.0, 1.0]), np.zeros(2)])
        assert (zero != 0).all(), optimizer
        assert still.tolist() == [1, 1], optimizer


@both_engines
def test_a_group_may_go_without_the_trust_ratio(engine):
    for optimizer, plain_optimizer, options in [
        (gdfast.LARS, gdfast.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
        (gdfast.LAMB, gdfast.AdamW, {"weight_decay": 0.1, "eps": 1e-6}),
    ]:
        w, b, alone = np.full((2, 2), 3.0), np.full(2, 3.0), np.full(2, 3.0)
        groups = [{"params": {"W": w}}, {"params": {"b": b}, "trust_ratio": False}]
        opt = optimizer(groups, lr=0.1, engine=engine, **options)
        other = plain_optimizer(alone, lr=0.1, **options)
        for step in range(5):
            grad = np.array([1.0, -2.0]) * (step + 1)
            opt.step({"W": np.ones((2, 2)), "b": grad})
            other.step(grad)
        np.testing.assert_allclose(b, alone, rtol=1e-12)
        assert not np.allclose(w, 3.0 + (b - 3.0)[0])
        opt.param_groups[1]["trust_ratio"] = True


@both_engines
def test_novograd_without_eps_and_gradient_is_nan_not_silence(engine):
    param = np.ones(2)
    with np.errstate(all="ignore"):
        gdfast.NovoGrad(param, eps=0.0, engine=engine).step(np.zeros(2))
    assert np.isnan(param).all()


def test_a_number_too_large_for_the_state_is_infinite_and_one_too_small_zero():
    for value, expected in [(1e30, np.inf), (1e-30, 0.0)]:
        opt = gdfast.NovoGrad(np.ones(2, np.float32))
        opt.step(np.full(2, value, np.float32))
        assert opt.state["0"]["exp_avg_sq"] == expected


@both_engines
def test_muon_makes_the_momentum_orthogonal(engine):
    rng = np.random.default_rng(3)
    for shape in [(5, 5), (3, 8), (8, 3)]:
        w, grad = np.zeros(shape), rng.standard_normal(shape)
        # A polynomial that converges, where the default one is quick to come near.
        opt = gdfast.Muon(w, lr=1.0, ns_coefficients=(1.875, -1.25, 0.375), ns_steps=60, engine=engine)
        opt.step(grad)
        left, _, right = np.linalg.svd(grad, full_matrices=False)
        np.testing.assert_allclose(w, -left @ right * max(1.0, shape[0] / shape[1]) ** 0.5, atol=1e-9)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)], ids=str)
def test_muon_refuses_arrays_that_are_not_matrices(shape):
    message = (
        r'params\["b"\] must be a matrix \(2 axes\) for Muon; got shape .* another optimizer, such as gdfast.AdamW'
    )
    with pytest.raises(ValueError, match=message):
        gdfast.Muon({"W": np.zeros((2, 2)), "b": np.zeros(shape)})
    opt = gdfast.Muon(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r'params\[1\]\["params"\] must be a matrix'):
        opt.add_param_group({"params": np.zeros(shape)})
    opt.step(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("optimizer", "options", "error", "message"),
    [
        (
            gdfast.LARS,
            {"nesterov": True, "momentum": 0.0},
            ValueError,
            "nesterov must go with momentum; got momentum=0.0",
        ),
        (gdfast.LARS, {"trust_coefficient": -1}, ValueError, "trust_coefficient must be in"),
        (gdfast.LAMB, {"trust_ratio": 0}, TypeError, "trust_ratio must be True or False"),
        (gdfast.Adafactor, {"eps": (None, None)}, TypeError, r"eps\[1\] must be a number; got \(None, None\)"),
        (gdfast.Adafactor, {"eps": (-1, 1)}, ValueError, r"eps\[0\] must be in"),
        (gdfast.Adafactor, {"beta2_decay": 0.1}, ValueError, r"beta2_decay must be in \(-inf, 0\]; got 0.1"),
        (gdfast.Adafactor, {"d": 0.5}, ValueError, r"d must be in \[1, inf\)"),
        (gdfast.Muon, {"ns_steps": 100}, ValueError, "ns_steps must be below 100; got 100"),
        (gdfast.Muon, {"ns_steps": 2.0}, TypeError, "ns_steps must be an int"),
        (gdfast.Muon, {"ns_coefficients": (1, 2)}, TypeError, "ns_coefficients must be three numbers"),
        (gdfast.Muon, {"adjust_lr_fn": "none"}, ValueError, "adjust_lr_fn must be one of None, 'original', 'match_rms"),
    ],
)
def test_bad_options(optimizer, options, error, message):
    with pytest.raises(error, match=message):
        optimizer(np.zeros((2, 2)), **options)


@both_engines
def test_a_failure_while_measuring_writes_nothing(engine, monkeypatch):
    """Everything that can go wrong comes before the first write, and the next step is a clean one."""
    w, other = np.ones((3, 2)), np.ones((3, 2))
    opt, undisturbed = gdfast.Adafactor(w, engine=engine), gdfast.Adafactor(other, engine=engine)
    before = snapshot(opt, w)

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measured.NativeLayers if engine == "native" else measured.NumpyLayers, "measure", fail)
        with pytest.raises(KeyboardInterrupt):
            opt.step(np.full((3, 2), 5.0))
    assert snapshot(opt, w) == before
    opt.step(np.ones((3, 2)))
    undisturbed.step(np.ones((3, 2)))
    assert_same_bits([w, dict(opt.state)], [other, dict(undisturbed.state)])


def test_arrays_lent_to_a_step_are_released():
    """Muon's matrices are not kept from step to step."""
    import tracemalloc

    w, grad = np.ones((300, 400)), np.ones((300, 400))
    opt = gdfast.Muon(w)
    opt.step(grad)
    tracemalloc.start()
    opt.step(grad)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10_000


@both_engines
@pytest.mark.parametrize("size", [1, 40, 5000])
def test_cautious_adamw_is_the_papers_algorithm(size, engine):
    """Liang et al., algorithm 1, one number at a time, with the mask's mean over the array; few agree in 5000."""
    rng = np.random.default_rng(4)
    param, lr, beta1, beta2, eps, decay = rng.standard_normal(size), 0.02, 0.9, 0.99, 1e-8, 0.1
    p, m, v = param.tolist(), [0.0] * size, [0.0] * size
    opt = gdfast.CautiousAdamW(param, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay, engine=engine)
    first = rng.standard_normal(size)
    for t in range(1, 21):
        grad = first * 0.5**t * (-1) ** t if size == 5000 else rng.standard_normal(size)
        for i, g in enumerate(grad.tolist()):
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g**2
        mask = [float(m[i] * g > 0) for i, g in enumerate(grad.tolist())]
        divisor = max(sum(mask) / size, 1e-3)
        for i in range(size):
            u = m[i] / (1 - beta1**t) / (math.sqrt(v[i] / (1 - beta2**t)) + eps)
            p[i] = p[i] - lr * decay * p[i] - lr * mask[i] / divisor * u
        opt.step(grad)
        np.testing.assert_allclose(param, p, rtol=1e-12, atol=1e-13)


@both_engines
def test_cautious_adamw_compares_signs_where_the_product_vanishes(engine):
    param = np.zeros(2, np.float32)
    opt = gdfast.CautiousAdamW(param, lr=0.5, eps=0.0, betas=(0.0, 0.0), rescale=False, engine=engine)
    opt.step(np.array([1e-18, -1e-18], np.float32))
    assert param.tolist() == [-0.5, 0.5]
    param = np.zeros(1, np.float32)
    gdfast.CautiousAdamW(param, lr=1.0, eps=1e-20, engine=engine).step(np.array([1e-30], np.float32))
    assert param[0] < 0


@both_engines
def test_cautious_adamw_divides_by_a_thousandth_at_least(engine):
    param, grad = np.zeros(2000), np.zeros(2000)
    grad[7] = 1.0
    gdfast.CautiousAdamW(param, lr=1e-3, weight_decay=0.0, engine=engine).step(grad)
    np.testing.assert_allclose(param[7], -1.0, rtol=1e-6)
    assert np.count_nonzero(param) == 1
