"""State, parameters and gradients in fewer bits: the same bits in both engines, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, hostile, plain
from gdfast.arrays.formats import FORMATS

SIZES = [4097, 128, 5, 1000, 0, 127]
#: every rule with a state that can be kept in fewer bits
SHORT = [
    case
    for case in CASES
    if not {"centralize", "clip_adaptive"} & case.options.keys()
    and case.optimizer.short_states.keys() & case.make(np.zeros(1)).state["0"].keys()
]
FIXED = [
    case
    for case in CASES
    if (states := case.make(np.zeros((2, 2))).state["0"].keys()) and not case.optimizer.short_states.keys() & states
]


def problem(seed, dtype=np.float32, sizes=SIZES, kinds=(plain, hostile)):
    """Parameters and three sets of gradients, of hostile values in every second array."""
    rng = np.random.default_rng(seed)
    make = [kinds[i % len(kinds)] for i in range(len(sizes))]
    params = [plain(rng, size, np.float32).astype(dtype) for size in sizes]
    return params, [[kind(rng, size, np.float32) for kind, size in zip(make, sizes, strict=True)] for _ in range(3)]


def case_named(name):
    return next(case for case in CASES if case.name == name)


def copies_of(params):
    return [param.copy() for param in params]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", SHORT, ids=str)
def test_native_is_the_reference(case, form, use_level, many_cpus):
    params, grads = problem(1)
    expected = copies_of(params)
    options = {"state_dtype": form, "state_dtype_min_size": 0, "seed": 5}
    reference = case.make(expected, engine="numpy", **options)
    for step in range(12):
        reference.step(grads[step % 3])
    assert any(array.dtype.kind == "u" for array in reference.state["0"].values())
    for level, n_threads in ((level, threads) for level in LEVELS for threads in (1, 3)):
        use_level(level)
        actual = copies_of(params)
        opt = case.make(actual, **options)
        many_cpus(opt, n_threads)
        opt._engine.prefetch = n_threads == 3
        for step in range(12):
            opt.step(grads[step % 3])
        assert_same_bits(actual, expected, f"{level}, {n_threads} threads: params")
        assert_same_bits(opt.state, reference.state, f"{level}, {n_threads} threads: state")


@pytest.mark.parametrize("case", FIXED, ids=str)
def test_states_that_stay_float32(case):
    with pytest.raises(ValueError, match="state_dtype must be 'float32' for"):
        case.make(np.zeros((2, 2), np.float32), state_dtype="8bit")
    case.make(np.zeros((2, 2), np.float32), state_dtype="float32")


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("form", FORMATS)
def test_steps_in_pieces_and_micro_batches(form, engine):
    params, grads = problem(2, kinds=(plain,))
    options = {"state_dtype": form, "state_dtype_min_size": 0, "engine": engine}
    whole, pieces = copies_of(params), {str(i): array for i, array in enumerate(copies_of(params))}
    opt, parts = gdfast.AdamW(whole, **options), gdfast.AdamW(pieces, **options)
    for step in range(4):
        opt.step(grads[step % 3])
        for i in reversed(range(len(params))):
            parts.step_one(str(i), grads[step % 3][i])
        parts.end_step()
    assert_same_bits(list(pieces.values()), whole)
    assert_same_bits(parts.state, opt.state)
    opt.accumulate(grads[0])
    opt.step(grads[1])
    parts.step({str(i): a + b for i, (a, b) in enumerate(zip(*grads[:2], strict=True))}, grad_scale=0.5)
    assert_same_bits(list(pieces.values()), whole)


def test_which_states_are_short():
    big, small = np.zeros(4096, np.float32), np.zeros(4095, np.float32)
    opt = gdfast.Adam([big, small], amsgrad=True, ema_decay=0.9, state_dtype="8bit")
    kinds = {name: {key: array.dtype.name for key, array in states.items()} for name, states in opt.state.items()}
    plain_states = dict.fromkeys(("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "ema"), "float32")
    scales = dict.fromkeys(("exp_avg.scales", "exp_avg_sq.scales"), "uint8")
    assert kinds["0"] == plain_states | {"exp_avg": "uint8", "exp_avg_sq": "uint8"} | scales
    assert kinds["1"] == plain_states
    assert opt.state["0"]["exp_avg.scales"].shape == (32,)
    opt = gdfast.Adam([{"params": [big]}, {"params": [np.zeros(4096)]}], state_dtype={"exp_avg": "float32"})
    assert {array.dtype.name for states in opt.state.values() for array in states.values()} == {"float32", "float64"}
    groups = [
        {"params": [big], "state_dtype": {"exp_avg_sq": "bfloat16"}},
        {"params": [np.zeros((64, 64), np.float32)], "state_dtype": "float32"},
    ]
    opt = gdfast.Adam(groups, state_dtype="8bit")
    assert opt.state["0"]["exp_avg"].dtype == np.float32
    assert opt.state["0"]["exp_avg_sq"].dtype == np.uint16
    assert opt.state["1"]["exp_avg"].dtype == np.float32
    opt.add_param_group({"params": [np.zeros((64, 65), np.float32)]})
    assert opt.state["2"]["exp_avg"].dtype == np.uint8
    opt.step([[np.ones(4096, np.float32)], [np.ones((64, 64), np.float32)], [np.ones((64, 65), np.float32)]])
    assert opt.state_value("2", "exp_avg").shape == (64, 65)


def test_a_rule_without_states_has_nothing_to_shorten():
    w = np.zeros(5000, np.float32)
    gdfast.SGD(w, lr=1.0, state_dtype="8bit").step(np.ones(5000, np.float32))
    assert np.all(w == -1)


@pytest.mark.parametrize(
    ("case", "form", "initial"),
    [
        ("adagrad", "8bit", 0.25),
        ("adagrad", "bfloat16", 0.1),
        ("yogi", "8bit", None),
    ],
)
def test_what_states_begin_with(case, form, initial):
    options = {} if initial is None else {"initial_accumulator_value": initial}
    w = np.zeros((1 << 16) + 300, np.float32)
    opt = case_named(case).make(w, state_dtype=form, **options)
    plain_opt = case_named(case).make(w.copy(), **options)
    for name, values in plain_opt.state["0"].items():
        assert np.allclose(opt.state_value("0", name), values, rtol=0.07, atol=0)


def test_state_value():
    opt = gdfast.SGD({"W": np.zeros((80, 60), np.float32), "b": np.zeros(3)}, momentum=0.5)
    opt.step({"W": np.ones((80, 60), np.float32), "b": np.ones(3)})
    copied = opt.state_value("W", "momentum_buffer")
    copied[...] = 7
    assert np.all(opt.state["W"]["momentum_buffer"] == 1)
    opt = gdfast.SGD(np.zeros((80, 60), np.float32), momentum=0.5, state_dtype="bfloat16")
    opt.step(np.ones((80, 60), np.float32))
    assert opt.state_value("0", "momentum_buffer").tolist() == np.ones((80, 60)).tolist()
    for name, state in (("1", "momentum_buffer"), ("0", "exp_avg"), ("0", "momentum_buffer.scales")):
        with pytest.raises(KeyError):
            opt.state_value(name, state)


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_goes_on_bit_for_bit(form, tmp_path):
    pytest.importorskip("safetensors")
    params, grads = problem(3)
    options = {"state_dtype": form, "state_dtype_min_size": 0}
    whole = copies_of(params)
    opt = gdfast.AdamW(whole, seed=11, **options)
    for step in range(3):
        opt.step(grads[step])
    halfway, saved = copies_of(whole), opt.state_dict()
    gdfast.save(tmp_path / "run.safetensors", opt)
    pickled, copied = pickle.dumps(opt), copy.deepcopy(opt)
    others = [gdfast.AdamW(copies_of(halfway), **options)]
    others[0].load_state_dict(saved)
    others.append(gdfast.AdamW(copies_of(params), engine="numpy", **options))
    gdfast.load(tmp_path / "run.safetensors", others[1])
    others += [pickle.loads(pickled), copied]
    for step in range(3):
        opt.step(grads[step])
        for other in others:
            other.step(grads[step])
    for other in others:
        assert_same_bits(other.param_groups[0]["params"], whole)
        assert_same_bits(other.state, opt.state)


def test_the_seed_decides():
    params, grads = problem(4, kinds=(plain,))
    states = []
    for seed in (1, 1, 2):
        opt = gdfast.AdamW(copies_of(params), state_dtype="8bit", state_dtype_min_size=0, seed=seed)
        opt.step(grads[0])
        opt.step(grads[1])
        states.append(opt.state["0"]["exp_avg"])
    assert np.array_equal(states[0], states[1])
    assert not np.array_equal(states[0], states[2])


@pytest.mark.parametrize("form", FORMATS)
def test_other_state_is_not_taken_for_short_state(form):
    w = np.zeros(5000, np.float32)
    short, whole = gdfast.Adam(w.copy(), state_dtype=form), gdfast.Adam(w.copy())
    for mine, theirs in ((short, whole), (whole, short)):
        with pytest.raises(ValueError, match="exp_avg"):
            mine.load_state_dict(theirs.state_dict())
    for seed in (-1, 2**32, 1.5, True):
        with pytest.raises(ValueError, match="seed must be"):
            short.load_state_dict({**short.state_dict(), "seed": seed})


@pytest.mark.parametrize("form", FORMATS)
def test_averages_follow_when_gradients_stop(form):
    """v decays as .999**t in the mean, where rounding to the nearest would leave it where it is."""
    rng = np.random.default_rng(5)
    w = np.zeros(1 << 14, np.float32)
    opt = gdfast.Adam(w, lr=0.0, state_dtype=form)
    opt.step(rng.standard_normal(w.size).astype(np.float32))
    before = opt.state_value("0", "exp_avg_sq").mean(dtype=float)
    for _ in range(2000):
        opt.step(np.zeros(w.size, np.float32))
    after = opt.state_value("0", "exp_avg_sq").mean(dtype=float)
    assert 0.8 < after / before / 0.999**2000 < 1.25
    assert np.all(opt.state_value("0", "exp_avg_sq") > 0)


@pytest.mark.parametrize("form", FORMATS)
def test_features_that_wake_and_gradients_that_explode(form):
    """Where a block holds very different numbers, no parameter runs away: steps stay those of float32 in size."""
    rng = np.random.default_rng(6)
    short, whole = np.zeros(4096, np.float32), np.zeros(4096, np.float32)
    opt, exact = gdfast.Adam(short, lr=1e-3, state_dtype=form), gdfast.Adam(whole, lr=1e-3)
    for step in range(1500):
        grad = rng.standard_normal(4096).astype(np.float32) * np.float32(1e-3)
        grad[::2] = 0 if step < 1000 else grad[::2]  # asleep for a long time
        grad[5] *= 1e6 if step == 700 else 1  # one huge gradient in a block
        opt.step(grad)
        exact.step(grad)
    assert np.all(np.isfinite(short))
    assert np.abs(short).max() <= 1.5 * np.abs(whole).max()
    assert np.abs(short).mean() == pytest.approx(np.abs(whole).mean(), rel=0.15)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"state_dtype": "int4"}, ValueError, "state_dtype must be one of 'float32', 'bfloat16', '8bit'"),
        ({"state_dtype": {"exp_avg": 8}}, ValueError, "state_dtype must be one of"),
        ({"state_dtype": None}, ValueError, "state_dtype must be one of"),
        ({"state_dtype": {"velocity": "8bit"}}, ValueError, "names 'velocity'; Adam has exp_avg, exp_avg_sq"),
        ({"state_dtype": {"max_exp_avg_sq": "8bit"}}, ValueError, "'float32' for max_exp_avg_sq of Adam"),
        ({"state_dtype": "8bit", "centralize": True}, ValueError, "centralize and clip_adaptive cannot go with"),
        ({"state_dtype": "8bit", "clip_adaptive": 0.1}, ValueError, "centralize and clip_adaptive cannot go with"),
        ({"state_dtype_min_size": 1.0}, TypeError, "state_dtype_min_size must be an int"),
        ({"state_dtype_min_size": -1}, ValueError, "state_dtype_min_size must be in"),
        ({"seed": "7"}, TypeError, "seed must be an int"),
        ({"seed": 2**32}, ValueError, "seed must be in"),
        ({"master": "float64"}, ValueError, "master must be one of"),
        ({"master": np.ones(2)}, ValueError, "master must be one of"),
        ({"rounding": "up"}, ValueError, "rounding must be one of"),
    ],
)
def test_what_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        gdfast.Adam(np.zeros((64, 64), np.float32), **options)


def test_what_was_asked_for_stays(tmp_path):
    """A dict that changes later is not looked at again, and a seed of NumPy's can be saved."""
    pytest.importorskip("safetensors")
    asked = {"exp_avg": "8bit"}
    opt = gdfast.Adam([{"params": np.zeros(5000, np.float32)}], state_dtype=asked, seed=np.int64(3))
    asked["exp_avg"] = "nothing"
    opt.add_param_group({"params": np.zeros(5000, np.float32)})
    assert opt.state["1"]["exp_avg"].dtype == np.uint8
    gdfast.save(tmp_path / "run.safetensors", opt)
    assert type(opt.state_dict()["seed"]) is int


