"""CSV files as spreadsheets leave them: every encoding, separator and way to write a number, or one clear sentence."""

import gzip
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gdfast.tables.csv_files import Reading
from gdfast.tables.errors import TableError
from gdfast.tables.reading import read


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(text, in_tmp, stored="utf-8", **options):
    (in_tmp / "a.csv").write_bytes(text.encode(stored))
    return read("a.csv", Reading(**options))


@pytest.mark.parametrize(
    ("encoding", "noted"),
    [
        ("utf-8", 0), ("utf-8-sig", 0), ("utf-16", 0), ("utf-32", 0), ("utf-16-le", 1), ("utf-16-be", 1), ("cp1252", 1),
    ],
)  # fmt: skip
def test_the_encoding_is_found_out_or_said(encoding, noted, in_tmp):
    found = table("straße,y\nMünchen,1\nKöln,2\n", in_tmp, encoding)
    assert found.columns["straße"].tolist() == ["München", "Köln"]
    assert len(found.notes) == noted
    assert table("straße,y\nÖ,1\n", in_tmp, "cp850", encoding="cp850").columns["straße"].tolist() == ["Ö"]


def test_bytes_that_windows_lacks_are_latin_1(in_tmp):
    (in_tmp / "a.csv").write_bytes(b"x,y\n\x81,1\n")
    assert read("a.csv").notes == ["No UTF-8, read as latin-1: --encoding otherwise."]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_out(separator, in_tmp):
    text = "\n".join(separator.join(row) for row in [("a", "b", "c"), ('"1,5;x"', "2", "3"), ('"7|1\t2"', "4", "5")])
    found = table(text, in_tmp)
    assert list(found.columns) == ["a", "b", "c"]
    assert found.columns["b"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["3,50", "4,25"], [3.5, 4.25]),
        (["1.234,5", "7"], [1234.5, 7]),
        (["1,234.5", "7"], [1234.5, 7]),
        (["1,234,567", "8"], [1234567, 8]),
        (["$3.50", "$ 4"], [3.5, 4]),
        (["12 %", "7%"], [12, 7]),
        (["1 234", "1\u00a0234"], [1234, 1234]),
        (["1'234.5", "2"], [1234.5, 2]),
        (["(3.5)", "2"], [-3.5, 2]),
        (["\u22123.5", "2"], [-3.5, 2]),
        (["-€3,5", ",5"], [-3.5, 0.5]),
        (["1.5", "?"], [1.5, np.nan]),
        (["#DIV/0!", "-", "2,5"], [np.nan, np.nan, 2.5]),
        (["1e5 ", " 2,5e-3"], [1e5, 2.5e-3]),
    ],
)
def test_numbers_in_any_dress(cells, expected, in_tmp):
    found = table("x;y\n" + "".join(f"{cell};1\n" for cell in cells), in_tmp)
    np.testing.assert_array_equal(found.columns["x"], expected)
    assert found.columns["x"].dtype == np.float64


def test_it_is_said_how_numbers_were_read(in_tmp):
    notes = table("x;y\n$1.50;1\n?;2\n", in_tmp).notes
    assert notes == [
        "'x' is read as numbers, '$1.50' as 1.5 (--category 'x': as words).",
        "'?' in 'x' is taken for a missing value.",
    ]


def test_1_234_is_decided_by_the_file_or_the_user(in_tmp):
    text = 'x,z\n"1,234",{}\n"5,678",2\n'
    assert table(text.format("1.5"), in_tmp).columns["x"].tolist() == [1234, 5678]
    assert table(text.format('"1,5"'), in_tmp).columns["x"].tolist() == [1.234, 5.678]
    assert table(text.format("1"), in_tmp, decimal=",").columns["x"].tolist() == [1.234, 5.678]
    assert table(text.format("1"), in_tmp, decimal=".").columns["x"].tolist() == [1234, 5678]
    assert table(text.format("1"), in_tmp, usual_decimal=".").columns["x"].tolist() == [1234, 5678]
    assert table(text.format("1"), in_tmp).problems == {
        "x": "column 'x' holds '1,234', which may be 1234 or 1.234: say --decimal . or --decimal ,"
    }


