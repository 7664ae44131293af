"""Whatever a step is given: it does what a valid input means, or says what is wrong and writes nothing.

`GDFAST_FUZZ_CASES=100000 pytest tests/engine/test_fuzz_step.py` for a longer run of each kind.
"""

import itertools
import os
import signal
import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fuzzing import cases_wanted, run_cases

import gdfast
from arrays import bits

ENGINES = ("native", "native", "numpy")
FAR = (-1, 5, 10**7, 2**31 - 1, 2**31, 2**62, -(2**62), 2**63 - 1)


def refused(call, *args, **options):
    """What a call says that refuses its arguments; nothing if it does not."""
    try:
        call(*args, **options)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


class Liar(np.ndarray):
    """Says of itself what is not so, and breaks if its elements are asked for."""

    shape = property(lambda self: (4, 3))
    size = property(lambda self: 12)
    dtype = property(lambda self: np.dtype(np.float64))
    strides = property(lambda self: (24, 8))

    def min(self, *args, **kwargs):
        return 0

    max = __len__ = min


def lying(array):
    return np.ndarray.view(array, Liar)


# Index arrays, and what is done to them.


def mangled(rng, array):
    """An index array like this one, changed in one way or in none."""
    array = array.copy()
    match rng.integers(0, 12):
        case 0 if array.size:
            array[rng.integers(0, array.size)] = rng.choice([x for x in FAR if np.iinfo(array.dtype).max >= abs(x)])
        case 1:
            array = array[: rng.integers(0, array.size + 1)]
        case 2:
            array = np.append(array, array[-1:] + rng.integers(0, 3)).astype(array.dtype)
        case 3:
            array = rng.permutation(array)
        case 4:
            array = array.astype(rng.choice(["f8", "u8", "i2", ">i8", "O", "?"]))
        case 5:
            array = array[None] if rng.integers(0, 2) else array.reshape(-1, 1)
        case 6:
            array = np.repeat(array, 2)[::2]
        case 7:
            array = lying(array)
        case 8:
            room = np.concatenate([array] * 20_000)
            array = room[room.size - array.size :]
            room.resize(1, refcheck=False)
        case 9:
            array = [np.array(0), [0, 1], None, "0", 0, ...][rng.integers(0, 6)]
        case 10 if array.size:
            array[0] += 1
        case _:
            pass
    return array


def numbers_of(array):
    """A well-formed index array as a list of ints; None otherwise."""
    if not issubclass(type(array), np.ndarray):
        return None
    plain = np.ndarray.view(array, np.ndarray)
    owner = plain
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    if plain.size and not np.shares_memory(owner, plain):  # its memory is gone
        return None
    return plain.tolist() if plain.dtype in (np.dtype("i4"), np.dtype("i8")) and plain.ndim == 1 else None


def make(rng, shape, dtype=np.float64):
    """A table beside another array, and an optimizer of both that takes rows."""
    kind = [gdfast.SGD, gdfast.Adam, gdfast.Adagrad, gdfast.RMSprop][rng.integers(0, 4)]
    options = {"clip_norm": 0.5} if rng.integers(0, 4) == 0 else {}
    params = {"t": np.ones(shape, dtype), "b": np.ones(3)}
    return params, kind(params, lr=0.5, engine=ENGINES[rng.integers(0, 3)], **options)


def everything(params, opt):
    state = [bits(np.ndarray.view(a, np.ndarray)) for arrays in opt.state.values() for a in arrays.values()]
    return [bits(array) for array in params.values()], state, opt.step_count


def check_step(seed, grad_of, valid_rows):
    """Step with a gradient; `valid_rows` says what it means, as rows and values, or None if it must be refused."""
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(0, 6)), int(rng.integers(1, 5))
    dtype = (np.float32, np.float64)[seed % 2]
    grad = grad_of(rng, shape, dtype)
    meant = valid_rows(grad, shape, dtype)
    params, opt = make(np.random.default_rng(seed), shape, dtype)
    twins, twin = make(np.random.default_rng(seed), shape, dtype)
    before = everything(params, opt)
    refusal = refused(opt.step, {"t": grad, "b": np.ones(3)})
    if refusal:
        assert meant is None, f"a valid gradient was refused: {refusal}"
        assert "grads" in refusal
        assert everything(params, opt) == before, "something was written before the refusal"
    else:
        assert meant is not None, f"accepted {grad!r}"
        twin.step({"t": gdfast.Rows(*meant), "b": np.ones(3)})
        assert everything(params, opt) == everything(twins, twin), "not what the gradient means"


