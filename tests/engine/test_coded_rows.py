"""Row-sparse gradients of tables in fewer bits: the bits of a dense step in the touched rows, nothing elsewhere."""

import numpy as np
import pytest
from levels import LEVELS

import gdfast
from gdfast.arrays._bound import ChangedError

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16, FLOAT16 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16)
ENGINES = ["native", "numpy"]
SHAPES = {"table": (40, 256), "flat": (50,), "deep": (9, 2, 64), "none": (0, 128), "narrow": (7, 0)}
#: dtype of the parameters, options
KINDS = [
    (np.float32, {"state_dtype": "bfloat16"}),
    (np.float32, {"state_dtype": {"exp_avg": "8bit"}}),
    (BFLOAT16, {}),
    (BFLOAT16, {"master": "float32", "rounding": "nearest", "state_dtype": "bfloat16"}),
    (BFLOAT16, {"master": None, "state_dtype": "8bit"}),
    (FLOAT16, {"state_dtype": "8bit"}),
    (FLOAT16, {"master": None, "rounding": "nearest"}),
]


def made(dtype, options, **more):
    rng = np.random.default_rng(1)
    least = 0 if "8bit" not in str(options) else 128  # "flat" keeps float32
    params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}
    options = {"state_dtype_min_size": least, "seed": 3, "weight_decay": 0.1, **options, **more}
    return gdfast.Adam(params, lr=0.1, **options), params


def gradients(step, grad_dtype=np.float32):
    """Row-sparse gradients of all but one array, with repeated rows, and the same ones summed."""
    rng = np.random.default_rng(10 + step)
    found = {}
    for name, shape in SHAPES.items():
        rows = rng.integers(0, max(shape[0], 1), min(shape[0], 6))
        found[name] = gdfast.Rows(rows, rng.standard_normal((len(rows), *shape[1:])).astype(grad_dtype))
    found["deep"] = rng.standard_normal(SHAPES["deep"]).astype(grad_dtype)
    return found


def contents(opt, params):
    state = {name: {key: array.tobytes() for key, array in of.items()} for name, of in opt.state.items()}
    return {name: array.tobytes() for name, array in params.items()}, state


@pytest.mark.parametrize("grad_dtype", [np.float32, BFLOAT16, FLOAT16])
@pytest.mark.parametrize(("dtype", "options"), KINDS)
def test_native_is_the_reference(dtype, options, grad_dtype, use_level):
    def run(**more):
        opt, params = made(dtype, options, clip_norm=3.0, **more)
        for step in range(5):
            opt.step(gradients(step, grad_dtype))
        return *contents(opt, params), opt.last_norm

    expected = run(engine="numpy")
    for level in LEVELS:
        use_level(level)
        assert run(n_threads=2) == expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "options"), KINDS)
def test_a_step_of_all_rows_is_the_dense_one(dtype, options, engine):
    (whole, expected), (opt, params) = made(dtype, options, engine=engine), made(dtype, options, engine=engine)
    rng = np.random.default_rng(2)
    for _ in range(4):
        grads = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
        rows = {name: rng.permutation(len(grad)) for name, grad in grads.items()}
        whole.step(grads)
        opt.step({name: gdfast.Rows(rows[name], grad[rows[name]]) for name, grad in grads.items()})
        assert contents(opt, params) == contents(whole, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "options"), KINDS)
def test_rows_that_are_not_named_stay(dtype, options, engine):
    opt, params = made(dtype, options, engine=engine)
    opt.step({name: np.ones(shape, np.float32) for name, shape in SHAPES.items()})
    table, states = params["table"].copy(), {key: array.copy() for key, array in opt.state["table"].items()}
    for _ in range(30):
        opt.step_rows("table", np.array([5, 7]), np.ones((2, 256), np.float32))
        for name in SHAPES.keys() - {"table"}:
            opt.step_one(name, np.zeros(SHAPES[name], np.float32))
        opt.end_step()
    still = np.delete(np.arange(40), [5, 7])
    assert np.array_equal(params["table"][still], table[still])
    for key, before in states.items():
        assert np.array_equal(opt.state["table"][key].reshape(40, -1)[still], before.reshape(40, -1)[still]), key
    assert not np.array_equal(params["table"][[5, 7]], table[[5, 7]])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "options"), KINDS)
