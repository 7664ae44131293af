"""Columns and weights that are other than the first rows let expect: an error, or the right answer."""

import numpy as np
import pytest

from gdfast.sklearn import GDClassifier, GDRegressor, _streaming
from gdfast.tables import CSV, Parquet, TableError, source

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(0)
N = 400
X = RNG.normal(size=N)
Z = RNG.normal(size=N)
Y = (X > 0).astype(int)


@pytest.fixture
def beyond(monkeypatch):
    """A memory of 100 rows."""
    for module in (source, _streaming):
        monkeypatch.setattr(module, "STATISTICS_ROWS", 100)


def written(folder, **columns):
    path = folder / "rows.parquet"
    parquet.write_table(pa.table({"x": X, "y": Y, **columns}), path, row_group_size=100)
    return path


def fitted(path, model=GDClassifier, **how):
    return model(max_iter=3, shuffle=False).fit(Parquet(path, target="y", batch_rows=50, **how))


LATER = {
    "floats": [None] * 200 + list(1e6 + Z[200:]),
    "whole numbers": [None] * 200 + [7] * 200,
    "bools": [None] * 200 + [True, False] * 100,
}


@pytest.mark.parametrize("name", LATER)
@pytest.mark.parametrize("hashed", [False, True])
def test_numbers_that_begin_after_the_first_rows(tmp_path, beyond, name, hashed):
    more = {"c": pa.array(["a", "b"] * 200)} if hashed else {}
    path = written(tmp_path, z=pa.array(LATER[name]), **more)
    with pytest.raises(TableError, match="column 'z', row 201, has a value, and the first rows have none to take the"):
        fitted(path, missing="fill")
    assert np.isfinite(fitted(path, missing="fill", statistics="all").coef_).all()


def test_a_column_without_any_value_has_no_coefficient(tmp_path, beyond):
    for empty in (pa.nulls(N), pa.nulls(N, pa.float64())):
        assert fitted(written(tmp_path, z=empty), missing="fill").coef_[0, 1] == 0


def test_infinite_numbers_are_said_to_be_infinite(tmp_path, beyond):
    with pytest.raises(TableError, match="column 'z', row 1, has an infinite number"):
        fitted(written(tmp_path, z=np.full(N, np.inf)), missing="fill")


def test_categories_that_come_later_have_coefficients(tmp_path, beyond):
    later = pa.array(["a"] * 300 + ["b", "c"] * 50)
    for cells in (later, later.dictionary_encode()):
        model = fitted(written(tmp_path, c=cells), hash_bits=6)
        assert np.count_nonzero(model.coef_) == 4


@pytest.mark.parametrize("model", [GDClassifier, GDRegressor])
@pytest.mark.parametrize("statistics", ["first", "all"])
def test_weights_far_above_the_first(tmp_path, beyond, model, statistics):
    w = np.r_[np.full(200, 1e-200), np.ones(200)]
    with pytest.raises(ValueError, match="the weights of rows must not be far above those of"):
        fitted(written(tmp_path, w=w), model, weight="w", statistics=statistics)


@pytest.mark.parametrize("at", [3, 333])
def test_targets_without_a_value(tmp_path, beyond, at):
    words = [None if i == at else "ab"[v] for i, v in enumerate(Y)]
    for cells, model in ((np.where(np.arange(N) == at, np.nan, X), GDRegressor), (pa.array(words), GDClassifier)):
        with pytest.raises(TableError, match=f"column 'y', row {at + 1}, has no value, and it is the target"):
            fitted(written(tmp_path, y=cells), model, missing="fill")


def test_weights_of_zero_are_no_rows(tmp_path):
    w = np.r_[np.ones(200), np.zeros(200)]
    model = GDClassifier(shuffle=False).fit(Parquet(written(tmp_path, w=w), target="y", weight="w"))
    expected = GDClassifier().fit(X[:200, None], Y[:200])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)


def test_row_groups_without_rows(tmp_path, beyond):
    path, table = tmp_path / "gaps.parquet", pa.table({"x": X, "y": Y})
    with parquet.ParquetWriter(path, table.schema) as file:
        for part in (table[:0], table[:0], table[:200], table[:0], table[200:], table[:0]):
            file.write_table(part)
    model = fitted(path)
    parquet.write_table(table, path, row_group_size=200)
    expected = fitted(path)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_a_file_without_its_middle(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("gdfast.tables.parquet.FOOTER_BYTES", kept)
    path = written(tmp_path, z=Z)
    np.testing.assert_array_equal(fitted(path).classes_, [0, 1])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3] + data[len(data) // 2 :])
    with pytest.raises(TableError, match=r"rows\.parquet cannot be read"):
        fitted(path)


@pytest.mark.parametrize(
    ("end", "said"),
    [("0.1,0.2", "Expected 3 columns, got 2"), ("0.1,0.2,", "has no value"), ('0.1,"0.2', "Expected 3 columns")],
)
def test_csv_that_ends_in_a_row(tmp_path, end, said):
    rows = [f"{x},{z},{y}" for x, z, y in zip(X, Z, Y, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,z,y", *rows, end]))
    with pytest.raises(TableError, match=said):
        GDClassifier().fit(CSV(tmp_path / "rows.csv", target="y"))


def test_another_type_in_another_csv_file(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in zip(X, Y, strict=True)))
    (tmp_path / "b.csv").write_text("x,y\nhello,1\n")
    with pytest.raises(TableError, match=r"b\.csv: column 'x', line 2: .*invalid value 'hello'"):
        GDClassifier().fit(CSV(tmp_path, target="y"))
