"""The native functions themselves, called as nobody should: each looks at what it reads in the call that reads it."""

import numpy as np
import pytest

import gdfast
from gdfast.engine import _plan, _reduce, _rows, isa


def test_native_sums_look_at_what_they_read():
    kernels = isa.rules.SQUARE_SUM
    a = np.ones(8)
    for arrays, others in [
        ((np.ones(8, int),), ()),
        ((np.ones((8, 2))[:, 0],), ()),
        ((a,), (np.ones(4),)),
        ((a,), (np.ones(8, np.float32),)),
        (([1.0],), ()),
        ((a,), ([1.0],)),
    ]:
        with pytest.raises(ValueError, match="arrays must be C-contiguous float32 or float64"):
            _reduce.square_sum(kernels, arrays, others, 1)
    with pytest.raises(ValueError, match="others must be 1 arrays, one to be added to each; got 2"):
        _reduce.square_sum(kernels, (a,), (a, a), 1)
    for y, x, z in [(a, None, np.ones(4)), (a, np.ones(4), a), (a, np.ones(8, np.float32), a)]:
        with pytest.raises(ValueError, match="arrays must be C-contiguous"):
            _reduce.axpy_dot(isa.rules.AXPY_DOT, y, x, z, 1.0, 1.0, 1)


def test_native_rows_look_at_what_they_read():
    param, state, numbers = np.ones((4, 2)), np.ones((4, 2)), np.zeros(_rows.MAX_NUMBERS)
    loops = isa.rules.TABLE["adagrad"], isa.rules.PREPARE
    rows, values = np.array([1, 3]), np.ones((2, 2))
    good = {"param": param, "states": (state,), "rows": rows, "values": values, "numbers": numbers}
    for wrong in [
        {"rows": np.array([1, 4])},
        {"rows": np.array([-1, 3])},
        {"rows": np.array([1, 3], np.int32)},
        {"rows": np.arange(4)[::2]},
        {"values": np.ones((2, 4))},
        {"values": np.ones(3)},
        {"values": np.ones((2, 2), np.float32)},
        {"values": np.ones((2, 4))[:, ::2]},
        {"numbers": np.zeros(4)},
        {"states": (np.ones(4),)},
    ]:
        table = {**good, **wrong}
        entry = (table["param"], table["states"], loops, table["rows"], table["values"], table["numbers"], 1)
        with pytest.raises(ValueError, match="were changed since they were checked"):
            _rows.run(lambda *_: pytest.fail("nothing may be stepped"), [entry], 1, False, False)
    order, starts = np.array([0, 1]), np.array([0, 2])
    with pytest.raises(ValueError, match="one row for each row number"):
        _rows.sum_repeated(np.ones((1, 2)), order, starts, np.ones((1, 2)), 1)


def test_native_plans_look_at_what_they_are_lent():
    opt = gdfast.LAMB(np.ones((4, 6)))
    engine = opt._engine
    one, two = gdfast.Muon(np.ones((4, 6)))._engine, gdfast.Adafactor(np.ones((4, 6)))._engine  # arrays lent for a step
    for lent in (np.ones(23), np.ones((4, 6), np.float32), np.ones((6, 4)).T, [1.0]):
        with pytest.raises(ValueError, match="must be 24 elements of its type, in order"):
            engine.set_output(0, lent)
        with pytest.raises(ValueError, match="must be 24 elements of its type, in order"):
            one.set_extras(0, (lent,))
    for plan, extras, rows, columns in [(one, (np.ones(4),), 4, 6), (two, (np.ones(4), np.ones(6)), 5, 6)]:
        with pytest.raises(ValueError, match="there must be at most 2 extra arrays"):
            plan.set_extras(0, extras, rows, columns)
    with pytest.raises(ValueError, match="must be 6 elements"):
        two.set_extras(0, (np.ones(4), np.ones(4)), 4, 6)
    with pytest.raises(ValueError, match=r"reduced state must be float64 \(2,\); got float64 \(\)"):
        engine.set_reduced(0, np.ones(2), np.ones(()))
    for call in (
        lambda: engine.set_output(1, np.ones(24)),
        lambda: engine.set_extras(-1, ()),
        lambda: engine.take_one(1, np.ones((4, 6))),
        lambda: engine.run_one(1, 1),
        lambda: engine.measure(0, 2, 1, False, False),
        lambda: engine.measure_matrices(-1, 4, 6, 1, False),
    ):
        with pytest.raises(IndexError, match="there are 1 arrays; got indices from"):
            call()
    for rows, columns in [(0, 6), (4, 0), (5, 5), (-4, -6)]:
        with pytest.raises(ValueError, match="24 elements make no matrices"):
            engine.measure_matrices(0, rows, columns, 1, False)
    for grads, groups, match in [
        (2, [0], "a group for each of 1 arrays"),
        (1, [1], r"groups must be in \[0, 1\); got 1"),
    ]:
        with pytest.raises(ValueError, match=match):
            engine.bind(np.zeros(grads, np.uintp), np.array(groups))
    plan = _plan.Plan(isa.rules, [(np.ones(2), (), "sgd", 0)], 1)
    with pytest.raises(RuntimeError, match="watch must be called once, with a Bound of each entry"):
        plan.watch([])
    with pytest.raises(RuntimeError, match="bound once"):
        opt._engine.checks.bounds[0].__init__([], [])
    grad = np.ones(2)
    plan.take((grad,))
    grad.resize(0, refcheck=False)
    with pytest.raises(ValueError, match="the gradient of array 0 was changed"):
        plan.run(1)


def test_native_formats_look_at_what_they_decode():
    engine = gdfast.Adam(np.ones(300, np.float32))._engine
    plain, half = (None, None), np.zeros(300, np.float16)
    for param, copy, states, match in [
        (plain, plain, [], "the 2 states of a float32 array have formats"),
        (plain, plain, [plain, ("8bit_signed", None)], "must be 300 contiguous elements of 1 bytes"),
        (("split", None), plain, [plain, plain], "must be 300 contiguous elements of 2 bytes"),
        (plain, ("float16", half[:-1]), [plain, plain], "must be 300 contiguous elements of 2 bytes"),
        (plain, ("float16", None), [plain, plain], "must be 300 contiguous elements of 2 bytes"),
        (plain, ("float8", half), [plain, plain], "there is no format 'float8'"),
        ((), plain, [plain, plain], "values to unpack"),
        (plain, (), [plain, plain], "values to unpack"),
        (plain, plain, [plain, ()], "values to unpack"),
    ]:
        with pytest.raises(ValueError, match=match):
            engine.set_formats(isa.rules, 0, param, copy, states)
    with pytest.raises(IndexError, match="there are 1 arrays; got indices from"):
        engine.set_formats(isa.rules, 1, plain, plain, [plain, plain])
    for name in ("split", "8bit_signed", "float8"):
        with pytest.raises(ValueError, match="gradients must lie in a format without anything beside it"):
            engine.set_grad_format(isa.rules, 0, name)
