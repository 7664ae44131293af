"""Sources as nobody should write them: each is refused in one sentence, or its own exception comes through."""

import numpy as np
import pytest

from gdfast.sklearn import GDClassifier, MLPClassifier, _streaming
from gdfast.tables import Batches, Parquet, TableError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 3))
Y = (X[:, 0] > 0).astype(int)
FIRST = X[:100], Y[:100]


class Rows:
    """What a function yields, again and again."""

    def __init__(self, rows):
        self.rows, self.times = rows, 0

    def __iter__(self):
        self.times += 1
        yield from self.rows(self.times) if callable(self.rows) else self.rows


class Once:
    """The same iterator whenever it is asked for one."""

    def __init__(self):
        self.rows = iter([FIRST] * 4)

    def __iter__(self):
        return self.rows


def own_mistake(_):
    yield FIRST
    raise RuntimeError("my own mistake")


HOSTILE = {
    "other columns": (
        [FIRST, (X[:100, :2], Y[:100])],
        "batch 2 of batches must be like the first one, dense float64 of 3",
    ),
    "another dtype": ([FIRST, (X[:100].astype(np.float32), Y[:100])], "got dense float32 of 3 columns"),
    "words": ([FIRST, (X[:100], Y[:100].astype(str))], "batch 2 must have numbers in y like the first one; got words"),
    "weights later": ([FIRST, (*FIRST, np.ones(100))], "batch 2 of batches must be like the first one"),
    "negative weights": ([(*FIRST, -np.ones(100))] * 2, r"[Nn]egative"),
    "no rows": ([(X[:0], Y[:0])], "the source must have rows; it has none"),
    "no columns": ([(X[:, :0], Y)], r"Found array with 0 feature\(s\)"),
    "nan": ([FIRST, (np.full((100, 3), np.nan), Y[:100])], "NaN|X and y must be finite"),
    "fewer": (lambda time: [FIRST] * (5 - time), "the source must give the same rows (each time|in each epoch)"),
    "more": (lambda time: [FIRST] * (2 + time), "the source must give the same rows in each epoch|each time"),
    "one axis": ([(X[:, 0], Y)], "batch 1 of batches must have X of two axes"),
    "ragged": ([([[1, 2], [3]], [0, 1])], "batch 1 of batches must be arrays of numbers"),
    "no y": ([(X, None)], r"a y of as many rows; got \(400, 3\) and \(\)"),
    "complex": ([(X * 1j, Y)], "must have numbers in X; got complex128"),
    "dates": ([(X.astype("M8[s]"), Y)], r"must have numbers in X; got datetime64\[s\]"),
    "masked": ([(np.ma.masked_array(X, X > 1), Y)], "must not have masked arrays, whose masks would be lost"),
    "nothing": ([None], r"batch 1 of batches must be \(X, y\) or \(X, y, weights\); got NoneType"),
    "my own": (own_mistake, "my own mistake"),
}


@pytest.fixture(autouse=True)
def beyond(monkeypatch):
    """A memory of 200 rows."""
    monkeypatch.setattr(_streaming, "STATISTICS_ROWS", 200)


def models():
    return GDClassifier(max_iter=3, random_state=0), MLPClassifier((3,), max_iter=3, tol=None, random_state=0)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("statistics", ["first", "all"])
def test_hostile_batches(name, statistics):
    rows, said = HOSTILE[name]
    for model in models():
        with pytest.raises((ValueError, TypeError, RuntimeError), match=said):
            model.fit(Batches(Rows(rows), statistics=statistics, mix=1))


@pytest.mark.parametrize("statistics", ["first", "all"])
def test_an_iterator_that_is_exhausted(statistics):
    for model in models():
        with pytest.raises(ValueError, match="got 400 and more, then 0: a generator, which is read once"):
            model.fit(Batches(Once(), statistics=statistics))


def test_batches_without_rows_among_others():
    empty = X[:0], Y[:0]
    for model in models():
        model.fit(Batches([empty, FIRST, empty, FIRST, empty]))
        assert model.statistics_.endswith(" 200 rows")


def test_hostile_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def written(name, **columns):
        pq.write_table(pa.table({"x": X[:, 0], "y": Y, **columns}), tmp_path / name)
        return tmp_path / name

    whole = written("whole.parquet")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-100])
    nested = written("nested.parquet", n=[{"a": 1}] * 400, m=[[1, 2]] * 400)
    floats = written("floats.parquet", x=X[:, 0].astype(np.float32))
    pq.write_table(pa.table({"z": X[:, 0], "y": Y}), tmp_path / "other.parquet")
    for paths, how, said in (
        (cut, {}, r"cut\.parquet cannot be read: Parquet magic bytes not found"),
        (nested, {}, "column 'n' must hold numbers or words; it holds struct<a: int64>: leave it out with columns"),
        (nested, {"columns": ["x", "m"]}, "column 'm' must hold numbers or words; it holds list"),
        ([whole, floats], {}, r"floats\.parquet must have the columns of .*whole\.parquet, 'x' of double; got float"),
        ([whole, tmp_path / "other.parquet"], {}, r"other\.parquet must have .* 'x' of double; got no such column"),
    ):
        with pytest.raises(TableError, match=said):
            Parquet(paths, target="y", **how)
    with pytest.raises(TableError, match="the target, column 'n', must hold numbers or words; it holds struct"):
        GDClassifier().fit(Parquet(nested, target="n", columns=["x"]))
    assert GDClassifier().fit(Parquet(nested, target="y", columns=["x"])).n_features_in_ == 1
    for change in (lambda path: path.write_bytes(path.read_bytes()[:-100]), lambda path: path.unlink()):
        path = written("later.parquet")
        source = Parquet(path, target="y")
        change(path)
        for model in models():
            with pytest.raises(TableError, match=r"later\.parquet cannot be read"):
                model.fit(source)