def test_1_point_234_in_a_file_of_decimal_commas_is_not_guessed(in_tmp):
    text = "x;z\n1.234;1,5\n5.678;2,5\n"
    assert list(table(text, in_tmp).problems) == ["x"]
    assert table(text, in_tmp, decimal=",").columns["x"].tolist() == [1234, 5678]
    assert table(text, in_tmp, decimal=".").columns["x"].tolist() == [1.234, 5.678]
    assert table(text.replace("5.678", "5.6"), in_tmp).columns["x"].tolist() == [1.234, 5.6]


def test_words_stay_words(in_tmp):
    found = table("a,b,c\n01,2-3,1;2\nA3,4-5,3;4\n", in_tmp)
    assert [found.columns[name].tolist() for name in "abc"] == [["01", "A3"], ["2-3", "4-5"], ["1;2", "3;4"]]
    assert found.notes == []


def test_a_few_words_among_numbers_are_a_problem(in_tmp):
    rows = [*(f"{i}.5,1" for i in range(40)), "about 3,1"]
    assert table("x,y\n" + "\n".join(rows), in_tmp).problems["x"] == (
        "column 'x' holds numbers in 40 rows, but 'about 3' in row 41: correct the 1 that are none, or read words with "
        "--category 'x'"
    )
    assert table("x,y\n" + "\n".join(rows), in_tmp, categories=["x"]).problems == {}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "-"])
def test_packed_files_and_standard_input(name, in_tmp, monkeypatch):
    data = b"x,y\n1,2\n"
    (in_tmp / "a.csv").write_bytes(data)
    (in_tmp / "a.csv.gz").write_bytes(gzip.compress(data))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    assert read(name).columns["y"].tolist() == [2]


@pytest.mark.parametrize(
    ("text", "columns", "noted"),
    [
        ("# made on Monday, by me\n\nx,y\n1,2\n", ["x", "y"], "1 lines of comments on top were left out."),
        ("# note\n# x,y\n1,2\n", ["x", "y"], "1 lines of comments on top were left out."),
        ("#x,y\n1,2\n", ["x", "y"], None),
        ("#tag,y\n#a,b\n", [], None),
        ("x,y\n#ff0000,1\n", ["x", "y"], None),
    ],
)
def test_comments_on_top(text, columns, noted, in_tmp):
    if not columns:
        with pytest.raises(TableError, match="is empty"):
            table(text, in_tmp)
        return
    found = table(text, in_tmp)
    assert list(found.columns) == columns
    assert len(found) == 1
    assert found.notes == [noted] * (noted is not None)


def test_comments_anywhere_are_for_the_user_to_say(in_tmp):
    text = "x,y\n1,2\n# 7,7\n3,4\n"
    assert table(text, in_tmp, comment="#").columns["x"].tolist() == [1, 3]
    assert table(text, in_tmp).columns["x"].tolist() == ["1", "# 7", "3"]
    with pytest.raises(TableError, match="line 4 has 3 cells where the lines before have 2"):
        table("x,y\n#\n1,2\n1,2,3\n", in_tmp, comment="#")


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["2026-01-31", "2026-02-01"], "ISO8601"),
        (["2026-01-31 10:30:00", "2026-02-01T11:30"], "ISO8601"),
        (["2026/1/31", "2026/2/1"], "%Y/%m/%d"),
        (["31.1.2026", "01.02.2026"], "%d.%m.%Y"),
        (["31/1/2026", "1/2/2026"], "%d/%m/%Y"),
        (["1/31/2026", "2/1/2026"], "%m/%d/%Y"),
        (["31.01.2026 10:30", "1.2.2026 11:30"], "%d.%m.%Y %H:%M"),
        (["10:30:00", "11:30:00"], "%H:%M:%S"),
    ],
)
def test_dates_are_found(cells, form, in_tmp):
    found = table("t,y\n" + "".join(f"{cell},1\n" for cell in cells), in_tmp)
    assert found.dates == {"t": form}
    assert found.columns["t"].dtype == "M8[s]"
    if ":" not in cells[0]:
        assert found.columns["t"].astype("M8[D]").astype(str).tolist() == ["2026-01-31", "2026-02-01"]
    assert found.notes == []


def test_days_and_months_that_could_be_exchanged_are_said(in_tmp):
    assert "is read as month/day/year" in table("t,y\n1/2/2026,1\n3/4/2026,2\n", in_tmp).notes[0]