def test_array_by_array_is_one_whole_step(dtype, options, engine):
    (whole, expected), (opt, params) = made(dtype, options, engine=engine), made(dtype, options, engine=engine)
    for step in range(3):
        whole.step(gradients(step))
        for name, grad in reversed(gradients(step).items()):
            opt.step_one(name, grad)
        opt.end_step()
    assert contents(opt, params) == contents(whole, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_copies_follow_the_rows(engine):
    w, copy = np.ones((40, 128), np.float32), np.zeros((40, 128), BFLOAT16)
    opt = gdfast.AdamW(w, copies=copy, engine=engine)
    opt.step(gdfast.Rows(np.array([3]), np.ones((1, 128), np.float32)))
    assert copy[3].tobytes() == w[3].astype(BFLOAT16).tobytes()
    assert not copy[[2, 4]].any()


def test_a_csr_matrix_of_float32_for_a_table_of_bfloat16():
    sparse = pytest.importorskip("scipy.sparse")
    w, twin = np.ones((40, 128), BFLOAT16), np.ones((40, 128), BFLOAT16)
    dense = np.zeros((40, 128), np.float32)
    dense[[3, 9]] = 0.5
    opt = gdfast.SGD(w, lr=1.0)
    opt.step(sparse.csr_matrix(dense))
    gdfast.SGD(twin, lr=1.0).step(dense)
    assert w.tobytes() == twin.tobytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_that_share_a_block_are_refused(engine):
    table, more = np.ones((100, 96), np.float32), np.ones((100, 96), np.float32)
    opt = gdfast.Adam([table, more], state_dtype="8bit", engine=engine)
    rows = gdfast.Rows(np.array([3]), np.ones((1, 96), np.float32))
    with pytest.raises(TypeError, match=r"grads\[1\] must be a NumPy array: a row of 96 elements shares the scales"):
        opt.step([np.ones_like(table), rows])
    assert np.all(table == 1)
    assert opt.step_count == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_wrong_values_write_nothing(engine):
    opt, params = made(BFLOAT16, {}, engine=engine)
    before = contents(opt, params)
    good = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    for wrong in (np.ones((1, 256)), np.ones((1, 255), np.float32), np.ones((1, 256), np.int32)):
        with pytest.raises((TypeError, ValueError), match="table"):
            opt.step({**good, "table": gdfast.Rows(np.array([3]), wrong)})
    with pytest.raises(ValueError, match="deep"):
        opt.step({**gradients(0), "deep": np.ones((9, 2, 63), np.float32)})
    with pytest.raises(ValueError, match="must not share memory"):
        opt.step({**good, "table": gdfast.Rows(np.array([3]), params["table"][:1])})
    skipped = gradients(0)
    skipped["table"].values[0, 0] = np.nan
    careful, _ = made(BFLOAT16, {}, engine=engine, nonfinite="skip")
    careful.step(skipped)
    assert careful.skipped_steps == 1
    assert contents(opt, params) == before


@pytest.mark.parametrize("engine", ENGINES)
def test_an_array_that_changed_is_found_before_the_step(engine):
    opt, params = made(BFLOAT16, {}, engine=engine)
    params["table"].flags.writeable = False
    with pytest.raises((ChangedError, ValueError), match="table"):
        opt.step(gradients(0))
    assert opt.step_count == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_groups_have_numbers_of_their_own(engine):
    tables = [np.ones((40, 128), BFLOAT16) for _ in range(2)]
    opt = gdfast.SGD([{"params": tables[0], "lr": 1.0}, {"params": tables[1], "lr": 0.5}], lr=1.0, engine=engine)
    opt.step([gdfast.Rows(np.array([3]), np.ones((1, 128), np.float32))] * 2)
    assert [table[3, 0] for table in tables] == [0.0, 0.5]