def csr_case(seed):
    import scipy.sparse

    def grad_of(rng, shape, dtype):
        height, width = shape
        stored = int(rng.integers(0, 12)) if height else 0
        inner = rng.integers(0, stored + 1, max(height - 1, 0))
        index = (np.int32, np.int64)[rng.integers(0, 2)]
        borders = np.sort(np.concatenate([[0], inner, [stored] if height else []])).astype(index)
        room = stored + int(rng.integers(0, 2) * rng.integers(0, 4))
        columns, data = rng.integers(0, width, room).astype(index), rng.standard_normal(room).astype(dtype)
        matrix = (scipy.sparse.csr_matrix, scipy.sparse.csr_array)[rng.integers(0, 2)](shape, dtype=dtype)
        for name, array in (("indptr", borders), ("indices", columns)):
            setattr(matrix, name, mangled(rng, array) if rng.integers(0, 3) == 0 else array)
        changes = [lambda a: a[:-1], lambda a: np.append(a, a), lambda a: a.astype(int), lambda a: a[:, None], list]
        matrix.data = changes[rng.integers(0, 5)](data) if rng.integers(0, 6) == 0 else data
        return matrix

    def valid_rows(matrix, shape, dtype):
        borders, columns = numbers_of(matrix.indptr), numbers_of(matrix.indices)
        data = matrix.data
        if borders is None or columns is None or not isinstance(data, np.ndarray) or data.dtype != dtype:
            return None
        rising = all(a <= b for a, b in itertools.pairwise(borders))
        if len(borders) != shape[0] + 1 or borders[0] != 0 or not rising:
            return None
        stored = borders[-1]
        if data.ndim != 1 or stored > len(data) or len(data) != len(columns):
            return None
        if not all(0 <= column < shape[1] for column in columns[:stored]):
            return None
        dense = np.zeros(shape, dtype)
        for row in range(shape[0]):
            for k in range(borders[row], borders[row + 1]):
                dense[row, columns[k]] += data[k]
        touched = np.flatnonzero(np.diff(borders))
        return touched, dense[touched]

    check_step(seed, grad_of, valid_rows)


def rows_case(seed):
    def grad_of(rng, shape, dtype):
        n = int(rng.integers(0, 8)) if shape[0] else 0
        rows = rng.integers(0, max(shape[0], 1), n).astype((np.int32, np.int64)[rng.integers(0, 2)])
        values = rng.standard_normal((n, shape[1])).astype(dtype)
        if rng.integers(0, 2):
            rows = mangled(rng, rows)
        changes = [
            lambda a: a[:-1],
            lambda a: a[:, 1:],
            lambda a: a.astype(int),
            lambda a: a.T,
            list,
            lying,
            np.ma.array,
        ]
        if rng.integers(0, 3) == 0:
            values = changes[rng.integers(0, 7)](values)
        return gdfast.Rows(rows, values)

    def valid_rows(grad, shape, dtype):
        rows, values = numbers_of(grad.rows), grad.values
        if rows is None or not issubclass(type(values), np.ndarray) or isinstance(values, np.ma.MaskedArray):
            return None
        values = np.ndarray.view(values, np.ndarray)
        if values.dtype != dtype or values.shape != (len(rows), shape[1]) or not values.flags.c_contiguous:
            return None
        if not all(0 <= row < shape[0] for row in rows):
            return None
        sums = {}
        for row, value in zip(rows, values, strict=True):
            sums[row] = sums[row] + value if row in sums else value
        named = sorted(sums)
        summed = np.array([sums[row] for row in named], dtype).reshape(len(named), shape[1])
        return np.array(named, np.int64), summed

    check_step(seed, grad_of, valid_rows)


# Checkpoints whose bytes are altered.

TOKENS = [b"", b"{", b"}", b"[", b'"', b":", b"-1", b"1e999", b"null", b"9" * 30, b"\x00", b"\xff", b"\\", b"NaN"]


