"""Which columns are left out, and what dates become."""

import numpy as np
import pytest

from gdfast.tables import dates
from gdfast.tables.choosing import left_out, suspects, too_many
from gdfast.tables.encoding import Encoder
from gdfast.tables.errors import TableError
from gdfast.tables.missing import apply_missing_policy
from gdfast.tables.parts import Category, Dates, mean_and_deviation
from gdfast.tables.table import Table

ROWS = 40
MIXED = np.random.default_rng(0).permutation(ROWS)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.arange(ROWS), "numbers the rows"),
        (np.arange(ROWS)[::-1], "numbers the rows"),
        (np.arange(ROWS) ** 3, "numbers the rows"),
        (MIXED + 1000, "numbers the rows"),
        (np.full(ROWS, 7), "is always 7 (--keep 'x' takes it)"),
        (np.full(ROWS, "a", object), "is always 'a' (--keep 'x' takes it)"),
        (np.full(ROWS, np.nan), "is empty"),
        (np.full(ROWS, None, object), "is empty"),
        (np.full(ROWS, np.datetime64("NaT"), "M8[s]"), "is empty"),
        (np.array([f"w{i}" for i in range(ROWS)], object), "has 40 different words in every row (--text 'x'"),
        (np.array([f"w{i}" for i in range(ROWS - 1)] + [None], object), "has 39 different words in 40 rows"),
        (MIXED**3, None),
        (np.arange(ROWS) / 2, None),
        (np.arange(ROWS) * 1.0, None),
        (np.arange(ROWS) % 2 == 0, None),
        (np.array(["a", None] * 20, object), None),
        (np.array(["a", "b"] * 20, object), None),
        (np.array([[1]] * ROWS + [None], object)[:ROWS], None),
        (np.arange(5), None),
    ],
)
def test_columns_that_teach_nothing(column, said):
    found = left_out({"x": column})
    if said is None:
        assert found == {}
    else:
        assert found["x"].startswith(f"'x' {said}")
        assert found["x"].endswith(": left out")
        assert (left_out({"x": column}, ["x"]) != {}) == (said == "is empty")


def test_many_words_are_categories_if_they_come_back():
    assert not too_many(20, 20)
    assert too_many(21, 40)
    assert not too_many(1000, 2000)
    assert too_many(21_350, 48_620)
    assert not too_many(4_000, 300_000)


def test_ids_that_are_kept_are_named():
    assert "different whole number in every row" in suspects({"x": MIXED**3})[0]
    assert "rises from row to row" in suspects({"x": np.arange(ROWS * 2) // 2})[0]
    assert suspects({"x": MIXED**3}, ["x"]) == suspects({"x": MIXED % 7}) == suspects({"x": MIXED / 2}) == []


def test_dates_become_the_parts_that_differ():
    days = np.array(["2026-01-05T12", "2026-01-07T12", "2027-03-01T12", "NaT"], "M8[s]")
    table = Table({"t": days}, dates={"t": "ISO8601"})
    encoder = Encoder.learn(table)
    assert encoder.feature_names == ["t.year", "t.month", "t.weekday", "t.days"]
    matrix = encoder.encode(table)
    np.testing.assert_allclose(matrix[:3, :3], [[2026, 1, 0], [2026, 1, 2], [2027, 3, 0]])
    np.testing.assert_allclose(matrix[3], matrix[:3].mean(axis=0))
    assert isinstance(Encoder.from_data(encoder.to_data()).parts[0], Dates)
    assert encoder.reading().dates == {"t": "ISO8601"}
    with pytest.raises(TableError, match="column 't' must hold dates, as in training; got 'soon'"):
        encoder.encode(Table({"t": np.array(["soon"], object)}))
    assert dates.parts_of(days)["hour"][0] == 12


def test_categories_however_they_are_written():
    part = Category("x", ["1", "True", "a"])
    cells = np.array(["1.0", 1.0, 1, "TRUE", True, "b", "2.00"], object)
    assert part.codes(Table({"x": cells})).tolist() == [0, 0, 0, 1, 1, -1, -1]
    encoder = Encoder.learn(Table({"x": np.arange(30) % 3}), categories=["x"])
    assert encoder.feature_names == ["x=0", "x=1", "x=2"]
    assert encoder.reading().categories == ["x"]


def test_all_problems_are_said_at_once():
    gap = np.array([1.0, np.nan, np.inf])
    with pytest.raises(TableError) as error:
        apply_missing_policy(Table({"a": gap, "b": gap}), ["a", "b"], "error")
    assert str(error.value).count("\n") == 2
    assert "--category" not in str(error.value)
    words = Table({"w": np.array(["x", None], object)})
    with pytest.raises(TableError, match="--category 'w' reads NA and None there as words"):
        apply_missing_policy(words, ["w"], "error")


def test_gaps_in_the_target_and_in_the_features_are_apart():
    table = Table({"x": np.array([1, np.nan, 3, 4]), "y": np.array([1, 2, np.nan, 4])})
    found = apply_missing_policy(table, ["x"], "fill", "y", target_policy="drop")
    assert found.columns["y"].tolist() == [1, 2, 4]
    with pytest.raises(TableError, match="--missing-target drop"):
        apply_missing_policy(table, ["x"], "fill", "y")
    with pytest.raises(TableError, match="'y' has 1 missing value"):
        apply_missing_policy(table, [], "fill", None, strict=["y"])


def test_a_column_without_numbers_has_mean_and_deviation_zero():
    assert mean_and_deviation(np.array([np.nan, np.nan])) == (0.0, 0.0)
    assert mean_and_deviation(np.array([1.0, np.nan, 3.0])) == (2.0, 1.0)