@pytest.mark.parametrize("cells", [["2026-13-45", "2026-01-01"], ["31.1.2026", "soon"]])
def test_what_is_no_date_is_a_word(cells, in_tmp):
    assert table("t,y\n" + "".join(f"{cell},1\n" for cell in cells), in_tmp).columns["t"].tolist() == cells


def test_na_is_a_word_where_it_is_asked_for(in_tmp):
    text = "x,z,note\nNA,NA,NA\nNone,,\n a ,1,c\n"
    assert table(text, in_tmp).columns["x"].tolist() == [None, None, "a"]
    found = table(text, in_tmp, categories=["x"], texts=["note"])
    assert found.columns["x"].tolist() == ["NA", "None", "a"]
    assert found.columns["note"].tolist() == ["NA", "", "c"]
    assert np.isnan(found.columns["z"][:2]).all()


def test_bools_in_any_case(in_tmp):
    found = table("a,b\nTRUE,true\nfalse,\n", in_tmp)
    assert found.columns["a"].tolist() == [True, False]
    assert found.columns["a"].dtype == bool
    assert found.columns["b"].tolist() == [True, None]
    assert table("a,b\nTRUE,true\nfalse,\n", in_tmp, numbers=["b"]).columns["b"].tolist()[0] == 1.0


@pytest.mark.parametrize(
    ("text", "columns", "noted"),
    [
        ("x,y\n1,2,\n3,4,\n", {"x": [1, 3], "y": [2, 4]}, None),
        ("x,y\nr1,1,2\nr2,3,4\n", {"x": [1, 3], "y": [2, 4]}, "taken for names of rows and left out"),
        (" x , y \n1,2\n", {"x": [1], "y": [2]}, None),
        ("x,x\n1,2\n", {"x": [1], "x.1": [2]}, "Several columns are named 'x'"),
        ("5.1,3\n1,2\n", {"5.1": [1], "3": [2]}, "was taken for the names of the columns"),
        ("x,y\r\n1,2\r\n", {"x": [1], "y": [2]}, None),
        ("x,y\r1,2\r", {"x": [1], "y": [2]}, None),
    ],
)
def test_lines_of_names(text, columns, noted, in_tmp):
    found = table(text, in_tmp)
    shown = {name: column.tolist() for name, column in found.columns.items() if not name.startswith("Unnamed")}
    assert shown == columns
    assert (noted is None) or noted in found.notes[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04abc", "a.csv is a spreadsheet or a zip file, not CSV"),
        (b"\xd0\xcf\x11\xe0abc", "a.csv is a spreadsheet, not CSV"),
        (b"PAR1", "a.csv is a Parquet file, not CSV"),
        (b"x,y\n1,\x002\n", "a.csv holds zero bytes"),
        (b"\x1f\x8babc", "a.csv cannot be read"),
        (b"\n\n", "a.csv is empty"),
        (b'x,y\n"1,2\n', "a.csv cannot be read: a quote is opened and not closed"),
        (b"x,x \n1,2\n", "a.csv must have a different name for each column"),
    ],
)
def test_what_is_no_csv(data, said, in_tmp):
    (in_tmp / "a.csv").write_bytes(data)
    with pytest.raises(TableError, match=said):
        read("a.csv")


def test_the_wrong_encoding_is_one_sentence(in_tmp):
    with pytest.raises(TableError, match=r"cannot be read as utf-8 .*: --encoding names another"):
        table("ä\n1\n", in_tmp, "cp1252", encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sep": "ab"}, "--sep must be a single character"),
        ({"decimal": ";"}, "--decimal must be . or ,"),
        ({"sep": ",", "decimal": ","}, "--sep and --decimal must differ"),
        ({"comment": "//"}, "--comment must be a single character"),
        ({"encoding": "latin-7000"}, "--encoding must be one that Python knows"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(TableError, match=said):
        Reading(**options)


def test_a_known_separator_is_used(in_tmp):
    assert list(table("a:b\n1:2\n", in_tmp, sep=":").columns) == ["a", "b"]
    assert list(table("a,b;c\n1,5;2\n", in_tmp, decimal=",").columns) == ["a,b", "c"]
