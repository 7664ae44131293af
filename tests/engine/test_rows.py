"""Row-sparse gradients: the touched rows are stepped as a dense step would, the others not at all."""

import copy

import numpy as np
import pytest
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, hostile, plain, snapshot
from gdfast.arrays.rows import _sorted
from gdfast.engine import _plan, threads

ENGINES = ["native", "numpy"]
DTYPES = [np.float32, np.float64]
# Rows of one element, of less than a cache line, of two axes, wider than a tile of scratch; and arrays without rows.
TABLES = {"ids": (60,), "narrow": (200, 3), "images": (30, 2, 5), "wide": (8, 1100), "bias": (70,), "none": (0, 4)}
DENSE = {"bias", "none"}
LAZY = [c for c in CASES if c.optimizer.rule_of(c.make(np.zeros(1)).param_groups[0]) in c.optimizer.lazy_rules]
LAZY = [c for c in LAZY if "centralize" not in c.options]  # which needs whole units


@pytest.fixture
def shared(monkeypatch):
    """Make even the smallest work worth sharing among as many threads as are asked for."""
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    monkeypatch.setattr(_plan, "GRAIN_BYTES", 1)


def rows_for(rng, param, make, repeated=True):
    """A gradient that touches about every second row, some more than once, in no order."""
    n = len(param)
    rows = rng.integers(0, n, n // 2 + 3) if repeated else rng.permutation(n)[: n // 2]
    values = make(rng, rows.size * (param.size // n), param.dtype).reshape(rows.size, *param.shape[1:])
    return gdfast.Rows(rows.astype(rng.choice([np.int32, np.int64])), values)


def problem(dtype, seed=0, steps=12):
    """Tables with every second set of gradients hostile."""
    rng = np.random.default_rng(seed)
    params = {name: plain(rng, int(np.prod(shape)), dtype).reshape(shape) for name, shape in TABLES.items()}
    grads = [
        {
            name: plain(rng, p.size, dtype).reshape(p.shape)
            if name in DENSE
            else rows_for(rng, p, hostile if step % 4 == 3 else plain)
            for name, p in params.items()
        }
        for step in range(steps)
    ]
    return params, grads


def dense(grad, param):
    """The gradient as an array, added up one by one."""
    whole = np.zeros_like(param)
    with np.errstate(all="ignore"):
        for row, value in zip(grad.rows, grad.values, strict=True):
            whole[row] += value
    return whole


def scaled(grad, scale):
    return (
        gdfast.Rows(grad.rows, scaled(grad.values, scale))
        if isinstance(grad, gdfast.Rows)
        else grad * np.float32(scale)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAZY, ids=str)
def test_native_is_the_reference_at_every_level_and_thread_count(case, dtype, use_level, shared):
    params, grads = problem(dtype)
    options = {"clip_norm": 3.0} if "odd" in case.name else {}
    expected = copy.deepcopy(params)
    reference = case.make(expected, engine="numpy", **options)
    for grad in grads:
        reference.step(grad, grad_scale=0.5)
    for level in LEVELS:
        use_level(level)
        for n_threads in (1, 2, 3, 8):
            actual = copy.deepcopy(params)
            opt = case.make(actual, n_threads=n_threads, **options)
            for grad in grads:
                opt.step(grad, grad_scale=0.5)
            where = f"{level}, {n_threads} threads: "
            assert_same_bits(actual, expected, where + "params")
            assert_same_bits(opt.state, reference.state, where + "state")
            assert repr(opt.last_norm) == repr(reference.last_norm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAZY, ids=str)
def test_touched_rows_step_as_an_array_of_their_own_and_the_others_not_at_all(case, dtype):
    rng = np.random.default_rng(1)
    table = plain(rng, 400, dtype).reshape(100, 4)
    before, touched = table.copy(), np.sort(rng.permutation(100)[:30])
    alone = table[touched]
    opt, twin = case.make(table), case.make(alone)
    fresh = copy.deepcopy(opt.state_dict()["state"]["0"])
    for _ in range(10):
        values = plain(rng, 120, dtype).reshape(30, 4)
        mixed = rng.permutation(30)
        opt.step(gdfast.Rows(touched[mixed], values[mixed]))
        twin.step(values)
    assert_same_bits(table[touched], alone)
    others = np.setdiff1d(np.arange(100), touched)
    assert_same_bits(table[others], before[others])
    for name, array in opt.state["0"].items():
        assert_same_bits(array[touched], twin.state["0"][name])
        assert_same_bits(array[others], fresh[name][others])
    assert opt.step_count == twin.step_count == 10


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "options"), [(gdfast.SGD, {}), (gdfast.Adagrad, {"lr_decay": 0.1})])
def test_where_zero_gradients_move_nothing_the_step_is_the_dense_one(make, options, engine):
    rng = np.random.default_rng(2)
    table = plain(rng, 300, np.float32).reshape(100, 3)
    twin = table.copy()
    opt, whole = (make(p, engine=engine, clip_value=1.0, **options) for p in (table, twin))
    for _ in range(20):
        grad = rows_for(rng, table, plain)
        opt.step(grad)
        whole.step(dense(grad, table))
    assert_same_bits(table, twin)
    assert_same_bits(opt.state, whole.state)


@pytest.mark.parametrize("engine", ENGINES)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_repeated_rows_are_summed_in_the_order_they_stand(engine, data):
    n_rows, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.integers(0, n_rows - 1), max_size=40))
    numbers = st.floats(-(2.0**90), 2.0**90, width=32)
    flat = data.draw(st.lists(numbers, min_size=len(rows) * width, max_size=len(rows) * width))
    values = np.array(flat, np.float32).reshape(len(rows), width)
    sums: dict[int, list[np.float32]] = {}
    for row, value in zip(rows, values, strict=True):
        sums[row] = [a + b for a, b in zip(sums[row], value, strict=True)] if row in sums else list(value)
    expected = np.zeros((n_rows, width), np.float32)
    for row, total in sums.items():
        expected[row] = [np.float32(0) - x for x in total]
    table = np.zeros((n_rows, width), np.float32)
    gdfast.SGD(table, lr=1.0, engine=engine).step(gdfast.Rows(np.array(rows, np.int64), values))
    assert_same_bits(table, expected)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # PyTorch's own, of what it makes itself
