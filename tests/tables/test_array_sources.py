"""Arrays, .npy files and iterables as sources: what they give, and what is refused."""

import numpy as np
import pytest
from scipy.sparse import coo_array, csc_array, csr_array

from gdfast.tables import Arrays, Batches, TableError
from gdfast.tables.source import count_rows

RNG = np.random.default_rng(0)
X, Y, W = RNG.normal(size=(50, 3)), RNG.integers(0, 2, 50), RNG.random(50)


def rows(source, seed=None, epoch=0, start=0):
    batches = list(source.open(seed).epoch(epoch, start))
    dense = [batch.X if isinstance(batch.X, np.ndarray) else batch.X.toarray() for batch in batches]
    found = [np.concatenate([part[b.order] for part, b in zip(dense, batches, strict=True)])]
    found.append(np.concatenate([b.y[b.order] for b in batches]))
    if batches[0].weights is not None:
        found.append(np.concatenate([b.weights[b.order] for b in batches]))
    return found


def saved(tmp_path, name, array):
    np.save(tmp_path / name, array)
    return tmp_path / name


def test_arrays_files_and_maps_give_the_same_rows(tmp_path):
    files = [saved(tmp_path, f"{name}.npy", array) for name, array in (("X", X), ("y", Y), ("w", W))]
    maps = [np.load(file, mmap_mode="r") for file in files]
    for seed in (None, 1):
        expected = rows(Arrays(X, Y, W, batch_rows=8, mix=2), seed)
        for arguments in (files, maps):
            for one, other in zip(rows(Arrays(*arguments, batch_rows=8, mix=2), seed), expected, strict=True):
                np.testing.assert_array_equal(one, other)
    for one, other in zip(rows(Arrays(X, Y, W, batch_rows=8)), (X, Y, W), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shuffled_rows_stay_together_and_begin_anywhere():
    source = Arrays(np.arange(50.0)[:, None], np.arange(50), batch_rows=12)
    X, y = rows(source, 5)
    assert sorted(y) == list(range(50))
    assert list(y) != list(range(50))
    np.testing.assert_array_equal(X[:, 0], y)
    assert list(rows(source, 5, epoch=1)[1]) != list(y)
    np.testing.assert_array_equal(rows(source, 5, start=33)[1], y[33:])


def test_an_iterable_is_iterated_again_for_each_epoch():
    source = Batches([(X[:20], Y[:20], W[:20]), (X[20:20], Y[20:20], W[20:20]), (X[20:], Y[20:], W[20:])])
    assert source.n_rows is None
    assert count_rows(source) == 50
    assert source.describe() == {"n_rows": None}
    for _ in range(2):
        for one, other in zip(rows(source), (X, Y, W), strict=True):
            np.testing.assert_array_equal(one, other)
    assert sorted(rows(source, 3)[2]) == sorted(W)
    assert count_rows(Batches([(X, Y)], n_rows=50)) == 50


def test_an_iterable_of_sparse_batches():
    source = Batches([(csr_array(X[:20]), Y[:20]), (csc_array(X[20:]), Y[20:])])
    np.testing.assert_array_equal(rows(source)[0], X)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Arrays(X, Y[:40]), "y must have the rows of X, 50; got 40"),
        (lambda: Arrays(X, Y, W[:4]), "weights must have the rows of X, 50; got 4"),
        (lambda: Arrays(X[:, 0], Y), r"X must have 2 axes.*\(50,\)"),
        (lambda: Arrays(X[:0], Y[:0]), "X must not be empty"),
        (lambda: Arrays(X, Y, batch_rows=0), "batch_rows must be at least 1; got 0"),
        (lambda: Arrays(X, Y, mix=1.5), "mix must be an int; got 1.5"),
        (lambda: Arrays("nothing.npy", Y), "nothing.npy cannot be read: No such file"),
        (lambda: Batches(b for b in [(X, Y)]), "a generator is read once: pass a list"),
        (lambda: Batches(X), "batches must be an iterable of"),
        (lambda: Batches(7), "batches must be an iterable of"),
        (lambda: Batches([(X, Y)], n_rows=0), "n_rows must be a positive int"),
        (lambda: rows(Batches([X])), r"batch 1 of batches must be \(X, y\)"),
        (
            lambda: rows(Batches([(X, Y), (X[:, :2], Y)])),
            "batch 2 of batches must be like the first one, dense float64 of",
        ),
        (lambda: rows(Batches([(X, Y, W), (X, Y)])), "with weights; got dense float64 of 3 columns, without"),
        (lambda: rows(Batches([(X, X), (X, X[:, :2])])), "y of 3 columns, without weights; got .* y of 2 columns"),
        (lambda: rows(Batches([(X, Y[:3])])), "a y of as many rows"),
        (lambda: rows(Batches([(X, Y, W[:3])])), "a weight for each of its 50 rows"),
        (lambda: rows(Batches([(csr_array(X), Y), (X, Y)])), "like the first one, sparse"),
    ],
)
def test_what_is_refused(make, said):
    with pytest.raises((TypeError, ValueError), match=said):
        make()


