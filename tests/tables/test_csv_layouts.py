"""CSV sources of any separator, decimal sign, encoding and packing; what cannot be read is said."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

from gdfast.tables import CSV, TableError, csv_layout
from gdfast.tables.csv_blocks import csv_tables
from gdfast.tables.csv_files import Reading

pytest.importorskip("pyarrow")

N = 3000
X = np.round(np.random.default_rng(0).normal(size=N), 4)
CITY = np.array(["Köln", "Fès"])[(X > 0).astype(int)]


def text(sep=",", decimal="."):
    cells = (str(x).replace(".", decimal) for x in X)
    return f"x{sep}city\n" + "".join(f"{cell}{sep}{city}\n" for cell, city in zip(cells, CITY, strict=True))


def both(path, **how):
    """What the source and the reader of blocks say of a file."""
    batches = list(CSV(path, target="city", **how).open().epoch(0))
    y = np.concatenate([batch.y for batch in batches])
    tables = list(csv_tables(str(path), Reading(**how), 5000))
    columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in ("x", "city")}
    np.testing.assert_array_equal(columns["city"], y)
    found = np.concatenate([batch.X[:, 0] for batch in batches])
    np.testing.assert_array_equal(columns["x"], found)
    return found, y


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize(("sep", "decimal"), [(",", "."), (";", ","), ("\t", "."), ("|", ",")])
def test_what_is_found_out(tmp_path, encoding, sep, decimal):
    path = tmp_path / "rows.csv"
    path.write_bytes(text(sep, decimal).encode(encoding))
    found, y = both(path)
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(y, CITY)


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_packed_files_by_any_name(tmp_path, pack, name):
    path = tmp_path / name
    packed = pack.compress(text(";", ",").encode("utf-16"))
    path.write_bytes(packed)
    np.testing.assert_array_equal(both(path)[0], X)
    path.write_bytes(packed[: len(packed) // 2])
    for read in (
        lambda: list(CSV(path, target="city").open().epoch(0)),
        lambda: list(csv_tables(str(path), Reading())),
    ):
        with pytest.raises(TableError, match=r"rows\.csv"):
            read()


def test_what_is_said_is_taken(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(text(":", ",").encode("mac-roman"))
    found, y = both(path, sep=":", decimal=",", encoding="mac-roman")
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(y, CITY)


def test_a_character_at_the_border_of_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_layout, "HEAD", text().encode().index("ö".encode()) + 1)
    (tmp_path / "rows.csv").write_text(text(), encoding="utf-8")
    np.testing.assert_array_equal(both(tmp_path / "rows.csv")[1], CITY)


def test_another_encoding_far_from_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_layout, "HEAD", 7)
    path = tmp_path / "rows.csv"
    path.write_bytes(text().encode("cp1252"))
    with pytest.raises(TableError, match="encoding"):
        list(CSV(path, target="city").open().epoch(0))
    with pytest.raises(TableError, match=r"cannot be read as utf-8 .*--encoding names another"):
        list(csv_tables(str(path), Reading()))


@pytest.mark.parametrize(
    ("content", "how", "said"),
    [
        (b"# of May\nx,y\n1,2\n", {}, "begins with a comment"),
        (b"", {}, "Empty CSV"),
        (b"PK\x03\x04", {}, "is a spreadsheet or a zip file, not CSV"),
        (b"\x28\xb5\x2f\xfd", {}, "is packed by Zstandard, not CSV"),
        (b"x,y\n\xff,2\n", {"encoding": "utf-8"}, "cannot be read as utf-8"),
        (b'x;y\n"1.234,5";2\n"7,5";3\n', {}, "column 'x' holds numbers such as '1.234,5', which cannot be read in bat"),
        (b"x;y\n$3.50;2\n$4;3\n", {}, "column 'x' holds numbers such as '\\$3.50'"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, how, said):
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(TableError, match=said):
        CSV(tmp_path / "rows.csv", target="y", **how)


def test_numbers_that_are_not_learned_from_may_be_written_in_any_way(tmp_path):
    (tmp_path / "rows.csv").write_text("x;z;y\n$3;1;2\n$4;2;3\n")
    assert next(CSV(tmp_path / "rows.csv", target="y", columns=["z"]).open().epoch(0)).X.tolist() == [[1.0], [2.0]]
    batch = next(CSV(tmp_path / "rows.csv", target="y", categories=["x"], hash_bits=4).open().epoch(0))
    assert batch.X.shape == (2, 17)


@pytest.mark.parametrize(
    ("encoding", "error", "said"),
    [("utf-7000", ValueError, "encoding must be one that Python knows"), (8, TypeError, "encoding must be a name")],
)
def test_encodings_that_there_are_not(tmp_path, encoding, error, said):
    (tmp_path / "rows.csv").write_text("x,y\n1,2\n")
    with pytest.raises(error, match=said):
        CSV(tmp_path / "rows.csv", target="y", encoding=encoding)