@cache
def saved():
    params = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3, np.float32)}
    opt = gdfast.Adam(params, ema_decay=0.5, lr=gdfast.schedules.Cosine(0.1, 10))
    opt.step({"w": np.ones((2, 3)), "b": np.ones(3, np.float32)})
    opt.accumulate({"w": np.ones((2, 3)), "b": np.ones(3, np.float32)})
    path = Path(tempfile.mkdtemp()) / "c"
    gdfast.save(path, opt, extra={"epoch": 3, "x": np.ones(2)})
    return path, path.read_bytes(), params, opt


def checkpoint_case(seed):
    rng = np.random.default_rng(seed)
    path, whole, params, opt = saved()
    data = bytearray(whole)
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(0, (8, header, len(data))[rng.integers(0, 3)] + 1))
        gone = int(rng.integers(0, 20))
        new = TOKENS[rng.integers(0, len(TOKENS))] if rng.integers(0, 2) else rng.bytes(gone)
        if rng.integers(0, 10):
            data[place : place + gone] = new
        else:
            del data[place:]
    before = everything(params, opt)
    path.write_bytes(data)
    try:
        gdfast.load(path, opt)
    except gdfast.CheckpointError:
        assert everything(params, opt) == before, "an altered file was half loaded"
    else:
        assert bytes(data) == whole, "an altered file was loaded"


# Arrays that are changed under an optimizer, between two steps or in the middle of one.


