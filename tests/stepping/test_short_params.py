"""Parameters and gradients of bfloat16 and float16, their masters, and copies."""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

import gdfast
from arrays import plain
from gdfast.arrays._bound import ChangedError

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16, FLOAT16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
SIZES = [4097, 128, 5, 1000, 0]
#: what a parameter may lie in: dtype, master, rounding
KINDS = [
    (BFLOAT16, "split", "stochastic"),
    (BFLOAT16, "float32", "nearest"),
    (BFLOAT16, None, "stochastic"),
    (BFLOAT16, None, "nearest"),
    (FLOAT16, "float32", "stochastic"),
    (FLOAT16, None, "nearest"),
]
GRADIENTS = [np.dtype(np.float32), BFLOAT16, FLOAT16]
ELEMENTWISE = [
    case for case in CASES if case.optimizer.short_params and not {"centralize", "clip_adaptive"} & case.options.keys()
]


def problem(seed, dtype, grad_dtype):
    rng = np.random.default_rng(seed)
    params = [plain(rng, size, np.float32).astype(dtype) for size in SIZES]
    with np.errstate(all="ignore"):
        grads = [[plain(rng, size, np.float32).astype(grad_dtype) for size in SIZES] for _ in range(3)]
    return params, grads


def copies_of(params):
    return [param.copy() for param in params]


def contents(opt, params):
    state = {name: {key: array.tobytes() for key, array in states.items()} for name, states in opt.state.items()}
    return [param.tobytes() for param in params], state