@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (gdfast.Adam, {"lr": 0.05, "betas": (0.8, 0.99), "eps": 1e-3, "eps_hat": True}, "SparseAdam"),
        (gdfast.SGD, {"lr": 0.05, "maximize": True}, "SGD"),
        (gdfast.Adagrad, {"lr": 0.05, "lr_decay": 0.1, "initial_accumulator_value": 0.3}, "Adagrad"),
    ],
)
def test_as_pytorch(make, options, name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    table = rng.standard_normal((50, 4))
    theirs = torch.nn.Parameter(torch.from_numpy(table.copy()))
    opt = make(table, **options)
    peer = getattr(torch.optim, name)([theirs], **{key: v for key, v in options.items() if key != "eps_hat"})
    for _ in range(30):
        rows, values = rng.integers(0, 50, 20), rng.standard_normal((20, 4))
        opt.step(gdfast.Rows(rows, values))
        theirs.grad = torch.sparse_coo_tensor(
            torch.from_numpy(rows)[None], torch.from_numpy(values), theirs.shape, check_invariants=True
        )
        peer.step()
    np.testing.assert_allclose(table, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", LAZY, ids=str)
def test_memory_grows_with_the_rows_and_not_with_the_table(case, engine):
    import tracemalloc

    def peak_of_steps(n_rows):
        table = np.zeros((n_rows, 2), np.float32)
        opt = case.make(table, engine=engine)
        grad = gdfast.Rows(np.array([3, 999, 3, 0]), np.ones((4, 2), np.float32))
        opt.step(grad)
        tracemalloc.start()
        for _ in range(3):
            opt.step(grad)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak_of_steps(1_000_000) < 20_000
    assert peak_of_steps(1_000) < 20_000


def test_a_step_looks_at_no_row_but_those_it_names():
    """The pages of a table that no row names are never touched: they stay out of memory."""
    resource = pytest.importorskip("resource")
    table = np.zeros((50_000_000, 2))  # 800 MB that the system has only promised
    opt = gdfast.SGD(table, lr=1.0, weight_decay=0.1, l1=0.1, clip_norm=1.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        opt.step(gdfast.Rows(np.array([7, 49_999_999, 7]), np.ones((3, 2))))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 5_000  # all pages would be 195,000


@pytest.mark.parametrize("engine", ENGINES)
def test_guard_sees_the_summed_rows(engine):
    table, bias = np.zeros((5, 2)), np.zeros(2)
    opt = gdfast.SGD([table, bias], lr=1.0, clip_norm=2.5, nonfinite="skip", engine=engine)
    grad = gdfast.Rows(np.array([4, 1, 4]), np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]]))
    opt.step([grad, np.array([0.0, 4.0])])
    assert opt.last_norm == 5.0
    np.testing.assert_allclose(table[4], [-1.5, 0.0], rtol=1e-6)
    before = snapshot(opt, [table, bias])
    grad.values[1] = np.inf
    opt.step([grad, np.zeros(2)])
    assert opt.skipped_steps == 1
    assert snapshot(opt, [table, bias]) == before
    opt = gdfast.SGD([table, bias], nonfinite="raise", engine=engine)
    with pytest.raises(FloatingPointError, match=r"step 0 are not finite: grads\[0\] \(0 NaN, 2 infinite\)"):
        opt.step([grad, np.zeros(2)])
    assert snapshot(opt, [table, bias])[0] == before[0]


