"""Every number in every format: the native loops at each instruction-set level are the reference's, bit for bit."""

import numpy as np
import pytest
from levels import LEVELS

from arrays import hostile, plain
from gdfast.arrays.formats import FORMATS, blocks
from gdfast.engine import _plan, isa
from gdfast.reference import formats as reference

SIZES = [0, 1, 7, 127, 128, 129, 255, 256, 1000, 4097]
#: every pattern of 16 bits, and for each loop what its codes and what lies beside them are
PATTERNS = np.arange(1 << 16).astype(np.uint16)
BLOCKS = {"8bit_signed": 127, "8bit_non_negative": 255}


def room(form, size):
    """Arrays for so many elements of a format."""
    if form in BLOCKS:
        return np.zeros(size, np.uint8), np.zeros(blocks(size), np.uint8)
    return np.zeros(size, np.uint16), np.zeros(size, np.int16) if form == "split" else None


def decode(level, form, codes, beside):
    values = np.empty(codes.shape, np.float32)
    _plan.decode_array(isa.choose(level), form, codes, beside, values)
    return values


def encode(level, form, values, random, high=False):
    codes, beside = room(form, values.size)
    _plan.encode_array(isa.choose(level), form, codes, beside, values, random, high)
    return codes, beside


def encode_reference(form, values, random, high=False):
    codes, beside = room(form, values.size)
    reference.FORMATS[form].encode(codes, beside, values, random, int(high))
    return codes, beside


def same(left, right):
    """Whether two tuples of arrays or None are equal, byte by byte."""
    return [None if a is None else a.tobytes() for a in left] == [None if a is None else a.tobytes() for a in right]


