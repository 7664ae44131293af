"""Where arrays are cut: at whole blocks of the norm and of the formats, whatever an element takes in memory."""

import numpy as np
import pytest

pytest.importorskip("mpi4py", reason="needs mpi4py and an MPI", exc_type=ImportError)
from gdfast.arrays.formats import BLOCK
from gdfast.engine import _reduce
from gdfast.mpi.cutting import Bucket, Part, cut

SIZES = (200_000, 0, 1, 65_536, 65_537, 4_999, 3)
DTYPES = ("f2", "f4", "f8")


def arrays(dtypes):
    return [np.zeros(size, dtypes[i % len(dtypes)]) for i, size in enumerate(SIZES)]


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("dtypes", [("f2",), ("f4",), ("f8",), DTYPES])
def test_slices_are_whole_blocks_and_everything_is_in_one(n_ranks, dtypes):
    given = arrays(dtypes)
    places = cut(given, [False] * len(given), n_ranks)
    for i, array in enumerate(given):
        starts, stops = zip(*(places.slice_of(i, rank) for rank in range(n_ranks)), strict=True)
        assert starts[0] == 0
        assert stops[-1] == array.size
        assert starts[1:] == stops[:-1]
        assert all(stop % _reduce.BLOCK == 0 or stop == array.size for stop in stops)
    assert _reduce.BLOCK % BLOCK == 0


@pytest.mark.parametrize("n_bytes", [1, 64, 511, 513, 4096, 4 << 20])
@pytest.mark.parametrize("dtypes", [("f2",), ("f8",), DTYPES])
def test_buckets_begin_at_blocks_of_the_formats(n_bytes, dtypes):
    given = arrays(dtypes)
    places = cut(given, [False] * len(given), 3, in_blocks=True)
    for rank in range(3):
        buckets = places.buckets(rank, n_bytes)
        parts = [part for bucket in buckets for part in bucket.parts]
        for i, array in enumerate(given):
            mine = [part for part in parts if part.array == i]
            assert [part.start for part in mine[1:]] == [part.stop for part in mine[:-1]]
            assert sum(part.size for part in mine) == np.subtract(*places.slice_of(i, rank)[::-1])
            assert all(part.start % BLOCK == 0 and 0 < part.stop <= array.size for part in mine)
        assert all(len(bucket.parts) == 1 or bucket.n_bytes(places.dtypes) <= n_bytes for bucket in buckets)
        assert all(bucket.n_bytes(places.dtypes) <= max(n_bytes, 8 * BLOCK) for bucket in buckets)


def test_without_blocks_a_bucket_can_be_an_element():
    given = [np.zeros(1000), np.zeros(3, "f4")]
    buckets = cut(given, [False, False], 1).buckets(0, 24)
    assert [part.size for bucket in buckets for part in bucket.parts] == [3] * 333 + [1, 3]
    assert all(bucket.n_bytes(cut(given, [False, False], 1).dtypes) <= 24 for bucket in buckets)
    assert len(cut(given, [False, False], 1).buckets(0, 1)) == 1003


def test_short_arrays_are_cut_as_what_is_computed_from_them():
    short, full = np.zeros(300_000, "f2"), np.zeros(300_000, "f4")
    assert cut([short], [False], 3) == cut([full], [False], 3)
    assert cut([short, full], [False, False], 2).bounds == ((0, 300_000, 300_000), (0, 0, 300_000))


def test_a_message_has_the_bytes_of_its_own_dtypes():
    bucket = Bucket((Part(0, 0, 5), Part(1, 128, 131), Part(0, 5, 7)))
    for dtypes, expected in (((np.dtype("f2"), np.dtype("f4")), 16 + 16 + 8), ((np.dtype("f4"),) * 2, 24 + 16 + 8)):
        assert bucket.n_bytes(dtypes) == expected
        message = np.zeros(expected, np.uint8)
        parts = bucket.unpacked(message, dtypes)
        assert [(part.dtype, part.size) for part in parts] == [(dtypes[0], 5), (dtypes[1], 3), (dtypes[0], 2)]
        for number, part in enumerate(parts):
            part[...] = number + 1
        assert [part.tolist() for part in parts] == [[1.0] * 5, [2.0] * 3, [3.0] * 2]
