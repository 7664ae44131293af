"""Digits that are codes, and columns from which the target can be computed."""

from pathlib import Path

import numpy as np
import pytest

from gdfast.tables.csv_files import Reading
from gdfast.tables.leaks import determining, dividing
from gdfast.tables.reading import read


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(text, **options):
    Path("a.csv").write_text(text)
    return read("a.csv", Reading(**options))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["01", "02", "10"], ["01", "02", "10"]),
        (["01", "", "10"], ["01", None, "10"]),
        (["01", "?", "10"], ["01", "?", "10"]),
        (['"00"', '"7"', '"7"'], ["00", "7", "7"]),
        (["0" * 30 + "1", "2", "3"], ["0" * 30 + "1", "2", "3"]),
    ],
)
def test_digits_behind_a_zero_are_codes(cells, expected):
    found = table("x,y\n" + "\n".join(f"{cell},{i}" for i, cell in enumerate(cells)))
    assert found.columns["x"].tolist() == expected
    assert found.columns["y"].dtype.kind == "i"
    code = next(cell for cell in expected if cell and cell[0] == "0")
    assert found.notes == [
        f"'x' holds codes, such as '{code}': read as words, not as numbers (--number 'x': as numbers)."
    ]
    assert found.problems == {}


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (",y,text", {"y": [1, 2]}),  # row numbers, which are left out
        (" ,y,text", {"y": [1, 2]}),
        ("x,,text", {"x": ["00", "01"], "Unnamed: 1": [1, 2]}),
        ("x,x,text", {"x": ["00", "01"], "x.1": [1, 2]}),
        ("x.1,x,text", {"x.1": ["00", "01"], "x": [1, 2]}),
    ],
)
@pytest.mark.parametrize("texts", [[], ["text"]])
def test_codes_under_names_that_pandas_gives(head, expected, texts):
    found = table(f"{head}\n00,1,a 07\n01,2,b 07\n", texts=texts)
    assert {name: column.tolist() for name, column in found.columns.items()} == expected | {"text": ["a 07", "b 07"]}


@pytest.mark.parametrize("cells", [["0", "10", "2"], ["0.5", "01", "2"], ["-01", "1", "2"], ["0", "", "0"]])
def test_other_zeros_are_numbers(cells):
    found = table("x,y\n" + "\n".join(f"{cell},07" for cell in cells))
    assert found.columns["x"].dtype.kind in "if"


def test_the_user_or_a_model_may_say_that_they_are_numbers():
    text = "x,y\n01,1\n02,2\n?,3"
    np.testing.assert_array_equal(table(text, numbers=["x"]).columns["x"], [1, 2, np.nan])
    text = "x,y\n01,1\n02,2"
    assert table(text, numbers=["x"]).columns["x"].tolist() == [1, 2]


def test_codes_beside_decimal_commas():
    found = table("x;y;z\n01;1,5;1.5\n02;2,5;3")
    assert [column.tolist() for column in found.columns.values()] == [["01", "02"], [1.5, 2.5], [1.5, 3.0]]


def test_whole_numbers_with_a_gap_leave_the_decimal_sign_open():
    np.testing.assert_array_equal(table("x,y\n1,a\n?,b\n3,a").columns["x"], [1, np.nan, 3])


RNG = np.random.default_rng(0)
Y = RNG.standard_normal(100)
KINDS = RNG.integers(0, 3, 100)


@pytest.mark.parametrize(
    ("column", "y", "expected"),
    [
        (3 - 2 * Y, Y, True),
        (Y + 0.1 * RNG.standard_normal(100), Y, False),
        (np.array(["a", "b", "c"], object)[KINDS], KINDS / 2, True),
        (np.array(["a", "b", "c"], object)[KINDS], KINDS / 2 + Y, False),
        (KINDS**2 % 4, KINDS, False),
        (5 - KINDS, KINDS, True),
        (KINDS + RNG.random(100), KINDS, True),
        (KINDS + 1.5 * RNG.random(100), KINDS, False),
        (np.array([f"w{i}" for i in range(100)], object), KINDS, False),  # each word once: it says nothing
        (np.where(np.arange(100) < 60, np.nan, KINDS), KINDS, False),
        (np.where(np.arange(100) < 10, np.nan, KINDS), KINDS, True),
        (np.array("2026-01-01", "M8[D]") + np.arange(100), 24.0 * np.arange(100), True),
        (KINDS > 0, KINDS > 0, True),
        (np.zeros(100), np.ones(100), False),
        (np.zeros(100), Y, False),
        (np.full(100, 1e300) * (Y > 0), Y, False),
    ],
)
def test_a_column_that_determines_the_target(column, y, expected):
    assert determining({"it": column}, y, y.dtype.kind in "ib") == ["it"] * expected


LOW = np.arange(400) % 3 == 0
AMOUNT = np.where(LOW, 0.0, 1 + RNG.random(400))
NEARLY = AMOUNT.copy()
NEARLY[np.flatnonzero(~LOW)[:5]] = 0.0


@pytest.mark.parametrize(
    ("column", "y", "share"),
    [
        (np.where(LOW, 2400.0, 2500.0) + RNG.random(400), LOW, 1.0),
        (np.where(LOW, 2400.0, 2500.0) + RNG.random(400), np.where(LOW, "yes", "no"), 1.0),
        (AMOUNT, LOW, 1.0),
        (-AMOUNT, LOW, 1.0),
        (NEARLY, LOW, 1 - 5 / (~LOW).sum()),
        (np.where(np.arange(400) % 4 == 1, np.nan, AMOUNT), LOW, 1.0),
        (np.where(np.arange(400) % 4, np.nan, AMOUNT), LOW, None),  # most are missing
        (np.where(np.arange(400) < 20, -AMOUNT, AMOUNT), LOW, None),  # some rows on either side
        (NEARLY[:60], LOW[:60], None),  # nearly, and few rows
        (AMOUNT[:60], LOW[:60], 1.0),
        (AMOUNT[:20], LOW[:20], None),
        (np.zeros(400), LOW, None),
        (RNG.random(400), LOW, None),
        (np.where(LOW, "a", "b").astype(object), LOW, None),  # words are `determining`'s
        (np.datetime64("2026-01-01") + np.where(LOW, 0, 5).astype("m8[D]"), LOW, 1.0),
        (np.arange(400.0), np.arange(400) // 100, None),  # four classes
        (LOW, LOW, 1.0),
    ],
)
def test_a_column_of_which_a_bound_divides_two_classes(column, y, share):
    assert dividing({"it": column}, y) == ({} if share is None else {"it": pytest.approx(share, abs=1e-12)})
