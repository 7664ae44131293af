"""Parquet and CSV as sources: what they give, and errors in one sentence that name file, column and row."""

import gzip
import os
import subprocess
import sys

import numpy as np
import pytest

from gdfast.tables import CSV, Arrays, Parquet, TableError
from gdfast.tables.csv_files import Reading
from gdfast.tables.hashing import slots
from gdfast.tables.reading import parquet_tables, read
from gdfast.tables.source import count_rows, needs

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(0)
N = 200
SOURCES = {"parquet": Parquet, "csv": CSV}
COLUMNS = {
    "x": RNG.normal(size=N).astype(np.float32),
    "count": RNG.integers(0, 9, N),
    "ad": RNG.integers(0, 10**6, N),
    "city": np.array(["Rome", "Paris", "Köln"])[RNG.integers(0, 3, N)],
    "y": RNG.integers(0, 2, N),
    "w": RNG.random(N),
}


def parquet(folder, name="rows.parquet", columns=COLUMNS, **how):
    pq.write_table(pa.table(columns), folder / name, **{"row_group_size": 30, **how})
    return folder / name


def csv(folder, columns=COLUMNS, name="rows.csv", sep=","):
    lines = [sep.join(columns), *(sep.join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def rows(source, seed=None, epoch=0, start=0):
    batches = list(source.open(seed).epoch(epoch, start))
    dense = [(b.X if isinstance(b.X, np.ndarray) else b.X.toarray())[b.order] for b in batches]
    found = [np.concatenate(dense), np.concatenate([b.y[b.order] for b in batches])]
    if batches[0].weights is not None:
        found.append(np.concatenate([b.weights[b.order] for b in batches]))
    return found


def standardised(column):
    return (column - column.mean()) / column.std()


@pytest.mark.parametrize("kind", [Parquet, CSV])
@pytest.mark.parametrize("sizes", [{}, {"batch_rows": 50, "mix": 3}, {"batch_rows": 7}])
def test_numbers_come_as_they_are(tmp_path, kind, sizes):
    path = parquet(tmp_path) if kind is Parquet else csv(tmp_path)
    source = kind(path, target="y", columns=["x", "count"], weight="w", **sizes)
    X, y, w = rows(source)
    np.testing.assert_allclose(X, np.stack([COLUMNS["x"], COLUMNS["count"]], axis=1), rtol=1e-6)
    np.testing.assert_array_equal(y, COLUMNS["y"])
    np.testing.assert_allclose(w, COLUMNS["w"])
    assert source.n_rows == count_rows(source) == N
    shuffled = rows(source, 3)
    assert sorted(shuffled[2]) == sorted(w)
    assert list(shuffled[2]) != list(w)
    for one, other in zip(rows(source, 3, start=77), shuffled, strict=True):
        np.testing.assert_array_equal(one, other[77:])


def test_float32_stays_so_and_a_folder_is_its_files(tmp_path):
    parquet(tmp_path, "a.parquet")
    parquet(tmp_path, "b.parquet", row_group_size=1000)
    source = Parquet(tmp_path, target="y", columns=["x"])
    batch = next(source.open().epoch(0))
    assert batch.X.dtype == np.float32
    assert source.n_rows == 2 * N
    np.testing.assert_array_equal(rows(source)[0][:, 0], np.tile(COLUMNS["x"], 2))
    described = source.describe()
    assert described["files"] == ["a.parquet", "b.parquet"]
    assert sum(described["groups"]) == 2 * N


@pytest.mark.parametrize("kind", [Parquet, CSV])
def test_words_and_codes_are_hashed_and_numbers_beside_them_standardised(tmp_path, kind):
    path = parquet(tmp_path) if kind is Parquet else csv(tmp_path)
    X, _ = rows(kind(path, target="y", categories=["ad"], hash_bits=8, batch_rows=64))
    assert X.shape == (N, 3 + 256)  # with w
    np.testing.assert_allclose(X[:, 0], standardised(COLUMNS["x"].astype(float)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(X[:, 1], standardised(COLUMNS["count"]), rtol=1e-4, atol=1e-6)
    for i in range(N):
        both = [slots(COLUMNS[name][i : i + 1].astype(object), name, 8)[0] for name in ("ad", "city")]
        expected = np.zeros(256)
        np.add.at(expected, both, 1)
        np.testing.assert_array_equal(X[i, 3:], expected)


def test_every_way_to_write_a_category_gives_the_same_matrix(tmp_path):
    columns = {"c": COLUMNS["ad"], "s": COLUMNS["city"], "y": COLUMNS["y"]}
    expected = rows(Parquet(parquet(tmp_path, columns=columns), target="y", categories=["c"], hash_bits=8))[0]
    strings = [str(code) for code in columns["c"]]
    for number, c in enumerate(
        (strings, pa.array(strings, pa.large_string()), pa.array(strings).dictionary_encode(),
         columns["c"].astype(float), pa.array(columns["c"]).dictionary_encode())
    ):  # fmt: skip
        path = parquet(tmp_path, f"{number}.parquet", {**columns, "c": c})
        found = rows(Parquet(path, target="y", categories=["c"], hash_bits=8))[0]
        np.testing.assert_array_equal(found, expected)
    X = rows(CSV(csv(tmp_path, columns), target="y", categories=["c"], hash_bits=8))[0]
    np.testing.assert_array_equal(X, expected)


def test_zeros_in_front_and_words_such_as_na_count(tmp_path):
    cells = ["007", "7", "0", "00", "NA", "None", "", "12345678901234567890"]
    columns = {"c": cells, "y": [0, 1] * 4}
    (tmp_path / "rows.csv").write_text("\n".join(["c,y", *(f"{c},{i % 2}" for i, c in enumerate(cells))]) + "\n")
    X = rows(CSV(tmp_path / "rows.csv", target="y", categories=["c"], hash_bits=16))[0]
    assert X.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 1, 0, 1]
    assert len({row.tobytes() for row in X}) == 8
    np.testing.assert_array_equal(X, rows(Parquet(parquet(tmp_path, columns=columns), target="y", hash_bits=16))[0])
    columns = {"c": ["007", "17"], "y": [0, 1]}  # all digits
    found = rows(Parquet(parquet(tmp_path, columns=columns), target="y", hash_bits=16))[0]
    assert found.argmax(axis=1).tolist() == slots(np.array(columns["c"], object), "c", 16).tolist()


def test_other_numbers(tmp_path):
    import decimal

    columns = {
        "half": pa.array(np.array([1, 2, 3], np.float16)), "decimal": pa.array([decimal.Decimal("1.5"), None, None]),
        "whole": pa.array([1, None, 3], pa.int32()), "flag": pa.array([True, False, True]),
        "nothing": pa.nulls(3), "coded": pa.array([5, 6, 5]).dictionary_encode(), "y": [0, 1, 0],
    }  # fmt: skip
    path = parquet(tmp_path, columns=columns)
    X = rows(Parquet(path, target="y", missing="fill"))[0]
    assert X.tolist() == [[1, 1.5, 1, 1, 0, 5], [2, 1.5, 2, 0, 0, 6], [3, 1.5, 3, 1, 0, 5]]
    with pytest.raises(TableError, match="column 'decimal', row 2, has no value"):
        rows(Parquet(path, target="y"))
    infinite = {"x": [np.inf, -np.inf, 1.0, 2.0], "y": [0, 1, 0, 1]}
    with pytest.raises(TableError, match="column 'x', row 1, has an infinite number"):
        rows(Parquet(parquet(tmp_path, columns=infinite), target="y"))
    large = {"x": [1e308, 1e308, 1e308, 1.0], "y": [0, 1, 0, 1]}
    assert rows(Parquet(parquet(tmp_path, columns=large), target="y"))[0][:, 0].tolist() == large["x"]
    hashed = {**large, "c": ["a", "b", "a", "b"]}
    X = rows(Parquet(parquet(tmp_path, columns=hashed), target="y", hash_bits=4))[0]
    np.testing.assert_allclose(X[:, 0], standardised(np.array([1, 1, 1, 0.0])), rtol=1e-6)


def test_texts(tmp_path):
    columns = {"t": ["good day", "bad day", None, "good"], "y": ["a", "b", "a", "b"]}
    X, y = rows(Parquet(parquet(tmp_path, columns=columns), target="y", text=["t"], hash_bits=10))
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), [1, 1, 0, 1], rtol=1e-6)
    assert X[0] @ X[1] > 0.4
    assert X[1] @ X[3] == 0
    assert y.tolist() == ["a", "b", "a", "b"]


def test_missing_values_are_filled_where_that_is_said(tmp_path):
    holed = {"x": [1.0, None, 3.0, float("nan")], "c": ["a", None, "", "b"], "y": [0, 1, 0, 1]}
    path = parquet(tmp_path, columns=holed)
    X, _ = rows(Parquet(path, target="y", columns=["x"], missing="fill"))
    np.testing.assert_array_equal(X[:, 0], [1, 2, 3, 2])
    X, _ = rows(Parquet(path, target="y", missing="fill", hash_bits=4))
    np.testing.assert_array_equal(X[:, 1:].sum(axis=1), [1, 0, 0, 1])
    np.testing.assert_allclose(X[:, 0], [-1, 0, 1, 0])


def test_packed_csv_other_separators_and_words_with_line_breaks(tmp_path):
    path = csv(tmp_path, {"x": ["1,5", "2,5"], "y": ['"one\ntwo"', "b"]}, sep=";")
    X, y = rows(CSV(path, target="y", sep=";", decimal=","))
    assert X.tolist() == [[1.5], [2.5]]
    assert y.tolist() == ["one\ntwo", "b"]
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(csv(tmp_path).read_bytes()[:-1]))  # without the last line break
    source = CSV(packed, target="y", columns=["x"])
    assert source.n_rows == len(rows(source)[1]) == N