def test_damaged_files_are_refused(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    whole = saved(tmp_path, "X.npy", X)
    short = tmp_path / "short.npy"
    short.write_bytes(whole.read_bytes()[:-8])
    fortran = saved(tmp_path, "fortran.npy", np.asfortranarray(X))
    objects = saved(tmp_path, "objects.npy", X.astype(object))
    for file, said in (
        (tmp_path / "text.npy", "is no .npy file"),
        (short, "it ends before"),
        (fortran, "Fortran's order"),
        (objects, "no objects in a file"),
    ):
        with pytest.raises((TableError, ValueError), match=said):
            Arrays(file, Y)


def test_a_file_that_becomes_shorter_is_an_error_and_no_crash(tmp_path):
    path = saved(tmp_path, "X.npy", X)
    source = Arrays(path, Y)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(TableError, match=r"X.npy ends before row 50 of 50"):
        rows(source)


def damaged(kind, name, at, value):
    matrix = kind(csr_array(X))
    getattr(matrix, name)[at] = value
    return matrix


@pytest.mark.parametrize(
    "matrix",
    [
        damaged(csr_array, "indptr", 5, 10**6),
        damaged(csr_array, "indices", 7, -3),
        damaged(csr_array, "indices", 7, 3),
        damaged(csc_array, "indices", 7, 10**6),
        damaged(coo_array, "row", 7, 10**6),
    ],
)
def test_invalid_sparse_matrices_are_refused(matrix):
    source = Batches([(csr_array(X), Y), (matrix, Y)])
    with pytest.raises(ValueError, match="batch 2 of batches must have a valid sparse X: "):
        rows(source, 1)


def test_labels_of_batches_are_of_one_kind():
    words = np.where(Y == 1, "1", "0")
    for other in (words, words.astype(object)):
        with pytest.raises(ValueError, match="batch 2 must have numbers in y like the first one; got words"):
            rows(Batches([(X, Y), (X, other)]))
    with pytest.raises(ValueError, match="must have numbers in y like the first one; got bools"):
        rows(Batches([(X, Y), (X, Y == 1)]))
    for odd in (None, 1):
        with pytest.raises(ValueError, match="batch 1 of batches must have numbers in y, or words; got both"):
            rows(Batches([(X, np.array(["a", odd] * 25, object))]))
    assert rows(Batches([(X, words.astype(object)), (X, words)]))[1].tolist() == words.tolist() * 2


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_sparse_rows_of_every_form(form):
    found, y = rows(Batches([(csr_array(X).asformat(form), Y)]))
    assert (found == X).all()
    assert (y == Y).all()


@pytest.mark.parametrize(("n_rows", "got"), [(9, "8"), (3, "4 or more")])
def test_a_wrong_number_of_rows_is_an_error_of_the_pass_that_shows_it(n_rows, got):
    batches = [(np.eye(2), [0, 1])] * 4
    source = Batches(batches, n_rows=n_rows)
    passed = source.open().epoch(0)
    message = "n_rows must be the number of rows that batches have: it is"
    with pytest.raises(ValueError, match=rf"{message} {source.n_rows}, and they have {got}$"):
        list(passed)
    right = Batches(batches, n_rows=8)
    assert sum(len(batch) for batch in right.open().epoch(0)) == 8