def attempt(change, *args):
    """Whether NumPy lets it be done."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            change(*args)
        except (ValueError, TypeError, AttributeError):
            return False
    return True


def set_strides(array):
    array.strides = array.strides[::-1]


CHANGES = {
    "resize": lambda a: a.resize((100, 100), refcheck=False),
    "shrink": lambda a: a.resize(0, refcheck=False),
    "own base": lambda a: a.base.resize((1, 1), refcheck=False),
    "large base": lambda a: a.base.resize((300, 300), refcheck=False),
    "retype": lambda a: setattr(a, "dtype", np.int64),
    "halve": lambda a: setattr(a, "dtype", np.float32),
    "swap": lambda a: setattr(a, "dtype", a.dtype.newbyteorder()),
    "reshape": lambda a: setattr(a, "shape", a.shape[::-1]),
    "flatten": lambda a: setattr(a, "shape", (a.size,)),
    "restride": set_strides,
    "freeze": lambda a: setattr(a.flags, "writeable", False),
    "nothing": lambda a: None,
    "values": lambda a: a.fill(0.25),
}
# What none of these is: as it was bound, but for its values.
HARMLESS = {"nothing", "values"}
RULES = [
    (gdfast.SGD, {}),
    (gdfast.SGD, {"momentum": 0.9}),
    (gdfast.Adam, {}),
    (gdfast.Adam, {"ema_decay": 0.9}),
    (gdfast.AdamW, {"clip_norm": 1.0}),
    (gdfast.RMSprop, {"centered": True, "nonfinite": "raise"}),
    (gdfast.LAMB, {}),
    (gdfast.LARS, {}),
    (gdfast.NovoGrad, {}),
    (gdfast.Adafactor, {}),
    (gdfast.Muon, {}),
    (gdfast.Adam, {"centralize": True, "clip_adaptive": 0.1}),
    (gdfast.ScheduleFreeSGD, {}),
]


def bound_case(seed):
    rng = np.random.default_rng(seed)
    shape, engine = (int(rng.integers(2, 9)), int(rng.integers(2, 9))), ENGINES[rng.integers(0, 3)]
    kind, options = RULES[rng.integers(0, len(RULES))]
    room = np.ones((shape[0] * 2 + 200, shape[1]))
    params = {"w": room[shape[0] : 2 * shape[0]] if rng.integers(0, 3) == 0 else np.ones(shape), "b": np.ones((4, 4))}
    armed = []

    def lr(step):
        while armed:
            armed.pop()()
        return 0.25

    opt = kind(params, lr=lr, engine=engine, **options)
    grads = {"w": np.full(shape, 0.5), "b": np.ones((4, 4))}
    if rng.integers(0, 2):
        opt.step(grads)
    waits = rng.integers(0, 4) == 0
    if waits:
        opt.accumulate(grads)
    states = list(opt.state["w"].values())
    victims = [params["w"], grads["w"], *states, *([opt.accumulation.sums[0].array] if waits else [])]
    victim = victims[rng.integers(0, len(victims))]
    name = list(CHANGES)[rng.integers(0, len(CHANGES))]
    done = []
    change = lambda: done.append(attempt(CHANGES[name], victim))  # noqa: E731
    if rng.integers(0, 2):
        armed.append(change)
    else:
        change()
    form = np.ndarray.view(victim, np.ndarray)
    pieces = rng.integers(0, 4) == 0 and not opt.guard.needs_norm and not waits
    other, count = params["b"].copy(), opt.step_count
    zero_grad = bool(rng.integers(0, 4) == 0)
    refusal = refused(opt.step_one, "w", grads["w"]) if pieces else refused(opt.step, grads, zero_grad=zero_grad)
    if refusal:
        assert done == [True], f"refused, though nothing was changed: {refusal}"
        assert name not in HARMLESS, f"refused for {name}: {refusal}"
        assert not any(victim is state for state in states), "a view of state is its user's own"
        assert any(word in refusal for word in ("params", "grads", "opt.state")), refusal
        assert opt.step_count == count
        assert bits(params["b"]) == bits(other), "something was written before the refusal"
    else:
        same = name in HARMLESS or done == [False] or (name == "flatten" and form.ndim == 1)
        unchanged = (
            same or (name == "reshape" and shape[0] == shape[1]) or (name == "restride" and form.flags.c_contiguous)
        )
        read_only = name == "freeze" and victim is grads["w"]  # which is only read
        elsewhere = name in ("own base", "large base") and victim is params["w"] and params["w"].base is None
        a_number = form.ndim == 0  # has but one shape, and its array of one element may stay so
        own_view = any(victim is state for state in states)  # of memory that nobody can resize
        harmless = unchanged or read_only or elsewhere or a_number or own_view
        assert harmless, f"{name} was not noticed by {opt!r}, {engine}"


def gradient_case(seed):
    """Gradients of every kind: what is accepted steps like its own values in a plain array."""
    rng = np.random.default_rng(seed)
    param, twin = np.ones((4, 3)), np.ones((4, 3))
    engine = ENGINES[rng.integers(0, 3)]
    values = rng.standard_normal((4, 3))
    room = np.zeros((8, 6))
    room[::2, ::2] = values
    far = np.concatenate([values] * 2_000)
    gone = far[-4:]
    far.resize((2, 3), refcheck=False)
    good = [
        values,
        lying(values),
        values.view(np.matrix),
        np.frombuffer(values.tobytes()).reshape(4, 3),
    ]
    bad = [
        room[::2, ::2],
        lying(room[::2, ::2]),
        lying(values[:2]),
        lying(values.astype(np.float32)),
        values.astype(">f8"),
        np.asfortranarray(values),
        np.broadcast_to(values[:1], (4, 3)),
        np.ma.array(values),
        gone,
        param,
        param[::-1],
        values[None],
        values.tolist(),
        None,
        np.float64(1),
        np.zeros((4, 3), "V8"),
    ]
    place = int(rng.integers(0, len(good) + len(bad)))
    opt = gdfast.Adam(param, engine=engine)
    refusal = refused(opt.step, (good + bad)[place], grad_scale=float(rng.choice([1.0, 2.0])))
    if refusal:
        assert place >= len(good), f"a good gradient, {place}, was refused: {refusal}"
        assert np.all(param == 1)
    else:
        assert place < len(good), f"a bad gradient was taken: {place - len(good)}"
        assert opt.step_count == 1
        gdfast.Adam(twin).step(values)
        assert np.allclose(param, twin, rtol=1e-6)


CASES = {csr_case: 2000, rows_case: 1800, checkpoint_case: 900, bound_case: 1800, gradient_case: 500}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_fuzz(case):
    pytest.importorskip("scipy.sparse")
    pytest.importorskip("safetensors")
    failures = run_cases(case, cases_wanted(CASES[case]))
    assert not failures, "\n".join(failures)


def dying_case(seed):
    """What the fuzzer does about a case that ends its process, or is wrong."""
    if seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    assert seed != 5, "five"


def test_a_case_that_ends_its_process_is_named_and_the_next_are_run():
    killed, wrong = run_cases(dying_case, 8)
    assert killed.startswith("seed 3: the process ended with")
    assert wrong.startswith("seed 5: Traceback")
    assert "AssertionError: five" in wrong
