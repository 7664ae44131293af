"""Averages of parameters in 16 bits: float32 averages of what the step computes, swapped in and out without loss."""

import numpy as np
import pytest
from levels import LEVELS

import gdfast

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16, FLOAT16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
#: dtype, master, rounding
KINDS = [
    (BFLOAT16, "split", "stochastic"),
    (BFLOAT16, "float32", "nearest"),
    (BFLOAT16, None, "stochastic"),
    (BFLOAT16, None, "nearest"),
    (FLOAT16, "float32", "stochastic"),
    (FLOAT16, None, "nearest"),
]
SIZES = [4097, 5, 0, 70_000]
RNG = np.random.default_rng(3)
START = [RNG.standard_normal(size).astype(np.float32) for size in SIZES]
GRADS = [[RNG.standard_normal(size).astype(np.float32) for size in SIZES] for _ in range(5)]


def stepped(dtype, master, rounding, steps=5, **options):
    params = [array.astype(dtype) for array in START]
    opt = gdfast.AdamW(params, lr=0.1, master=master, rounding=rounding, seed=4, ema_decay=0.75, **options)
    for row in GRADS[:steps]:
        opt.step(row)
    return opt, params


def contents(opt, params):
    state = {name: {key: array.tobytes() for key, array in of.items()} for name, of in opt.state.items()}
    return [array.tobytes() for array in params], state


@pytest.mark.parametrize(("dtype", "master", "rounding"), KINDS)
def test_native_is_the_reference(dtype, master, rounding, use_level):
    expected = contents(*stepped(dtype, master, rounding, engine="numpy", state_dtype="8bit"))
    for level in LEVELS:
        use_level(level)
        assert contents(*stepped(dtype, master, rounding, state_dtype="8bit", n_threads=2)) == expected


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize(("dtype", "master"), [(BFLOAT16, "split"), (BFLOAT16, "float32"), (FLOAT16, "float32")])
def test_with_a_master_the_average_is_float32s(dtype, master, engine):
    opt, _ = stepped(dtype, master, "nearest", engine=engine)
    exact = [array.astype(dtype).astype(np.float32) for array in START]
    whole = gdfast.AdamW(exact, lr=0.1, ema_decay=0.75)
    for row in GRADS:
        whole.step(row)
    for average, expected in zip(opt.ema, whole.ema, strict=True):
        assert average.dtype == np.float32
        assert average.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("dtype", "master", "rounding"), KINDS)
def test_the_swap_shows_the_nearest_and_loses_nothing(dtype, master, rounding):
    opt, params = stepped(dtype, master, rounding, steps=3)
    before, averages = contents(opt, params), [array.copy() for array in opt.ema]
    with opt.averaged():
        shown = [param.tobytes() for param in params]
    assert shown == [average.astype(dtype).tobytes() for average in averages]
    assert contents(opt, params) == before
    for row in GRADS[3:]:
        opt.step(row)
    assert contents(opt, params) == contents(*stepped(dtype, master, rounding))


def test_parameters_of_both_kinds_are_swapped_together():
    params = [np.ones(3, np.float32), np.ones(3, BFLOAT16)]
    opt = gdfast.SGD(params, lr=0.5, ema_decay=0.5)
    opt.step([np.ones(3, np.float32), np.ones(3, np.float32)])
    with opt.averaged():
        assert [array.tolist() for array in params] == [[0.75] * 3, [0.75] * 3]
    assert [array.tolist() for array in params] == [[0.5] * 3, [0.5] * 3]