def bits_of(values):
    """The bits of float32 values, with every NaN made alike."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint32)


def random_floats(seed, size):
    """Float32 values of every bit pattern."""
    return np.random.default_rng(seed).integers(0, 1 << 32, size, np.uint64).astype(np.uint32).view(np.float32)


def values_for(form, seed, size):
    rng = np.random.default_rng(seed)
    values = [plain(rng, size, np.float32), hostile(rng, size, np.float32), random_floats(seed, size)]
    values += [(10.0 ** rng.uniform(-44, 38, size)).astype(np.float32), np.zeros(size, np.float32)]
    return values


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", reference.FORMATS)
def test_encoding_is_the_references(form, level):
    for size in SIZES:
        for seed, values in enumerate(values_for(form, size, size)):
            random = np.random.default_rng(seed).integers(0, 1 << 32, size, np.uint64).astype(np.uint32)
            for high in (False, True):
                expected = encode_reference(form, values, random, high)
                found = encode(level, form, values, random, high)
                assert same(found, expected), (size, seed, high)
                assert np.array_equal(
                    bits_of(decode(level, form, *found)), bits_of(reference.FORMATS[form].decode(*expected))
                )


@pytest.mark.parametrize("level", LEVELS)
def test_every_pattern_of_bfloat16(level):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = decode(level, "bfloat16", PATTERNS, None)
    expected = PATTERNS.view(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(bits_of(values), bits_of(expected))
    for form in (
        "bfloat16",
        "bfloat16_nearest",
        "split",
    ):  # what is in the format stays there, whatever the random bits
        codes, beside = encode(level, form, values, np.full(values.size, 0xFFFFFFFF, np.uint32))
        assert np.array_equal(codes[~np.isnan(values)], PATTERNS[~np.isnan(values)])
        assert np.all(np.isnan(decode(level, form, codes, beside)) == np.isnan(values))
    between = random_floats(1, 100_000)
    codes, _ = encode(level, "bfloat16_nearest", between, np.zeros(between.size, np.uint32))
    with np.errstate(invalid="ignore"):
        expected = between.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(bits_of(decode(level, "bfloat16", codes, None)), bits_of(expected))


@pytest.mark.parametrize("level", LEVELS)
def test_every_pattern_of_float16(level):
    values = decode(level, "float16", PATTERNS, None)
    expected = PATTERNS.view(np.float16).astype(np.float32)
    assert np.array_equal(bits_of(values), bits_of(expected))
    around = np.concatenate(
        [np.nextafter(values, np.float32(s)) for s in (-np.inf, np.inf)] + [values, random_floats(2, 9999)]
    )
    middles = ((values[:31743].astype(np.float64) + values[1:31744]) / 2).astype(np.float32)  # ties
    for numbers in (around, middles, -middles):
        codes, _ = encode(level, "float16", numbers, np.zeros(numbers.size, np.uint32))
        with np.errstate(over="ignore"):
            expected = numbers.astype(np.float16)
        assert np.array_equal(codes[~np.isnan(numbers)], expected.view(np.uint16)[~np.isnan(numbers)])
        assert np.all(codes[np.isnan(numbers)] == 0x7E00)


@pytest.mark.parametrize("level", LEVELS)
def test_split_loses_nothing(level):
    values = random_floats(3, 200_000)
    codes, beside = encode(level, "split", values, np.zeros(values.size, np.uint32))
    assert np.array_equal(bits_of(decode(level, "split", codes, beside)), bits_of(values))
    shown = decode(level, "bfloat16", codes, None)
    shown, values = (array[np.abs(values) < 1e38] for array in (shown, values))
    assert np.all(np.abs(shown - values) <= np.maximum(np.abs(values), 2.0**-126) * 2.0**-8)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", BLOCKS)
def test_every_code_in_every_scale(form, level):
    top = BLOCKS[form]
    codes = np.tile(np.arange(256).astype(np.uint8), 256)
    scales = np.repeat(np.arange(256).astype(np.uint8), 2)
    values = decode(level, form, codes, scales)
    assert np.array_equal(bits_of(values), bits_of(reference.FORMATS[form].decode(codes, scales)))
    magnitude = codes & top
    assert np.array_equal(np.isnan(values), magnitude == top)
    assert np.array_equal(np.isinf(values), magnitude == top - 1)
    by_code = np.where(np.isfinite(values), values, np.nan).reshape(256, 256)[:, : top - 1]
    assert np.all(np.diff(by_code, axis=1) > 0)
    # With the largest number of its block beside it, each is encoded as it was.
    for scale in range(0, 254 - (top >> 3) + 1, 7):
        own = values.reshape(256, 256)[scale].copy()
        again, its = encode(level, form, own, np.full(256, 0xFFFFFFFF, np.uint32))
        assert np.array_equal(bits_of(decode(level, form, again, its)), bits_of(own)), scale


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", BLOCKS)
def test_rounding_keeps_the_mean(form, level):
    """Each of the two neighbours of a number is taken as often as its nearness says, also below the least code."""
    sizes = np.geomspace(1, 2.0**-20 if form == "8bit_signed" else 2.0**-32, 128)
    values = np.tile(sizes, 4000).astype(np.float32)
    random = _plan.random_bits(isa.rules, 5, 0, 0, 0, values.size)
    for high in (False, True):
        decoded = decode(level, form, *encode(level, form, values, random, high)).astype(np.float64)
        means = decoded.reshape(-1, 128).mean(0)
        spread = decoded.reshape(-1, 128).std(0) / np.sqrt(4000)
        usual = sizes > (0 if form == "8bit_signed" else 2.0**-31)  # what is positive never becomes zero
        assert np.all(np.abs(means - sizes)[usual] <= 4.5 * spread[usual] + 1e-12)


@pytest.mark.parametrize("form", BLOCKS)
def test_what_a_block_of_eight_bits_keeps(form):
    def kept(values, random=0):
        values = np.asarray(values, np.float32)
        return decode(None, form, *encode(None, form, values, np.full(values.size, random, np.uint32)))

    assert not kept(np.zeros(128)).any()
    tiny = kept([1.0, 1e-30, 0.0, 3e-39])
    assert (tiny[1] > 0) == (tiny[3] > 0) == (form == "8bit_non_negative")
    assert tiny[2] == 0
    strange = kept([np.inf, np.nan, 1.0, 0.5])  # leave their neighbours alone
    assert strange[0] == np.inf
    assert np.isnan(strange[1])
    assert strange[2:].tolist() == [1.0, 0.5]
    largest = np.float32(np.finfo(np.float32).max)
    assert kept([largest], 0xFFFFFFFF)[0] == 1.625 * 2.0**127  # the largest that eight bits hold
    below = kept([-1.0, -np.inf, 1.0])
    assert below.tolist() == ([-1.0, -np.inf, 1.0] if form == "8bit_signed" else [0.0, 0.0, 1.0])


def test_bfloat16_stays_finite():
    largest = np.array([np.finfo(np.float32).max, -np.finfo(np.float32).max, np.inf, -np.inf], np.float32)
    codes, _ = encode(None, "bfloat16", largest, np.full(4, 0xFFFFFFFF, np.uint32))
    assert codes.tolist() == [0x7F7F, 0xFF7F, 0x7F80, 0xFF80]


@pytest.mark.parametrize("level", LEVELS)
def test_random_bits_are_the_references(level):
    for seed, step, array, lot in ((0, 0, 0, 0), (3, 10**12, 7, 4), (2**32 - 1, 1, 2, 1)):
        key = _plan.step_key(seed, step)
        expected = reference.random_bits(key, array, lot, 1000)
        assert np.array_equal(_plan.random_bits(isa.choose(level), key, array, lot, 0, 1000), expected)
        assert np.array_equal(_plan.random_bits(isa.choose(level), key, array, lot, 300, 100), expected[300:400])


def chi_squared(words):
    """The statistic of the four bytes of some words, each expected to be uniform over 256 values."""
    counts = [np.bincount(words >> shift & 255, minlength=256) for shift in (0, 8, 16, 24)]
    return [float((((count - words.size / 256) ** 2) / (words.size / 256)).sum()) for count in counts]


def test_random_bits_are_random():
    """Bytes, and their differences from neighbours, other steps, arrays and lots, are uniform."""
    size = 1 << 18
    of = {
        (seed, step, array, lot): reference.random_bits(_plan.step_key(seed, step), array, lot, size)
        for seed, step, array, lot in ((0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0))
    }
    first, *others = of.values()
    streams = [first, *others, *(first ^ other for other in others)]
    streams += [first[1:] ^ first[:-1], first[128:] ^ first[:-128], first >> 16 ^ (first & 0xFFFF) << 16]
    for words in streams:
        assert max(chi_squared(words)) < 360  # 255 degrees of freedom: mean 255, standard deviation 23
    by_bit = np.array([(first >> bit & 1).mean() for bit in range(32)])
    assert np.all(np.abs(by_bit - 0.5) < 0.005)
    pairs = np.corrcoef([(first >> bit & 1) for bit in range(32)])
    assert np.abs(pairs - np.eye(32)).max() < 0.01


def test_the_tables_have_the_same_rows():
    assert set(isa.rules.FORMATS) == set(reference.FORMATS) == {name for name in _plan.SIZES if name}
    assert {loop for form in FORMATS.values() for loop in (form.signed, form.non_negative)} <= set(reference.FORMATS)
    assert _plan.SIZES["8bit_signed"][2] == reference.BLOCK


@pytest.mark.parametrize(
    ("form", "codes", "beside", "message"),
    [
        ("nine bits", np.zeros(4, np.uint8), None, "no format"),
        ("bfloat16", np.zeros(4, np.uint8), None, "4 contiguous elements of 2 bytes"),
        ("bfloat16", np.zeros(4, np.uint16), np.zeros(1, np.uint8), "contiguous"),
        ("bfloat16", np.zeros(8, np.uint16)[::2], None, "contiguous"),
        ("8bit_signed", np.zeros(129, np.uint8), None, "contiguous"),
        ("8bit_signed", np.zeros(129, np.uint8), np.zeros(1, np.uint8), "2 of 1 bytes"),
        ("split", np.zeros(4, np.uint16), np.zeros(4, np.int32), "4 of 2 bytes"),
        ("bfloat16", [0, 0, 0, 0], None, "ndarray"),
    ],
)
def test_loops_get_what_they_read_and_write(form, codes, beside, message):
    with pytest.raises((ValueError, TypeError), match=message):
        _plan.decode_array(isa.rules, form, codes, beside, np.zeros(np.size(codes), np.float32))
