"""Hashes of cells: the same for the same cell however it is written, spread evenly, and the same for ever."""

import numpy as np
import pytest

from gdfast.tables.encoding import Encoder
from gdfast.tables.hashing import INSERTED, Coded, hashes, slots, slots_of_rows
from gdfast.tables.parts import Hashed, Numbers
from gdfast.tables.table import Table


def column(*cells):
    return np.array(cells, object)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([1, -2, 2**62]), column("1", "-2", str(2**62))),
        (np.array([2**64 - 1], np.uint64), column(str(2**64 - 1))),
        (np.array([1.0, -2.0]), column("1", -2)),
        (np.array([1, 2], np.int8), np.array([1, 2], np.uint64)),
        (np.array([True, False]), column("True", "False")),
        (column("a", None, "b", ""), Coded(["b", "a"], np.array([1, -1, 0, -1]))),
        (np.array([np.nan, 1.5]), column(None, "1.5")),
    ],
)
def test_the_same_cell_has_the_same_number(one, other):
    np.testing.assert_array_equal(slots(one, "c", 20), slots(other, "c", 20))


def test_other_cells_and_other_columns_have_other_numbers():
    cells = column(
        "a", "b", "ab", "ba", "aa", "A", "1", "01", "001", "-0", "01x", "1.5", "é", str(2**64), str(-(2**63) - 1)
    )
    found = slots(cells, "c", 30)
    assert len(set(found.tolist())) == len(cells)
    assert not set(found.tolist()) & set(slots(cells, "d", 30).tolist())


def test_numbers_are_spread_like_drawn_ones():
    for cells in (np.arange(100_000), column(*(f"w{i}" for i in range(100_000)))):
        counts = np.bincount(slots(cells, "c", 10), minlength=2**10)
        assert counts.min() > 55  # 97.7 on average, deviation 9.9
        assert counts.max() < 140


def test_numbers_stay_the_same_for_ever():
    """Models are kept: these numbers are part of the format."""
    cells = column("a", "b", "abc", 17, 2.5, "é")
    assert slots(cells, "c", 20).tolist() == [783680, 604481, 881048, 799501, 463456, 198834]
    assert slots(np.array([17]), "c", 20).tolist() == [799501]


def test_no_words_and_missing_ones():
    assert hashes([]).shape == (0,)
    assert slots(column(None, "", float("nan")), "c", 20).tolist() == [-1, -1, -1]
    assert slots(column(), "c", 20).shape == (0,)


def test_a_matrix_of_categories_and_texts():
    table = Table({"a": column("x", None, "y"), "b": np.array([1, 2, 3]), "t": column("one two", "two", None)})
    matrix = Hashed(["a", "b"], ["t"], 12).encode(table, True)
    assert matrix.shape == (3, 2**12)
    assert matrix.has_canonical_format
    assert np.asarray(matrix.sum(axis=1)).ravel() == pytest.approx([2 + 2**0.5, 2, 2])
    coded = Table({**table.columns, "t": Coded(["two", "one two"], np.array([1, 0, -1]))})
    assert (Hashed(["a", "b"], ["t"], 12).encode(coded, True) != matrix).nnz == 0


def test_an_encoder_with_hashed_columns_as_plain_data():
    encoder = Encoder((Numbers(["x"], np.zeros(1), np.ones(1)), Hashed(["a"], ["t"], 4)))
    again = Encoder.from_data(encoder.to_data())
    assert again.feature_names == ["x", *["a, t"] * 16]
    assert (again.names, again.texts, again.is_sparse) == (["x", "a", "t"], ["t"], True)
    for categories, bits in ((["a"], 31), ("a", 4), (["a"], 4.0)):
        with pytest.raises(ValueError, match="of kind 'hashed' is invalid"):
            Hashed(categories, [], bits)
    table = Table({"x": np.array([1.0]), "a": column("one"), "t": column("two words")})
    assert again.encode(table).dtype == np.float32


def test_two_categories_that_meet_count_both():
    names = [f"c{i}" for i in range(40)]  # in 16 columns
    matrix = Hashed(names, [], 4).encode(Table({name: np.array([5, 6]) for name in names}), True)
    assert np.asarray(matrix.sum(axis=1)).ravel().tolist() == [40, 40]
    assert matrix.has_canonical_format


def test_many_cells_of_a_row_come_in_order():
    columns = {f"c{i}": np.arange(5) + i for i in range(INSERTED + 1)}
    found = slots_of_rows(columns, 5, 20)
    expected = np.array([slots(cells, name, 20) for name, cells in columns.items()])
    np.testing.assert_array_equal(found, np.sort(expected, axis=0))
    few = dict(list(columns.items())[:3])
    np.testing.assert_array_equal(slots_of_rows(few, 5, 20), expected[:3])