def test_float64_state_cannot_be_short():
    with pytest.raises(TypeError, match="state_dtype must be 'float32' for params, whose dtype is float64"):
        gdfast.Adam(np.zeros(5000), state_dtype="8bit")


def test_rows_that_share_a_block_cannot_be_stepped_alone():
    opt = gdfast.Adam(np.zeros((1000, 8), np.float32), state_dtype="8bit")
    with pytest.raises(TypeError, match="a row of 8 elements shares the scales of its blocks of 128"):
        opt.step(gdfast.Rows(np.array([3]), np.ones((1, 8), np.float32)))


def test_bytes_of_state():
    w = np.zeros(1 << 17, np.float32)
    held = {
        form: sum(array.nbytes for array in gdfast.AdamW(w, state_dtype=form).state["0"].values()) / w.size
        for form in ("float32", "bfloat16", "8bit")
    }
    assert held == {"float32": 8.0, "bfloat16": 4.0, "8bit": 2 + 2 / 128}


def test_state_in_files(tmp_path):
    w, exact = np.zeros(5000, np.float32), np.zeros(5000, np.float32)
    opt, reference = gdfast.Adam(w, state_dtype="8bit", state_dir=tmp_path), gdfast.Adam(exact, state_dtype="8bit")
    for step in range(3):
        for each in (opt, reference):
            each.step(np.full(5000, step + 1, np.float32))
    assert np.array_equal(w, exact)
    assert sorted(path.name for path in tmp_path.iterdir())[:2] == ["0.exp_avg.npy", "0.exp_avg.scales.npy"]


def test_lookahead_around_short_state():
    w = np.zeros(5000, np.float32)
    opt = gdfast.Lookahead(gdfast.SGD(w, lr=1.0, momentum=0.5, state_dtype="8bit"), k=2)
    for _ in range(2):
        opt.step(np.ones(5000, np.float32))
    assert np.all(w == -1.25)
