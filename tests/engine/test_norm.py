"""The global norm: its bits, extreme values, and the functions that give it."""

import math

import numpy as np
import pytest
from levels import LEVELS

import gdfast
from arrays import hostile, plain
from gdfast.engine import _reduce, isa, norms, threads
from gdfast.reference import norm as reference_norm
from gdfast.stepping import guard

SIZES = [0, 1, 15, 16, 17, 33, 1000, 65535, 65536, 65537, 200_001]


def arrays_of(dtype, make=plain, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(make(rng, size, dtype) for size in SIZES)


def test_reference_has_the_order_of_the_native_engine():
    assert (reference_norm.LANES, reference_norm.BLOCK) == (_reduce.LANES, _reduce.BLOCK)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_at_every_level_and_thread_count(dtype, level, use_level):
    use_level(level)
    for seed in range(3):
        for arrays in (arrays_of(dtype, seed=seed), *((a,) for a in arrays_of(dtype, seed=seed))):
            expected = reference_norm.square_sum(arrays)
            for n_threads in (1, 2, 3, 8):
                actual = _reduce.square_sum(isa.rules.SQUARE_SUM, arrays, (), n_threads)
                assert actual.hex() == expected.hex(), n_threads
            assert expected == pytest.approx(math.fsum(float(x) ** 2 for a in arrays for x in a), rel=1e-12)


def test_both_element_types_together():
    mixed = (*arrays_of(np.float32), *arrays_of(np.float64))
    assert norms.native_norm(mixed, 2).hex() == norms.numpy_norm(mixed).hex()


@pytest.mark.parametrize("value", [1e30, 1e-30, 3e38, 1e-45])
def test_extreme_float32_values_neither_overflow_nor_vanish(value):
    array = np.full(100_000, value, np.float32)
    assert gdfast.global_norm(array) == pytest.approx(float(array[0]) * math.sqrt(100_000), rel=1e-12)


@pytest.mark.parametrize("value", [1e200, 1e-200, 5e-324, 1e307])
def test_extreme_float64_values_neither_overflow_nor_vanish(value):
    array = np.array([3.0, 4.0]) * value if value > 1e-300 else np.array([3 * value, 4 * value])
    for norm in (norms.native_norm((array,), 1), norms.numpy_norm((array,)), gdfast.global_norm(array)):
        assert norm == pytest.approx(5.0 * value, rel=1e-12)
    assert gdfast.global_norm(np.full(9, 1.7e308)) == math.inf
    assert gdfast.global_norm(np.zeros(9)) == 0.0
    assert gdfast.global_norm([]) == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_show(dtype):
    for value in (np.nan, np.inf, -np.inf):
        array = np.ones(1000, dtype)
        array[777] = value
        expected = abs(value)
        assert gdfast.global_norm(array) == expected or math.isnan(expected)
        assert not math.isfinite(gdfast.global_norm(array))
    both = hostile(np.random.default_rng(0), 1000, dtype)
    assert math.isnan(gdfast.global_norm(both))


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="arrays must be float32 or float64; got int64"):
        gdfast.global_norm(np.zeros(3, int))
    with pytest.raises(ValueError, match=r"arrays\[1\] must be C-contiguous to be read in place"):
        gdfast.global_norm([np.zeros(3), np.zeros((4, 4))[:, 1]])
    frozen = np.ones(3)
    frozen.flags.writeable = False
    assert gdfast.global_norm({"a": frozen}) == pytest.approx(math.sqrt(3))
    with pytest.raises(ValueError, match=r'arrays\["a"\] must be writeable'):
        gdfast.clip_by_global_norm({"a": frozen}, 1.0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"max_norm must be in \(0, inf\); got"):
            gdfast.clip_by_global_norm(np.ones(3), bad)


def test_what_is_short_enough_is_left_as_it_is():
    array = np.array([0.1, -0.2])
    assert gdfast.clip_by_global_norm([array], 1.0) == pytest.approx(0.05**0.5)
    assert array.tolist() == [0.1, -0.2]


def test_clip_by_global_norm_is_pytorchs():
    torch = pytest.importorskip("torch")
    for max_norm in (0.5, 1.0, 1e6):
        grads = [plain(np.random.default_rng(i), 50, np.float64) for i in range(3)]
        theirs = [torch.nn.Parameter(torch.zeros(50, dtype=torch.float64)) for _ in grads]
        for param, grad in zip(theirs, grads, strict=True):
            param.grad = torch.from_numpy(grad.copy())
        expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm).item()
        assert gdfast.clip_by_global_norm(grads, max_norm) == pytest.approx(expected, rel=1e-12)
        for param, grad in zip(theirs, grads, strict=True):
            np.testing.assert_allclose(grad, param.grad.numpy(), rtol=1e-12)


def test_clip_factor():
    assert guard.clip_factor(0.0, 1.0) == 1.0
    assert guard.clip_factor(4.0, 1.0) == 1.0 / (4.0 + 1e-6)
    assert guard.clip_factor(math.inf, 1.0) == 0.0
    assert math.isnan(guard.clip_factor(math.nan, 1.0))


def test_large_arrays_are_summed_by_several_threads(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    array = plain(np.random.default_rng(0), 3_000_000, np.float32)
    gdfast.set_num_threads(8)
    try:
        assert gdfast.global_norm(array).hex() == norms.numpy_norm((array,)).hex()
    finally:
        gdfast.set_num_threads(None)