def test_dense_and_sparse_steps_of_the_same_arrays_take_turns():
    params, grads = problem(np.float32)
    expected, actual = copy.deepcopy(params), copy.deepcopy(params)
    reference, opt = gdfast.Adam(expected, engine="numpy"), gdfast.Adam(actual)
    for step, grad in enumerate(grads):
        mixed = {
            name: dense(g, params[name]) if isinstance(g, gdfast.Rows) and (step + i) % 3 else g
            for i, (name, g) in enumerate(grad.items())
        }
        reference.step(mixed)
        opt.step(mixed)
        if step == 5:  # a copy has its own memory, and goes on with it
            opt, actual = copy.deepcopy((opt, actual))
    assert_same_bits(actual, expected)
    assert_same_bits(opt.state, reference.state)


@pytest.mark.parametrize("by_name", [False, True])
def test_groups(by_name):
    rng = np.random.default_rng(5)
    table, bias = plain(rng, 60, np.float32).reshape(20, 3), plain(rng, 4, np.float32)
    expected = table.copy(), bias.copy()
    results = []
    for engine, (t, b) in zip(ENGINES, [(table, bias), expected], strict=True):
        opt = gdfast.AdamW([{"params": {"table": t}, "lr": 0.1}, {"params": {"bias": b}, "lr": 0.2}], engine=engine)
        grad, bias_grad = gdfast.Rows(np.array([3, 3, 1]), np.ones((3, 3), np.float32)), np.ones(4, np.float32)
        opt.step({"bias": bias_grad, "table": grad} if by_name else [{"table": grad}, {"bias": bias_grad}])
        results.append(opt.state)
    assert_same_bits((table, bias), expected)
    assert_same_bits(*results)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_rows_at_all_is_a_step(engine):
    table = np.ones((3, 2))
    opt = gdfast.Adam(table, engine=engine, weight_decay=0.5)
    opt.step(gdfast.Rows(np.array([], np.int64), np.empty((0, 2))))
    assert opt.step_count == 1
    assert np.all(table == 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", LAZY, ids=str)
def test_array_by_array_is_one_whole_step(case, engine):
    params, grads = problem(np.float32)
    whole, pieces = copy.deepcopy(params), copy.deepcopy(params)
    opt, twin = case.make(whole, engine=engine), case.make(pieces, engine=engine)
    for step, grad in enumerate(grads):
        mixed = step % 4 == 1  # not the hostile ones, which scaled before they are summed do not overflow
        scales = {name: 0.5 if mixed and i % 2 else 0.25 for i, name in enumerate(grad)}
        for name in sorted(grad, reverse=step % 3 == 0):
            if isinstance(grad[name], gdfast.Rows):
                twin.step_rows(name, grad[name].rows, grad[name].values, grad_scale=scales[name])
            else:
                twin.step_one(name, grad[name], grad_scale=scales[name])
        with pytest.raises(RuntimeError, match="was stepped already"):
            twin.step_one("ids", grad["ids"])
        twin.end_step()
        if mixed:
            grad = {name: scaled(g, scales[name] * 4) for name, g in grad.items()}
        opt.step(grad, grad_scale=0.25)
    assert_same_bits(pieces, whole)
    assert_same_bits(twin.state, opt.state)
    assert twin.step_count == opt.step_count


def test_ever_new_sets_of_tables():
    """Engines are kept for the sets of tables that come again, and not for every set there ever was."""
    tables = [np.ones((4, 2)) for _ in range(4)]
    opt = gdfast.SGD(tables, lr=1.0)
    grad = gdfast.Rows(np.array([1]), np.ones((1, 2)))
    for chosen in range(16):
        opt.step([grad if chosen >> i & 1 else np.zeros((4, 2)) for i in range(4)])
        assert opt._row_engines is None or len(opt._row_engines._kept) <= 9
    for table in tables:
        np.testing.assert_array_equal(table[:, 0], [1, -7, 1, 1])


def test_more_rows_than_fit_into_a_number_with_their_places():
    """Rows of no width, so that there may be as many as one likes."""
    n_rows = 1 << 59
    table = np.zeros((n_rows, 0), np.float32)
    rows = np.array([n_rows - 1, 3, n_rows - 1, 0] * 8)
    opt = gdfast.SGD(table, clip_norm=1.0)
    opt.step(gdfast.Rows(rows, np.zeros((32, 0), np.float32)))
    assert (opt.step_count, opt.last_norm) == (1, 0.0)
    for few in (rows, rows % 5):
        found, places = _sorted(few, int(few.max()) + 1)
        np.testing.assert_array_equal(found, np.sort(few))
        np.testing.assert_array_equal(places, np.argsort(few, kind="stable"))