@pytest.mark.parametrize("grad_dtype", GRADIENTS, ids=str)
@pytest.mark.parametrize(("dtype", "master", "rounding"), KINDS)
def test_native_is_the_reference(dtype, master, rounding, grad_dtype, use_level, many_cpus):
    params, grads = problem(1, dtype, grad_dtype)
    options = {"master": master, "rounding": rounding, "clip_norm": 3.0, "weight_decay": 0.1, "l1": 1e-4, "seed": 9}
    for state_dtype in ("float32", "8bit"):
        options |= {"state_dtype": state_dtype, "state_dtype_min_size": 0}
        expected = copies_of(params)
        reference = gdfast.AdamW(expected, engine="numpy", **options)
        for step in range(8):
            reference.step(grads[step % 3])
        for level, n_threads in ((level, threads) for level in LEVELS for threads in (1, 3)):
            use_level(level)
            actual = copies_of(params)
            opt = gdfast.AdamW(actual, **options)
            many_cpus(opt, n_threads)
            opt._engine.prefetch = n_threads == 3
            for step in range(8):
                opt.step(grads[step % 3])
            assert contents(opt, actual) == contents(reference, expected), (level, n_threads)
            assert opt.last_norm == reference.last_norm


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_a_split_master_is_float32_in_every_rule(case):
    """The bits of the two halves are those of a float32 run from the same start: nothing is lost."""
    params, grads = problem(2, BFLOAT16, np.float32)
    whole = [param.astype(np.float32) for param in params]
    exact, opt = case.make(whole), case.make(params)
    for step in range(10):
        exact.step(grads[step % 3])
        opt.step(grads[step % 3])
    for i, (param, float32) in enumerate(zip(params, whole, strict=True)):
        high, low = param.view(np.uint16).astype(np.int64), opt.state[str(i)]["remainder"].astype(np.int64)
        bits = ((high << 16) + low).astype(np.uint32).view(np.float32)
        assert np.array_equal(bits, float32, equal_nan=True)
        for name in exact.state[str(i)]:
            assert np.array_equal(exact.state[str(i)][name], opt.state[str(i)][name], equal_nan=True), name


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("shape", [(), (1, 1), (4, 3), (3, 1), (2, 0), (2, 3, 4)])
def test_parameters_of_any_shape(shape, engine):
    rng = np.random.default_rng(8)
    w, grads = np.ones(shape, BFLOAT16), [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
    exact = w.astype(np.float32)
    opt, reference = gdfast.AdamW(w, engine=engine), gdfast.AdamW(exact)
    for grad in grads:
        opt.step(grad)
        reference.step(np.asarray(grad))
    assert opt.state_value("0", "exp_avg").tobytes() == reference.state["0"]["exp_avg"].tobytes()
    assert np.all(abs(w.astype(np.float32) - exact) <= 0.004)
    assert np.any(opt.state["0"]["remainder"]) or not w.size


def test_a_float32_master_is_float32():
    params, grads = problem(3, FLOAT16, np.float32)
    whole = [param.astype(np.float32) for param in params]
    exact, opt = gdfast.SGD(whole, lr=1e-4, momentum=0.9), gdfast.SGD(params, lr=1e-4, momentum=0.9)
    for step in range(10):
        exact.step(grads[step % 3])
        opt.step(grads[step % 3])
    for i, (param, float32) in enumerate(zip(params, whole, strict=True)):
        assert np.array_equal(opt.state[str(i)]["master"], float32)
        with np.errstate(over="ignore"):
            assert np.array_equal(param, float32.astype(np.float16))


def test_stochastic_rounding_moves_in_the_mean():
    """Steps below half a unit in the last place are lost to the nearest, and kept in the mean at random."""
    for rounding, expected in (("stochastic", 0.9), ("nearest", 1.0)):
        w = np.ones(20_000, BFLOAT16)
        opt = gdfast.SGD(w, lr=1e-4, master=None, rounding=rounding)
        for _ in range(1000):
            opt.step(np.ones(20_000, np.float32))
        assert w.astype(np.float64).mean() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_gradients_of_each_kind_in_turn(engine):
    """A gradient's dtype may be another in every step, also of float32 parameters; zero_grad zeroes it."""
    w, exact = np.zeros(3000, np.float32), np.zeros(3000, np.float32)
    opt, reference = gdfast.Adam(w, engine=engine), gdfast.Adam(exact, engine="numpy")
    rng = np.random.default_rng(4)
    for step in range(9):
        grad = rng.standard_normal(3000).astype(GRADIENTS[step % 3])
        reference.step(grad.astype(np.float32))
        opt.step(grad, zero_grad=step % 2 == 0)
        assert np.array_equal(w, exact)
        assert np.any(grad) == (step % 2 == 1)
    with pytest.raises(TypeError, match="grads must be float32, float16 or bfloat16 like params; got float64"):
        opt.step(np.zeros(3000))
    with pytest.raises(TypeError, match="grads must be float32 or float64; got bfloat16"):
        gdfast.Adam(np.zeros(3), engine=engine).step(np.zeros(3, BFLOAT16))


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
def test_the_norm_is_that_of_what_the_rule_sees(dtype, engine):
    rng = np.random.default_rng(5)
    sizes = [3, 200_000, 65_536, 0]
    params = [np.zeros(size, dtype) for size in sizes]
    grads = [rng.standard_normal(size).astype(dtype) for size in sizes]
    more = [rng.standard_normal(size).astype(np.float32) for size in sizes]
    whole = [grad.astype(np.float32) for grad in grads]
    opt = gdfast.SGD(params, clip_norm=1.0, engine=engine, accumulation="sum")
    opt.step(grads)
    assert opt.last_norm == gdfast.global_norm(whole)
    opt.step([more[0], *grads[1:]])
    assert opt.last_norm == gdfast.global_norm([more[0], *whole[1:]])
    opt.accumulate(more)
    opt.accumulate(grads)
    opt.step(grads)
    assert opt.last_norm == gdfast.global_norm([(m + g) + g for m, g in zip(more, whole, strict=True)])


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("value", [1e200, 1e-200])
def test_the_norm_beside_float64_neither_overflows_nor_vanishes(value, engine):
    opt = gdfast.SGD([np.zeros(4, np.float32), np.zeros(4)], clip_norm=1.0, engine=engine)
    opt.step([np.zeros(4, BFLOAT16), np.full(4, value)])
    assert opt.last_norm == 2 * value


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_gradients_that_are_not_finite(engine):
    w = np.ones(4, BFLOAT16)
    grad = np.array([1, np.inf, np.nan, 1], BFLOAT16)
    opt = gdfast.SGD(w, nonfinite="raise", engine=engine)
    with pytest.raises(FloatingPointError, match="1 NaN, 1 infinite"):
        opt.step(grad)
    opt = gdfast.SGD(w, nonfinite="skip", engine=engine)
    opt.step(grad)
    assert opt.skipped_steps == 1
    assert np.all(w == 1)
    gdfast.SGD(w, lr=1.0, engine=engine).step(grad)
    assert w.astype(float).tolist()[:2] == [0.0, -np.inf]
    assert np.isnan(w.astype(float)[2])


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_copies_hold_the_new_parameters(engine):
    rng = np.random.default_rng(6)
    params = {"W": rng.standard_normal((70, 80)).astype(np.float32), "b": np.zeros(3, np.float32)}
    copies = {"W": np.zeros((70, 80), BFLOAT16), "b": np.zeros(3, FLOAT16)}
    opt = gdfast.Adam(params, copies=copies, engine=engine, state_dtype="8bit", ema_decay=0.9)
    for _ in range(3):
        opt.step({"W": rng.standard_normal((70, 80)).astype(BFLOAT16), "b": np.ones(3, np.float32)})
        for name, param in params.items():
            assert copies[name].tobytes() == param.astype(copies[name].dtype).tobytes()
    again = copy.deepcopy(opt)
    again.step({"W": np.ones((70, 80), np.float32), "b": np.ones(3, np.float32)})
    assert copies["b"].tobytes() == params["b"].astype(FLOAT16).tobytes()
    with pytest.raises(ValueError, match="cannot be added to an optimizer with copies"):
        opt.add_param_group({"params": np.zeros(3, np.float32)})
    with pytest.raises(TypeError, match="must have no copies"):
        gdfast.Lookahead(opt)
    before = contents(opt, [*params.values(), *copies.values()])
    copies["W"].flags.writeable = False
    with pytest.raises(ChangedError, match='copies\\["W"\\] must be writeable'):
        opt.step({"W": np.ones((70, 80), np.float32), "b": np.ones(3, np.float32)})
    assert contents(opt, [*params.values(), *copies.values()]) == before


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(gdfast.LAMB, {}), (gdfast.Muon, {}), (gdfast.Adam, {"centralize": True}), (gdfast.SGD, {"clip_adaptive": 0.1})],
)
def test_what_measures_arrays_writes_no_copies(optimizer, options, engine):
    w = np.ones((4, 4), np.float32)
    with pytest.raises(ValueError, match="copies cannot go with centralize, clip_adaptive or an optimizer that"):
        optimizer(w, copies=np.zeros((4, 4), FLOAT16), engine=engine, **options)