def test_targets_of_every_type(tmp_path):
    for y in (
        pa.array([True, False, True]), pa.array([1, 2, 3], pa.uint8()), pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array(["a", "b", "ccc"]), pa.array([1.5, 2.5, 3.5], pa.float32()), pa.array(["7", "8", "9"]),
    ):  # fmt: skip
        path = parquet(tmp_path, columns={"x": [1.0, 2.0, 3.0], "y": y})
        found = rows(Parquet(path, target="y"))[1]
        assert [str(label) for label in found.tolist()] == [str(label) for label in y.to_pylist()]


BAD = [
    ({"x": [1.0, None], "y": [0, 1]}, {}, "rows.parquet: column 'x', row 2, has no value: missing='fill' takes"),
    ({"x": [1.0, np.inf], "y": [0, 1]}, {"missing": "fill"}, "column 'x', row 2, has an infinite number"),
    ({"x": [1.0, 2.0], "y": [0, None]}, {}, "column 'y', row 2, has no value, and it is the target"),
    ({"x": [1.0, 2.0], "y": [None, "a"]}, {}, "column 'y', row 1, has no value, and it is the target"),
    ({"x": [1.0, 2.0], "y": [None, True]}, {}, "column 'y', row 1, has no value, and it is the target"),
    ({"x": [1.0, 2.0], "y": [0, 1], "w": [1.0, -1.0]}, {"weight": "w"}, "column 'w', row 2, must be a weight.* -1.0"),
    ({"x": [[1.0], [2.0]], "y": [0, 1]}, {}, "column 'x' must hold numbers or words; it holds list"),
    ({"x": [1.0, 2.0], "y": [[0], [1]]}, {}, "the target, column 'y', must hold numbers or words; it holds list"),
    (
        {"x": [1.0, 2.0], "y": [0, 1]},
        {"text": ["x"]},
        "column 'x' must hold words, to be read as text; it holds double",
    ),
    ({"x": [1.0, 2.0], "y": [0, 1]}, {"columns": ["z"]}, "columns must be a column of .*, x, y; got 'z'"),
    ({"x": [1.0, 2.0], "y": [0, 1]}, {"target": "z"}, "target must be a column of .*, x, y; got 'z'"),
    ({"x": [1.0, 2.0], "y": [0, 1]}, {"weight": "z"}, "weight must be a column of"),
    ({"x": [1.0, 2.0], "y": [0, 1]}, {"categories": "x"}, "categories must be a sequence of names"),
    ({"x": [1.0, 2.0], "y": [0, 1]}, {"hash_bits": 40}, "hash_bits must be an int from 4 to 30; got 40"),
    ({"x": [1.0, 2.0], "y": [0, 1]}, {"missing": "drop"}, "missing must be 'error' or 'fill'; got 'drop'"),
    ({"y": [0, 1]}, {}, "at least one column beside the target"),
    ({"x": pa.array([], pa.float64()), "y": pa.array([], pa.int64())}, {}, "has no rows"),
]


