"""Columns as rows: Arrow's transposed, hashed ones in CSR; the memory of matrices, used again."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack

from gdfast.engine import _columns, _linear
from gdfast.tables.arrow import Recycled
from gdfast.tables.batches import Batch, joined, joined_and_emptied, mixed_groups

pa = pytest.importorskip("pyarrow")

RNG = np.random.default_rng(0)


def transposed(columns, out, **given):
    batch = pa.record_batch([pa.array(column, **given) for column in columns], [f"x{i}" for i in range(len(columns))])
    return _columns.rows_of_columns(batch.__arrow_c_array__()[1], out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (16, 4), (15, 3), (17, 5), (33, 8), (100, 37), (1001, 301), (5003, 9)]
)
def test_columns_become_rows(dtype, rows, columns):
    X = RNG.standard_normal((rows, columns)).astype(dtype)
    out = np.full_like(X, np.nan)
    assert transposed(list(X.T), out)
    np.testing.assert_array_equal(out, X)


def test_a_part_of_a_batch_begins_where_it_should():
    X = RNG.standard_normal((50, 6)).astype(np.float32)
    part = pa.record_batch(list(map(pa.array, X.T)), list("abcdef")).slice(7, 20)
    out = np.empty((20, 6), np.float32)
    assert _columns.rows_of_columns(part.__arrow_c_array__()[1], out)
    np.testing.assert_array_equal(out, X[7:27])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (31, 8), (32, 2), (5, 3)])
def test_numbers_that_are_not_finite_are_told(dtype, bad, place):
    X = np.full((33, 9), np.finfo(dtype).max, dtype)
    assert transposed(list(X.T), np.empty_like(X))  # a sum of these would be infinite
    X[place] = bad
    assert not transposed(list(X.T), np.empty_like(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_that_is_not_finite_is_told_wherever_it_is(dtype):
    X = RNG.standard_normal((83, 7)).astype(dtype)  # with rows and columns left over
    for row, column in np.ndindex(*X.shape):
        bad = X.copy()
        bad[row, column] = np.nan
        assert not transposed(list(bad.T), np.empty_like(X))


def test_missing_cells_are_told():
    assert not transposed([[1.0, None], [2.0, 3.0]], np.empty((2, 2)), type=pa.float64())


def test_no_rows_and_another_shape():
    assert transposed([[], []], np.empty((0, 2)), type=pa.float64())
    with pytest.raises(ValueError, match=r"out must have shape \(2, 1\); got \(1, 2\)"):
        transposed([[1.0, 2.0]], np.empty((1, 2)))


@pytest.mark.parametrize("columns", [0, 1, 8, 60])
def test_hashed_columns_follow_the_numbers(columns):
    numbers = RNG.standard_normal((40, 3)).astype(np.float32)
    numbers[RNG.random(numbers.shape) < 0.3] = 0.0
    places = RNG.integers(-1, 6 if columns == 8 else 1000, (columns, 40)).astype(np.int32)
    dense = np.zeros((40, 1000), np.float32)
    for column in places:
        there = np.flatnonzero(column >= 0)
        dense[there, column[there]] += 1.0
    expected = hstack([csr_matrix(numbers), csr_matrix(dense)], format="csr")
    found = _columns.csr_of_columns(numbers, places)
    for one, other in zip(found, (expected.data, expected.indices, expected.indptr), strict=True):
        np.testing.assert_array_equal(one, other)


def test_places_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="places must have 2 rows; got 3"):
        _columns.csr_of_columns(np.zeros((2, 1), np.float32), np.zeros((1, 3), np.int32))


def test_the_moments_of_columns_count_rows_by_their_weights():
    X = csr_matrix(np.array([[1.0, 0.0, 3.0], [2.0, 0.0, 1e300], [4.0, 0.0, -5.0]]))
    X.data[0] = 0.0  # stored, and zero
    weights, inv_largest = np.array([1.0, 0.0, 2.0]), np.array([0.5, 1.0, 1.0])
    found = _linear.moments_of_columns(X.data, X.indices, X.indptr, weights, inv_largest)
    np.testing.assert_array_equal(found, [[2.0, 0.0, 3.0], [4.0, 0.0, -7.0], [8.0, 0.0, 59.0]])


def test_memory_is_used_again_once_nobody_has_it():
    memory = Recycled()
    first = memory.matrix((4, 3), np.float32)
    address, view = first.ctypes.data, first[1:].T[0]
    del first
    second = memory.matrix((4, 3), np.float32)
    assert not np.shares_memory(second, view)
    del view
    third = memory.matrix((2, 2), np.float64)
    assert third.ctypes.data == address
    assert third.shape == (2, 2)
    del third
    assert memory.matrix((100, 3), np.float64).shape == (100, 3)  # too much for it
    assert memory.matrix((0, 3), np.float64).shape == (0, 3)


def batch(X):
    return Batch(X, np.arange(len(X)), None, np.arange(len(X))[::-1])


def test_batches_are_joined_and_only_emptied_where_it_says_so():
    batches = [batch(np.ones((2, 3), np.float32)), batch(np.arange(6.0).reshape(2, 3))]
    found = joined(batches)
    assert len(batches) == 2
    np.testing.assert_array_equal(found.X, [[1, 1, 1], [1, 1, 1], [3, 4, 5], [0, 1, 2]])
    assert found.X.dtype == np.float64
    np.testing.assert_array_equal(joined_and_emptied(batches).X, found.X)
    assert batches == []
    with pytest.raises(ValueError, match="wrong shape"):
        joined([batch(np.ones((2, 3))), batch(np.ones((2, 1)))])


def test_an_error_of_one_group_comes_when_the_others_have_been_read():
    closed = []

    def read(group, rows):
        try:
            yield np.arange(rows)
            if group == 1:
                raise OSError("gone")
            yield np.arange(rows)
        finally:
            closed.append(group)

    found = mixed_groups(read, [4, 4, 4], 6, seed=0, epoch=0, mix=3)
    assert len(next(found)[0]) == 3
    with pytest.raises(OSError, match="gone"):
        next(found)
    assert sorted(closed) == [0, 1, 2]