def test_copies_of_groups_have_their_paths():
    groups = [{"params": np.zeros(3, np.float32)}, {"params": np.zeros(2, np.float32)}]
    copies = [np.zeros(3, FLOAT16), np.zeros(2, FLOAT16)]
    gdfast.SGD(groups, lr=1.0, copies=copies).step([np.ones(3, np.float32), np.ones(2, np.float32)])
    assert [array.tolist() for array in copies] == [[-1.0] * 3, [-1.0] * 2]
    with pytest.raises(ValueError, match=r"copies\[1\] must have the shape"):
        gdfast.SGD(groups, copies=[copies[0], np.zeros(3, FLOAT16)])


SHARED = np.zeros(12, np.float32)


@pytest.mark.parametrize(
    ("params", "copies", "error", "message"),
    [
        (np.zeros(3, np.float32), np.zeros(3, np.float32), TypeError, "copies must be bfloat16 or float16"),
        (np.zeros(3), np.zeros(3, FLOAT16), TypeError, "copies must be bfloat16 or float16, of a float32 array"),
        (np.zeros(3, FLOAT16), np.zeros(3, FLOAT16), TypeError, "of a float32 array"),
        (np.zeros(3, np.float32), [0, 0, 0], TypeError, "copies must be a NumPy array; got list"),
        (np.zeros(3, np.float32), np.zeros(4, FLOAT16), ValueError, "copies must have the shape of params"),
        (np.zeros(3, np.float32), np.zeros(6, FLOAT16)[::2], ValueError, "copies must be C-contiguous"),
        (SHARED[:3], SHARED.view(FLOAT16)[:3], ValueError, "must not share memory"),
    ],
)
def test_what_cannot_be_a_copy(params, copies, error, message):
    with pytest.raises(error, match=message):
        gdfast.SGD(params, copies=copies)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda w: gdfast.LAMB(w), TypeError, "params must be float32 or float64 for LAMB; got bfloat16"),
        (lambda w: gdfast.Muon(w.reshape(2, 2)), TypeError, "float32 or float64 for Muon"),
        (lambda w: gdfast.ScheduleFreeSGD(w, master=None), ValueError, "'float32' for params of ScheduleFreeSGD"),
        (lambda w: gdfast.Lookahead(gdfast.SGD(w)), TypeError, "float32 or float64 for Lookahead"),
        (lambda w: gdfast.LBFGS(w), TypeError, "params must be float32 or float64; got bfloat16"),
        (lambda w: gdfast.Adam(w.reshape(2, 2), centralize=True), ValueError, "fewer bits than float32"),
        (lambda w: gdfast.Adam(w.astype(FLOAT16), master="split"), ValueError, "master='split' is for bfloat16"),
        (lambda w: gdfast.Adam(w.astype(FLOAT16), master=None), ValueError, "rounding must be 'nearest' for params"),
        (lambda w: gdfast.Adam(w.astype(np.int16)), TypeError, "got int16"),
        (lambda w: gdfast.global_norm(w), TypeError, "got bfloat16"),
        (lambda w: gdfast.clip_by_global_norm(w, 1.0), TypeError, "got bfloat16"),
        (lambda w: gdfast.LAMB(w.astype(np.float32)).step(w), TypeError, "must be float32 or float64"),
    ],
)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(np.zeros(4, BFLOAT16))