@pytest.mark.parametrize(("columns", "how", "said"), BAD)
def test_what_is_refused(tmp_path, columns, how, said):
    path = parquet(tmp_path, columns=columns)
    with pytest.raises((TypeError, ValueError), match=said):
        rows(Parquet(path, **{"target": "y", **how}))


def test_the_row_is_counted_in_its_file(tmp_path):
    x = np.arange(100.0)
    x[70] = np.nan
    path = parquet(tmp_path, columns={"x": x, "y": np.zeros(100)}, row_group_size=13)
    for seed in (None, 1):
        with pytest.raises(TableError, match="column 'x', row 71, has no value"):
            rows(Parquet(path, target="y", batch_rows=20), seed)


def test_files_that_differ_or_are_damaged(tmp_path):
    one = parquet(tmp_path)
    other = parquet(tmp_path, "other.parquet", {**COLUMNS, "x": COLUMNS["ad"]})
    with pytest.raises(TableError, match=r"other.parquet must have the columns of .*'x' of float; got int64"):
        Parquet([one, other], target="y")
    less = parquet(tmp_path, "less.parquet", {"y": [1]})
    with pytest.raises(TableError, match="got no such column"):
        Parquet([one, less], target="y")
    twice = pa.table([pa.array([1.0]), pa.array([2.0]), pa.array([0])], names=["x", "x", "y"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(TableError, match="a different name for each column; got 'x' twice"):
        Parquet(tmp_path / "twice.parquet", target="y")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(one.read_bytes()[:-9])
    with pytest.raises(TableError, match=r"damaged.parquet cannot be read: Parquet magic bytes"):
        Parquet(damaged, target="y")
    raw = bytearray(one.read_bytes())
    source = Parquet(one, target="y", columns=["x"])
    raw[4:400] = os.urandom(396)
    one.write_bytes(raw)
    with pytest.raises(TableError, match=r"rows.parquet cannot be read"):
        rows(source)
    for paths, said in (
        ("no.parquet", "no.parquet cannot be read: no such file"),
        ([], "must name a file"),
        (7, "got 7"),
    ):
        with pytest.raises((TypeError, TableError), match=said):
            Parquet(paths, target="y")


def test_csv_that_cannot_be_used(tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(TableError, match=r"rows.csv: column 'x', .*oh"):
        _late_word(tmp_path)
    path.write_text("x,y\n1,0\n2\n")
    with pytest.raises(TableError, match=r"rows.csv cannot be read: CSV parse error"):
        CSV(path, target="y")
    path.write_text("")
    with pytest.raises(TableError, match=r"rows.csv cannot be read: Empty CSV"):
        CSV(path, target="y")
    csv(tmp_path, {"x": [1], "y": [2]})
    csv(tmp_path, {"z": [1], "y": [2]}, "other.csv")
    with pytest.raises(TableError, match=r"other.csv.* 'x'"):
        rows(CSV([path, tmp_path / "other.csv"], target="y"))
    with pytest.raises(TableError, match=r"categories must be a column of .*rows\.csv, x, y; got 'z'"):
        CSV(path, target="y", categories=["z"])
    for how, said in (({"sep": "::"}, "sep must be a single"), ({"decimal": ","}, "sep and decimal must differ")):
        with pytest.raises(ValueError, match=said):
            CSV(path, target="y", **how)


def _late_word(folder):
    """A word behind the block from which the types are inferred."""
    path = csv(folder, {"x": np.arange(900_000), "y": np.zeros(900_000, int)}, "late.csv")
    with open(path, "a") as file:
        file.write("oh,1\n")
    path.rename(folder / "rows.csv")
    rows(CSV(folder / "rows.csv", target="y"))


def test_a_row_group_without_rows_and_empty_files_among_others(tmp_path):
    schema = pa.schema([("x", pa.float64()), ("y", pa.int64())])
    some = pa.table({"x": [1.0, 2.0], "y": [0, 1]})
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for part in (some.slice(0, 0), some, some.slice(0, 0), some):
            writer.write_table(part)
    pq.write_table(some.slice(0, 0), tmp_path / "b.parquet")
    for seed in (None, 0):
        assert sorted(rows(Parquet(tmp_path, target="y"), seed)[1]) == [0, 0, 1, 1]
    (tmp_path / "a.csv").write_text("x,y\n1.5,0\n")
    (tmp_path / "b.csv").write_text("x,y\n")
    assert rows(CSV(tmp_path, target="y"))[0].tolist() == [[1.5]]


def test_what_the_system_says_of_a_file(tmp_path, monkeypatch):
    path = parquet(tmp_path)
    source = Parquet(path, target="y", columns=["x"])
    path.unlink()
    with pytest.raises(TableError, match=r"rows\.parquet cannot be read"):
        rows(source)

    parquet(tmp_path)
    for error, kind, said in (
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (OSError(5, "Input/output error"), TableError, r"rows\.parquet cannot be read: Input/output error"),
    ):

        def failing(*_, error=error, **__):
            raise error

        monkeypatch.setattr(pq, "ParquetFile", failing)
        with pytest.raises(kind, match=said):
            rows(source)


def test_a_package_that_is_not_there_is_named_with_the_extra():
    with pytest.raises(ImportError, match=r'CSV needs pyarrow, .* pip install "gdfast\[stream\]"'):
        needs("pyarrow_that_is_not_there", "CSV")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import gdfast.tables as t\n"
        "for kind in (t.Parquet, t.CSV):\n"
        "    try: kind('x', target='y')\n"
        "    except ImportError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.count('needs pyarrow, which is not installed: pip install "gdfast[stream]"') == 2


@pytest.mark.parametrize("kind", ["parquet", "csv", "npy"])
@pytest.mark.parametrize("moment", ["before", "between"])
def test_files_that_change_are_refused(tmp_path, kind, moment):
    def write(columns):
        if kind == "npy":
            np.save(tmp_path / "rows.npy", columns["w"][:, None])
            return tmp_path / "rows.npy"
        return parquet(tmp_path, columns=columns) if kind == "parquet" else csv(tmp_path, columns)

    path = write(COLUMNS)
    source = Arrays(path, COLUMNS["y"], batch_rows=80) if kind == "npy" else SOURCES[kind](path, target="y")
    pieces = source.read(0, 10)
    if moment == "between":
        next(pieces)
    write({**COLUMNS, "w": COLUMNS["w"] + 0.5})
    with pytest.raises(TableError, match=rf"{path.name} has changed since the source was made"):
        list(pieces)


def test_altered_bytes_of_a_page_with_a_checksum_are_refused(tmp_path):
    path = parquet(tmp_path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = path.read_bytes()
    at = data.index(COLUMNS["x"][:8].tobytes())
    path.write_bytes(data[:at] + b"\x00" * 8 + data[at + 8 :])
    with pytest.raises(TableError, match=r"rows.parquet cannot be read: .*(checksum|CRC)"):
        rows(Parquet(path, target="y", columns=["x"]))
    with pytest.raises(TableError, match=r"rows.parquet cannot be read: .*(checksum|CRC)"):
        list(parquet_tables(str(path), Reading()))
    with pytest.raises(TableError, match=r"rows.parquet cannot be read: .*(checksum|CRC)"):
        read(str(path))
