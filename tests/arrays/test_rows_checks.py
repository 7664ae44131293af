"""What a row-sparse gradient must be: everything else is an error, before anything is written."""

import gc
import threading
import weakref

import numpy as np
import pytest

import gdfast
from arrays import assert_same_bits, snapshot
from gdfast.arrays.buffers import Memory
from gdfast.arrays.rows import coalesce
from gdfast.arrays.structure import NamedArray
from gdfast.reference.rows import sum_repeated

ENGINES = ["native", "numpy"]
ONES = np.ones((2, 3), np.float32)
BOTH = np.array([0, 4])


def wrong_endian(array):
    return array.astype(array.dtype.newbyteorder())


MISTAKES = {
    "list of rows": (gdfast.Rows([0, 4], ONES), TypeError, r"\.rows must be a NumPy array of int32 or int64; got list"),
    "float rows": (gdfast.Rows(BOTH * 1.0, ONES), TypeError, r"\.rows .*; got dtype float64"),
    "swapped rows": (gdfast.Rows(wrong_endian(BOTH), ONES), TypeError, r"\.rows .*; got dtype >i8"),
    "boolean mask": (gdfast.Rows(BOTH > 0, ONES), TypeError, r"\.rows .*; got dtype bool"),
    "rows of rows": (gdfast.Rows(BOTH[None], ONES), ValueError, r"\.rows must have one dimension; got shape \(1, 2\)"),
    "negative": (gdfast.Rows(BOTH - 1, ONES), ValueError, r"\.rows must be in \[0, 5\), .*params\[\"t\"\]; got -1"),
    "too large": (gdfast.Rows(BOTH + 1, ONES), ValueError, r"\.rows must be in \[0, 5\), the rows of .*; got 5"),
    "list of values": (gdfast.Rows(BOTH, [[1.0]]), TypeError, r"\.values must be a NumPy array; got list"),
    "double": (
        gdfast.Rows(BOTH, ONES * np.float64(1)),
        TypeError,
        r"\.values must have the dtype of .*; got float64",
    ),
    "integers": (gdfast.Rows(BOTH, ONES.astype(int)), TypeError, r"\.values must be float32 or float64; got int64"),
    "one short": (gdfast.Rows(BOTH, ONES[:1]), ValueError, r"\.values must have shape \(2, 3\), .*; got \(1, 3\)"),
    "too narrow": (
        gdfast.Rows(BOTH, ONES[:, :2].copy()),
        ValueError,
        r"\.values must have shape .*; got \(2, 2\)",
    ),
    "strided": (gdfast.Rows(BOTH, np.asfortranarray(ONES)), ValueError, r"\.values must be C-contiguous"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_before_anything_is_written(mistake, engine):
    grad, error, match = MISTAKES[mistake]
    params = {"t": np.ones((5, 3), np.float32), "b": np.ones(2)}
    opt = gdfast.Adam(params, engine=engine)
    before = snapshot(opt, list(params.values()))
    with pytest.raises(error, match=r"grads\[\"t\"\]" + match):
        opt.step({"t": grad, "b": np.ones(2)})
    assert snapshot(opt, list(params.values())) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_what_cannot_go_by_rows_is_refused(engine):
    table, grad = np.ones((5, 3), np.float32), gdfast.Rows(BOTH, ONES)
    with pytest.raises(TypeError, match=r"grads must be a NumPy array with ema_decay"):
        gdfast.Adam(table, ema_decay=0.9, engine=engine).step(grad)
    with pytest.raises(ValueError, match="zero_grad must be False with row-sparse gradients, as grads is"):
        gdfast.Adam(table, engine=engine).step(grad, zero_grad=True)
    with pytest.raises(TypeError, match=r"grads must be a NumPy array here; got Rows"):
        gdfast.Adam(table, grads=grad, engine=engine)
    waiting = gdfast.Adam(table, engine=engine)
    waiting.accumulate(np.ones((5, 3), np.float32))
    with pytest.raises(RuntimeError, match=r"grads must be .* to be added to the micro-batches given"):
        waiting.step(grad)
    with pytest.raises(TypeError, match=r"grads must be a NumPy array here; got Rows"):
        waiting.accumulate(grad)
    number = np.array(1.0)
    with pytest.raises(ValueError, match=r"grads must be an array: params is a single number and has no rows"):
        gdfast.Adam(number, engine=engine).step(gdfast.Rows(BOTH, np.ones(2)))

    class Restless(gdfast.SGD):
        lazy_rules = frozenset()

    with pytest.raises(TypeError, match="a NumPy array: Restless must step the rows without a gradient too"):
        Restless(table, engine=engine).step(grad)
    assert np.all(table == 1)
    assert number == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_no_gradient_may_lie_in_what_the_step_writes(engine):
    params = {"t": np.ones((5, 2)), "b": np.ones(4)}
    opt = gdfast.Adam(params, engine=engine)
    table_grad = gdfast.Rows(BOTH, np.ones((2, 2)))
    for grads, holder in [
        ({"t": gdfast.Rows(BOTH, params["t"][:2]), "b": np.ones(4)}, r"params\[\"t\"\]"),
        ({"t": gdfast.Rows(BOTH, params["b"].reshape(2, 2)), "b": np.ones(4)}, r"params\[\"b\"\]"),
        ({"t": table_grad, "b": params["t"].ravel()[:4]}, r"params\[\"t\"\]"),
        ({"t": table_grad, "b": opt.state["t"]["exp_avg"].ravel()[:4]}, r"opt.state\[\"t\"\]\[\"exp_avg\"\]"),
    ]:
        with pytest.raises(ValueError, match=f"must not share memory with {holder}"):
            opt.step(grads)
    assert opt.step_count == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_that_was_made_read_only_is_noticed(engine):
    table = np.ones((5, 3), np.float32)
    opt = gdfast.SGD(table, engine=engine)
    opt.step(gdfast.Rows(BOTH, ONES))
    table.flags.writeable = False
    with pytest.raises(ValueError, match="params must be writeable"):
        opt.step(gdfast.Rows(BOTH, ONES))
    assert opt.step_count == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("resized", ["t", "u", "b"])
def test_an_array_that_was_resized_is_noticed_before_the_first_rows_too(resized, engine):
    params = {"t": np.ones((5, 3), np.float32), "u": np.ones((5, 3), np.float32), "b": np.ones(4)}
    opt = gdfast.Adam(params, engine=engine)
    params[resized].resize((50, 3) if resized != "b" else 40, refcheck=False)
    grads = {"t": gdfast.Rows(BOTH, ONES), "u": gdfast.Rows(BOTH, ONES), "b": np.ones(4)}
    with pytest.raises(ValueError, match=rf'params\["{resized}"\] was resized after the optimizer was made'):
        opt.step(grads)
    assert opt.step_count == 0


def test_a_csr_matrix_touches_the_rows_with_stored_elements():
    sparse = pytest.importorskip("scipy.sparse")
    # Row 1 holds a column twice, row 3 only a stored zero, row 6 two columns; the others nothing.
    data, columns, rows = np.array([1.0, 2.0, 0.0, 3.0, 4.0]), np.array([2, 2, 0, 1, 0]), np.array([1, 1, 3, 6, 6])
    borders = np.searchsorted(rows, np.arange(9))
    for kind in (sparse.csr_matrix, sparse.csr_array):
        for index in (np.int32, np.int64):
            matrix = kind((data, columns.astype(index), borders.astype(index)), shape=(8, 3))
            by_csr, by_rows = np.ones((8, 3)), np.ones((8, 3))
            options = {"lr": 0.5, "weight_decay": 0.1}
            gdfast.SGD(by_csr, **options).step(matrix)
            values = np.array([[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [4.0, 3.0, 0.0]])
            gdfast.SGD(by_rows, **options).step(gdfast.Rows(np.array([1, 3, 6]), values))
            assert_same_bits(by_csr, by_rows)
            assert np.flatnonzero(np.any(by_csr != 1, axis=1)).tolist() == [1, 3, 6]
    table = np.ones((8, 3))
    gdfast.SGD(table).step(sparse.csr_matrix((8, 3)))
    assert np.all(table == 1)


def damaged(matrix, **arrays):
    """Change a matrix behind the back of its constructor's checks."""
    for name, array in arrays.items():
        setattr(matrix, name, array)
    return matrix


def test_a_csr_matrix_that_does_not_fit_is_refused():
    sparse = pytest.importorskip("scipy.sparse")

    def whole(shape=(4, 2)):
        return sparse.csr_matrix(np.ones(shape))

    table = np.ones((4, 2))
    opt = gdfast.SGD(table)
    for grad, error, match in [
        (whole().tocoo(), TypeError, r"grads must be an array, gdfast.Rows or a CSR matrix; got format 'coo'"),
        (whole((4, 3)), ValueError, r"grads must have the shape of params, \(4, 2\), .*; got \(4, 3\)"),
        (whole().astype(np.float32), TypeError, r"grads.data must have the dtype of params, float64; got float32"),
        (damaged(whole(), indices=np.full(8, 2, np.int32)), ValueError, r"grads.indices must be in \[0, 2\)"),
        (damaged(whole(), indices=np.full(8, -1, np.int32)), ValueError, r"grads.indices must be in \[0, 2\)"),
        (damaged(whole(), indptr=np.array([0, 6, 2, 4, 8], np.int32)), ValueError, "grads.indptr must rise"),
        (damaged(whole(), indptr=np.array([1, 2, 4, 6, 8], np.int32)), ValueError, "grads.indptr must rise"),
    ]:
        with pytest.raises(error, match=match):
            opt.step(grad)
    cube = gdfast.SGD(np.ones((4, 2, 2)))
    with pytest.raises(ValueError, match="and two dimensions"):
        cube.step(whole())
    assert np.all(table == 1)


def identity():
    return pytest.importorskip("scipy.sparse").csr_matrix(np.eye(4))


FAR = 10**7
ROWS_OF_EYE = np.arange(5, dtype=np.int32)
CORRUPT = {
    "last pointer beyond": (
        {"indptr": np.array([0, 0, 0, 0, FAR])},
        ValueError,
        r"indptr must end with at most 4.*; got",
    ),
    "pointers that ask for memory": (
        {"indptr": np.array([0, 10**9, 10**9, 10**9, 10**9])},
        ValueError,
        r"indptr must end with at most 4, the stored elements; got 1000000000",
    ),
    "64 bits of pointer": ({"indptr": np.array([0, 0, 0, 0, 2**62])}, ValueError, "indptr must end with at most 4"),
    "falling pointers": ({"indptr": np.array([0, 4, 0, 4, 4])}, ValueError, "indptr must rise from 0"),
    "overflowing fall": ({"indptr": np.array([0, 2**62, -(2**62), 4, 4])}, ValueError, "indptr must rise from 0"),
    "negative pointers": ({"indptr": np.array([0, -1, 0, 4, 4])}, ValueError, "indptr must rise from 0"),
    "does not begin at 0": ({"indptr": ROWS_OF_EYE + 1}, ValueError, "indptr must rise from 0"),
    "two pointers": (
        {"indptr": np.array([0, 1])},
        ValueError,
        r"indptr must have 5 elements, one more than rows; got 2",
    ),
    "no pointers": ({"indptr": np.array([], int)}, ValueError, "indptr must have 5 elements.*; got 0"),
    "too many pointers": ({"indptr": np.arange(6)}, ValueError, "indptr must have 5 elements.*; got 6"),
    "pointers in rows": (
        {"indptr": ROWS_OF_EYE[:, None]},
        ValueError,
        r"indptr must have one dimension; got shape \(5, 1\)",
    ),
    "float pointers": ({"indptr": ROWS_OF_EYE * 1.0}, TypeError, "indptr must be .* int32 or int64; got dtype float64"),
    "list of pointers": ({"indptr": [0, 1, 2, 3, 4]}, TypeError, "indptr must be a NumPy array .*; got list"),
    "indices cut short": (
        {"indices": np.arange(3)},
        ValueError,
        "indices and .*data must have the same length; got 3 and 4",
    ),
    "index beyond": (
        {"indices": np.array([0, 1, 2, FAR])},
        ValueError,
        r"indices must be in \[0, 4\), the columns .*; got",
    ),
    "negative index": ({"indices": np.array([0, 1, 2, -1])}, ValueError, r"indices must be in \[0, 4\).*; got -1"),
    "float indices": ({"indices": np.arange(4.0)}, TypeError, "indices must be .* int32 or int64; got dtype float64"),
    "unsigned indices": ({"indices": np.arange(4, dtype=np.uint64)}, TypeError, "indices must be .*; got dtype uint64"),
    "data cut short": ({"data": np.ones(1)}, ValueError, "indices and .*data must have the same length; got 4 and 1"),
    "longer data": ({"data": np.ones(5)}, ValueError, "indices and .*data must have the same length; got 4 and 5"),
    "data in rows": ({"data": np.ones((4, 1))}, ValueError, r"data must have one dimension; got shape \(4, 1\)"),
    "list of data": ({"data": [1.0] * 4}, TypeError, "data must be a NumPy array; got list"),
    "objects": ({"data": np.ones(4, object)}, TypeError, "data must have the dtype of params, float64; got object"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("corruption", CORRUPT)
def test_a_corrupt_csr_matrix_is_refused_before_anything_is_made_of_it(corruption, engine):
    arrays, error, match = CORRUPT[corruption]
    table = np.ones((4, 4))
    opt = gdfast.Adam(table, engine=engine)
    with pytest.raises(error, match=rf"grads\.{match}"):
        opt.step(damaged(identity(), **arrays))
    assert np.all(table == 1)
    assert opt.step_count == 0


def test_arrays_of_a_csr_matrix_that_was_resized():
    table = np.ones((4, 4))
    for name in ("indptr", "indices", "data"):
        matrix = identity()
        room = np.concatenate([getattr(matrix, name)] * 50_000)
        setattr(matrix, name, room[-getattr(matrix, name).size :])
        room.resize(2, refcheck=False)
        with pytest.raises(ValueError, match=rf"grads.{name} must not be a view of an array that was resized"):
            gdfast.SGD(table).step(matrix)
    assert np.all(table == 1)


def test_what_is_accepted_of_a_csr_matrix_is_what_scipy_shows():
    """Room beyond the stored elements, columns out of order or twice, big-endian and strided arrays."""
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    for trial in range(200):
        height, width, stored = rng.integers(1, 6), rng.integers(1, 5), rng.integers(0, 20)
        borders = np.sort(np.concatenate([[0, stored], rng.integers(0, stored + 1, height - 1)]))
        room = stored + int(rng.integers(0, 4))
        columns, data = rng.integers(0, width, room), rng.standard_normal(room)
        columns[stored:] = FAR
        matrix = sparse.csr_matrix((height, width))
        twice = np.repeat(data, 2)[::2] if trial % 2 else data
        damaged(matrix, indptr=borders.astype(np.int32), indices=np.repeat(columns, 2)[::2], data=twice)
        shown = sparse.csr_matrix((data[:stored], columns[:stored], borders), (height, width)).toarray()
        for engine in ENGINES:
            table, expected = np.ones((height, width)), np.ones((height, width))
            touched = np.flatnonzero(np.diff(borders))
            gdfast.SGD(table, lr=0.5, engine=engine).step(matrix)
            gdfast.SGD(expected, lr=0.5).step(gdfast.Rows(touched, shown[touched]))
            assert_same_bits(table, expected)


def test_a_matrix_whose_attributes_are_code():
    """Its properties run when they are read; all arrays are looked at after the last of them."""
    sparse = pytest.importorskip("scipy.sparse")
    tables = [np.ones((50_000, 2)), np.ones((4, 2))]

    class Sly(sparse.csr_matrix):
        @property
        def data(self):
            tables[0].resize((1, 1), refcheck=False)
            first.values.resize((1, 1), refcheck=False)
            return np.ones(8)

        @data.setter
        def data(self, value):
            pass

    first = gdfast.Rows(np.array([49_999]), np.ones((1, 2)))
    opt = gdfast.SGD(tables)
    with pytest.raises(ValueError, match=r"params\[0\] was resized"):
        opt.step([first, Sly(np.ones((4, 2)))])
    assert np.all(tables[1] == 1)


class Bounded(np.ndarray):
    """Row numbers that say of themselves that they are within bounds."""

    def min(self, *args, **kwargs):
        return 0

    max = argmin = astype = __lt__ = __ge__ = min


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("row", [FAR, -FAR, 5, -1])
def test_row_numbers_of_a_subclass(row, engine):
    table = np.ones((5, 3), np.float32)
    opt = gdfast.SGD(table, engine=engine)
    with pytest.raises(ValueError, match=rf"grads.rows must be in \[0, 5\), the rows of params; got {row}"):
        opt.step(gdfast.Rows(np.array([0, row]).view(Bounded), ONES))
    assert np.all(table == 1)
    opt.step(gdfast.Rows(BOTH.view(Bounded), ONES))
    assert np.flatnonzero(table[:, 0] != 1).tolist() == [0, 4]


@pytest.mark.parametrize("engine", ENGINES)
def test_row_numbers_that_a_thread_writes_to(engine):
    """They are copied before they are checked, and only the copy is used."""
    table, rows = np.zeros((64, 1)), np.zeros(4096, np.int64)
    done = threading.Event()

    def spoil():
        while not done.is_set():
            rows[:] = FAR
            rows[:] = 1

    opt = gdfast.SGD(table, engine=engine)
    worker = threading.Thread(target=spoil)
    worker.start()
    refused = 0
    try:
        for _ in range(300):
            try:
                opt.step(gdfast.Rows(rows, np.ones((4096, 1))))
            except ValueError as error:
                refused += "must be in [0, 64)" in str(error)
    finally:
        done.set()
        worker.join()
    assert opt.step_count + refused == 300
    assert not table[2:].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_skipped_step_of_rows_lets_go_of_its_gradients(engine):
    table, dense = np.ones((5, 3)), np.ones(2)
    opt = gdfast.SGD([table, dense], nonfinite="skip", engine=engine)
    values = np.full((2, 3), np.nan)
    opt.step([gdfast.Rows(BOTH, values), np.ones(2)])
    assert opt.skipped_steps == 1
    alive = weakref.ref(values)
    del values
    gc.collect()
    assert alive() is None
    opt.step([gdfast.Rows(BOTH, np.ones((2, 3))), np.ones(2)])
    assert opt.step_count == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_that_changes_after_the_checks(engine, monkeypatch):
    table = np.ones((5, 3), np.float32)
    opt = gdfast.SGD(table, engine=engine)
    numbers = opt.scalars

    def resizing(values, t):
        table.resize((1, 1), refcheck=False)
        return numbers(values, t)

    monkeypatch.setattr(opt, "scalars", resizing)
    with pytest.raises(ValueError, match="params was resized"):
        opt.step(gdfast.Rows(BOTH, ONES))
    assert opt.step_count == 0


def test_rows_are_coalesced_for_whoever_binds_memory_of_its_own():
    table = NamedArray(np.zeros((5, 1)), "t", "params", "grads")
    given = gdfast.Rows(np.array([3, 1, 3]), np.array([[1.0], [2.0], [4.0]]))
    rows, values = coalesce(given, table, Memory([table]), sum_repeated)
    assert rows.tolist() == [1, 3]
    assert values.tolist() == [[2.0], [5.0]]