@pytest.mark.parametrize(("dtype", "master", "rounding"), KINDS)
def test_a_run_goes_on_bit_for_bit(dtype, master, rounding, tmp_path):
    pytest.importorskip("safetensors")
    params, grads = problem(7, dtype, BFLOAT16)
    options = {"master": master, "rounding": rounding, "state_dtype": "bfloat16", "state_dtype_min_size": 0}
    opt = gdfast.AdamW(params, **options)
    opt.step(grads[0])
    gdfast.save(tmp_path / "run.safetensors", opt)
    others = [pickle.loads(pickle.dumps(opt)), gdfast.AdamW(copies_of(params), **options)]
    others[1].load_state_dict(opt.state_dict())
    loaded = [np.zeros_like(param) for param in params]
    others.append(gdfast.AdamW(loaded, engine="numpy", **options))
    gdfast.load(tmp_path / "run.safetensors", others[2])
    for other in (opt, *others):
        other.accumulate(grads[1])
        other.load_state_dict(other.state_dict())
        other.step(grads[2])
        assert contents(other, other.param_groups[0]["params"]) == contents(opt, params)


def test_a_gradient_that_becomes_another_is_noticed():
    w, grad = np.zeros(300, BFLOAT16), np.ones(300, BFLOAT16)
    opt = gdfast.SGD(w, lr=lambda step: [1.0, grad.resize(200, refcheck=False)][0])
    with pytest.raises(ValueError, match="grads"):
        opt.step(grad)
    assert not np.any(w)
    opt = gdfast.SGD(w, grads=np.ones(300, BFLOAT16))
    opt.step()
    assert np.all(w < 0)
    with pytest.raises(ValueError, match="must not share memory with params"):
        opt.step(w)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_a_gradient_does_not_lie_in_a_remainder(engine):
    w = np.zeros(300, BFLOAT16)
    opt = gdfast.SGD(w, engine=engine)
    opt.step(np.ones(300, FLOAT16))
    with pytest.raises(ValueError, match=r'must not share memory with opt.state\["0"\]\["remainder"\]'):
        opt.step(opt.state["0"]["remainder"].view(FLOAT16))


@pytest.mark.parametrize("grad_dtype", [BFLOAT16, FLOAT16], ids=str)
def test_a_float32_array_is_stepped_where_it_stands_once_its_gradients_are_float32_again(grad_dtype):
    rng = np.random.default_rng(12)
    grads = [rng.standard_normal(4097).astype(dtype) for dtype in (np.float32, grad_dtype, np.float32, grad_dtype)]
    w, twin = np.ones(4097, np.float32), np.ones(4097, np.float32)
    opt, other = gdfast.Adam(w), gdfast.Adam(twin)
    ways = []
    for grad in grads:
        opt.step(grad)
        other.step(grad.astype(np.float32))
        form = {BFLOAT16: "bfloat16", FLOAT16: "float16"}.get(grad.dtype)
        ways.append(opt._engine.set_grad_format(opt._engine._rules, 0, form))
        assert w.tobytes() == twin.tobytes()
    assert ways == [False, True, False, True]


@pytest.mark.parametrize("options", [{"state_dtype": "8bit"}, {"copies": np.zeros(4097, BFLOAT16)}])
def test_what_lies_in_fewer_bits_stays_so_when_gradients_come_in_float32_again(options):
    opt = gdfast.Adam(np.ones(4097, np.float32), **options)
    for dtype in (np.float32, BFLOAT16, np.float32):
        opt.step(np.ones(4097, dtype))
    assert opt._engine.set_grad_format(opt._engine._rules, 0, None)
    half = gdfast.SGD(np.ones(4097, BFLOAT16))
    half.step(np.ones(4097, np.float32))
    assert half._engine.set_grad_format(half._engine._rules, 0, None)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_parameters_that_are_pruned_stay_numbers(zero):
    """A zero that others write beside a remainder of less than nothing had the bits of NaN."""
    results = []
    for engine in ("native", "numpy"):
        w = np.linspace(-3.0, 3.0, 64).astype(BFLOAT16)
        opt = gdfast.SGD([w], lr=2.0**-12, master="split", engine=engine)
        for step in range(4):
            if step == 2:
                w[::2] = zero
            opt.step([np.linspace(0.1, 0.9, 64).astype(BFLOAT16)])
        assert (np.abs(w[::2].astype(np.float32)) < 2.0**-10).all()
        results.append(w.tobytes())
    assert results[0] == results[1]
