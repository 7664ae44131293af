"""Native plans through ctypes: the bits of opt.step, every error code, and nothing that ends the process."""

import copy
import gc
import os
import pickle
import threading

import numpy as np
import pytest
from cases import CASES

import gdfast
import gdfast.native
from gdfast.native import CODES, Plan, end_step, step, step_one, step_rows

ELEMENTWISE = [case for case in CASES if not case.optimizer.layerwise and "centralize" not in case.options]
STEPS = 7


def address(array):
    return array.ctypes.data


class Pointers:
    """The addresses of gradients, as native code gives them."""

    def __init__(self, grads):
        self.grads, self.row = grads, np.array([address(g) for g in grads], np.uintp)
        self.address = address(self.row)


def make(optimizer, dtype=np.float32, **options):
    rng = np.random.default_rng(3)
    params = {"table": rng.normal(size=(20, 3)).astype(dtype), "bias": rng.normal(size=5).astype(dtype)}
    return optimizer(params, **options), params


def gradients(params, step):
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=p.shape).astype(p.dtype) for name, p in params.items()}


def everything(opt, params):
    state = [array.tobytes() for arrays in opt.state.values() for array in arrays.values()]
    return [p.tobytes() for p in params.values()], state, opt.step_count, opt._carried


def native_steps(plan, params, numbers, scale=1.0):
    for number in numbers:
        given = Pointers(list(gradients(params, number).values()))
        assert step(plan.address, given.address, scale) == 0


def python_steps(opt, params, numbers, scale=1.0):
    for number in numbers:
        opt.step(gradients(params, number), grad_scale=scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_bits_of_every_rule(case, dtype):
    (one, mine), (other, theirs) = make(case.make, dtype), make(case.make, dtype)
    python_steps(one, mine, range(2))
    python_steps(other, theirs, range(2))
    with Plan(one, steps=STEPS + 3) as plan:
        native_steps(plan, mine, range(STEPS))
    python_steps(other, theirs, range(STEPS))
    assert everything(one, mine) == everything(other, theirs)
    python_steps(one, mine, [1])
    python_steps(other, theirs, [1])
    assert everything(one, mine) == everything(other, theirs)


ADAMS = [
    (gdfast.Adam, {}),
    (gdfast.Adam, {"eps_hat": True, "eps_root": 1e-3, "weight_decay": 0.1, "maximize": True, "betas": (0.0, 0.99)}),
    (gdfast.AdamW, {"amsgrad": True, "eps_root": 1e-3, "clip_value": 0.5}),
    (gdfast.SGD, {"momentum": 0.9, "l1": 0.01}),
    (gdfast.RMSprop, {}),
    (gdfast.Lion, {}),
]


@pytest.mark.parametrize(("optimizer", "options"), ADAMS)
def test_no_limit_where_the_numbers_need_no_python(optimizer, options):
    (one, mine), (other, theirs) = make(optimizer, **options), make(optimizer, **options)
    for opt, params in ((one, mine), (other, theirs)):
        python_steps(opt, params, range(3))
        params["more"] = np.ones(4, np.float32)
        opt.add_param_group({"params": {"more": params["more"]}, "lr": 0.03})
    with Plan(one) as plan:
        assert plan.steps_left is None
        for number in range(300):
            scale = 1.0 if number % 3 else 0.25
            native_steps(plan, mine, [number], scale)
            other.step(gradients(theirs, number), grad_scale=scale)
        assert plan.steps_made == 300
    assert everything(one, mine) == everything(other, theirs)


def test_adam_stays_right_for_many_steps():
    (one, mine), (other, theirs) = (make(gdfast.Adam, np.float64, betas=(0.9, 0.99)) for _ in range(2))
    given = Pointers(list(gradients(mine, 0).values()))
    with Plan(one) as plan:
        for _ in range(5000):
            assert step(plan.address, given.address, 1.0) == 0
    for _ in range(5000):
        other.step(gradients(theirs, 0))
    assert everything(one, mine) == everything(other, theirs)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (gdfast.Adam, {"lr": gdfast.schedules.Cosine(0.1, total_steps=20)}),
        (gdfast.Adam, {"ema_decay": 0.9, "clip_value": lambda step: 0.1 + step}),
        (gdfast.NAdam, {}),
        (gdfast.ScheduleFreeAdamW, {}),
        (gdfast.Adagrad, {"lr_decay": 0.1}),
        (gdfast.SGD, {"momentum": 0.9, "dampening": 0.5}),
    ],
)
def test_a_table_of_numbers(optimizer, options):
    (one, mine), (other, theirs) = make(optimizer, **options), make(optimizer, **options)
    with pytest.raises(ValueError, match="steps must be given"):
        Plan(one)
    with Plan(one, steps=4) as plan:
        native_steps(plan, mine, range(4), 0.5)
        given = Pointers(list(gradients(mine, 0).values()))
        before = everything(one, mine)
        assert step(plan.address, given.address, 1.0) == CODES["NO_NUMBERS"]
        assert (plan.steps_left, everything(one, mine)) == (0, before)
        plan.prepare(6)
        assert (plan.steps_left, one.step_count) == (6, 4)
        native_steps(plan, mine, range(3))
    python_steps(other, theirs, range(4), 0.5)
    python_steps(other, theirs, range(3))
    assert everything(one, mine) == everything(other, theirs)


def test_a_subclass_with_numbers_of_its_own():
    class Halved(gdfast.Adam):
        @staticmethod
        def scalars(values, t):
            return gdfast.Adam.scalars({**values, "lr": values["lr"] / 2}, t)

    class Faster(gdfast.AdamW):
        @staticmethod
        def decays(values, t):
            return 0.0, 0.1 / t

    for kind in (Halved, Faster):
        opt, params = make(kind)
        with pytest.raises(ValueError, match=f"numbers of this {kind.__name__} differ"):
            Plan(opt)
        other, theirs = make(kind)
        with Plan(opt, steps=3) as plan:
            native_steps(plan, params, range(3))
        python_steps(other, theirs, range(3))
        assert everything(opt, params) == everything(other, theirs)


def test_a_comparison_with_the_step_counts_as_a_use():
    class First(gdfast.SGD):
        @staticmethod
        def scalars(values, t):
            return (values["lr"] * 10 if t == 1 else values["lr"]), 0.0, 1.0

    with pytest.raises(ValueError, match="steps must be given"):
        Plan(make(First)[0])


def test_hyperparameters_set_meanwhile_count_from_the_next_step():
    (one, mine), (other, theirs) = make(gdfast.Adam), make(gdfast.Adam)
    with Plan(one) as plan:
        native_steps(plan, mine, range(3))
        one.lr = 0.5
        native_steps(plan, mine, range(3))
        with pytest.raises(ValueError, match="steps must be given"):
            one.lr = gdfast.schedules.Constant(0.25)
        given = Pointers(list(gradients(mine, 0).values()))
        assert step(plan.address, given.address, 1.0) == CODES["STALE"]
        plan.prepare(5)
        native_steps(plan, mine, range(2))
        one.param_groups[0]["weight_decay"] = 0.1
        assert plan.steps_left == 3
        native_steps(plan, mine, range(3))
        assert step(plan.address, given.address, 1.0) == CODES["NO_NUMBERS"]
    python_steps(other, theirs, range(3))
    other.lr = 0.5
    python_steps(other, theirs, range(3))
    other.lr = 0.25
    python_steps(other, theirs, range(2))
    other.param_groups[0]["weight_decay"] = 0.1
    python_steps(other, theirs, range(3))
    assert everything(one, mine) == everything(other, theirs)
    one.lr = 0.125  # no plan listens any more
    assert one.lr == 0.125


@pytest.mark.parametrize("optimizer", [gdfast.Adam, gdfast.SGD, gdfast.Adagrad])
def test_rows(optimizer):
    (one, mine), (other, theirs) = make(optimizer, n_threads=1), make(optimizer, n_threads=1)
    steps = None if optimizer is not gdfast.Adagrad else 30
    with Plan(one, steps) as plan:
        table, bias = plan.arrays["table"], plan.arrays["bias"]
        for number in range(20):
            rng = np.random.default_rng(number)
            rows = np.flatnonzero(rng.random(20) < rng.random())
            values = rng.normal(size=(len(rows), 3)).astype(np.float32)
            grad = rng.normal(size=5).astype(np.float32)
            assert step_rows(plan.address, table, address(rows), len(rows), address(values), 0.5) == 0
            assert step_one(plan.address, bias, address(grad), 1.0) == 0
            assert end_step(plan.address) == 0
            other.step_one("table", gdfast.Rows(rows, values), grad_scale=0.5)
            other.step_one("bias", grad)
            other.end_step()
    assert everything(one, mine) == everything(other, theirs)


def test_codes_of_bad_arguments_write_nothing():
    opt, params = make(gdfast.Adam)
    good = Pointers(list(gradients(params, 0).values()))
    rows, values = np.array([3, 5]), np.ones((2, 3), np.float32)
    plan = Plan(opt)
    h = plan.address
    before = everything(opt, params)

    def rows_code(*numbers, at=0):
        given = np.array(numbers, np.int64)
        return step_rows(h, at, address(given), len(given), address(values), 1.0)

    table_memory, state_memory = params["table"], opt.state["bias"]["exp_avg"]
    got = {
        "null row": step(h, 0, 1.0),
        "null": step(h, address(np.array([good.row[0], 0], np.uintp)), 1.0),
        "unaligned": step(h, address(np.array([good.row[0], good.row[1] + 1], np.uintp)), 1.0),
        "own parameter": step(h, address(np.array([address(table_memory) + 4, good.row[1]], np.uintp)), 1.0),
        "own state": step(h, address(np.array([good.row[0], address(state_memory)], np.uintp)), 1.0),
        "nan": step(h, good.address, np.nan),
        "infinite": step_one(h, 0, int(good.row[0]), -np.inf),
        "array": step_one(h, 2, int(good.row[0]), 1.0),
        "negative array": step_one(h, -1, int(good.row[0]), 1.0),
        "end": end_step(h),
        "descending": rows_code(5, 3),
        "repeated": rows_code(3, 3),
        "negative": rows_code(-1, 3),
        "beyond": rows_code(3, 20),
        "negative count": step_rows(h, 0, address(rows), -1, address(values), 1.0),
        "null rows": step_rows(h, 0, 0, 2, address(values), 1.0),
        "null values": step_rows(h, 0, address(rows), 2, 0, 1.0),
    }
    expected = {
        **dict.fromkeys(("null row", "null", "unaligned", "own parameter", "own state", "null values"), "BAD_GRAD"),
        **dict.fromkeys(("nan", "infinite"), "BAD_SCALE"),
        **dict.fromkeys(("array", "negative array"), "BAD_ARRAY"),
        "end": "UNFINISHED",
        **dict.fromkeys(("descending", "repeated", "negative", "beyond", "negative count", "null rows"), "BAD_ROWS"),
    }
    assert got == {name: CODES[code] for name, code in expected.items()}
    plan.close()
    assert everything(opt, params) == before


def test_the_order_of_a_step_by_parts():
    opt, params = make(gdfast.Adam)
    grads = gradients(params, 0)
    given = Pointers(list(grads.values()))
    with Plan(opt) as plan:
        assert step_one(plan.address, 1, int(given.row[1]), 1.0) == 0
        assert step_one(plan.address, 1, int(given.row[1]), 1.0) == CODES["STEPPED"]
        assert step(plan.address, given.address, 1.0) == CODES["UNFINISHED"]
        assert end_step(plan.address) == CODES["UNFINISHED"]
        for refused in (plan.close, plan.prepare):
            with pytest.raises(RuntimeError, match="not stepped yet: table"):
                refused()
        assert step_rows(plan.address, 0, 0, 0, 0, 1.0) == 0
        assert end_step(plan.address) == 0
    assert opt.step_count == 1


def test_an_error_closes_the_plan_and_counts_a_step_that_was_begun():
    opt, params = make(gdfast.Adam)
    given = Pointers(list(gradients(params, 0).values()))

    def fail(plan):
        step_one(plan.address, 0, int(given.row[0]), 1.0)
        raise KeyError

    with pytest.raises(KeyError), Plan(opt) as plan:
        fail(plan)
    assert opt.step_count == 1
    opt.step(gradients(params, 1))
    assert opt.step_count == 2


def test_rows_are_refused_where_whole_arrays_move():
    row, values = np.array([0]), np.ones((1, 3), np.float32)
    assert not gdfast.ASGD.lazy_rules
    for opt in (make(gdfast.ASGD)[0], make(gdfast.Adam, ema_decay=0.9)[0], gdfast.Adam(np.array(1.0))):
        with Plan(opt, 3) as plan:
            assert step_rows(plan.address, 0, address(row), 1, address(values), 1.0) == CODES["NOT_BY_ROWS"]


def test_a_plan_that_is_closed_or_gone():
    opt, params = make(gdfast.Adam)
    given = Pointers(list(gradients(params, 0).values()))
    plan = Plan(opt)
    old = plan.address
    del plan
    assert step(old, given.address, 1.0) == CODES["NO_PLAN"]
    opt.step(gradients(params, 0))  # the optimizer has its steps back
    with Plan(opt) as plan:
        assert plan.address != old
        assert step(old, given.address, 1.0) == CODES["NO_PLAN"]
        del opt
        gc.collect()
        assert step(plan.address, given.address, 1.0) == 0  # the plan keeps the optimizer alive
    plan.close()
    with pytest.raises(RuntimeError, match="is closed"):
        plan.prepare()
    for handle in (plan.address, 0, 1, 12345, 2**63, 2**64 - 1):
        assert step(handle, given.address, 1.0) == CODES["NO_PLAN"]
        assert step_one(handle, 0, given.address, 1.0) == CODES["NO_PLAN"]
        assert end_step(handle) == CODES["NO_PLAN"]


def test_many_plans_at_once():
    opts = [make(gdfast.SGD, lr=0.1 * i) for i in range(600)]
    plans = [Plan(opt) for opt, _ in opts]
    assert len({plan.address for plan in plans}) == 600
    for plan, (_, params) in zip(plans, opts, strict=True):
        native_steps(plan, params, [0])
    for plan, (opt, params) in zip(plans, opts, strict=True):
        plan.close()
        other, theirs = make(gdfast.SGD, lr=opt.lr)
        python_steps(other, theirs, [0])
        assert everything(opt, params) == everything(other, theirs)


def test_the_optimizer_waits_while_a_plan_is_open():
    opt, params = make(gdfast.Adam)
    grads = gradients(params, 0)
    with Plan(opt) as plan:
        for refused in (
            lambda: opt.step(grads),
            lambda: opt.step_one("bias", grads["bias"]),
            lambda: opt.accumulate(grads),
            lambda: opt.state_dict(),
            lambda: opt.load_state_dict({}),
            lambda: opt.add_param_group({"params": np.ones(3)}),
            lambda: copy.deepcopy(opt),
            lambda: Plan(opt),
        ):
            with pytest.raises(RuntimeError, match="a native plan of this optimizer is open: first close it"):
                refused()
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied or pickled"):
                copied(plan)
    opt.step(grads)


@pytest.mark.parametrize("view", [False, True])
def test_arrays_cannot_be_resized_while_a_plan_is_open(view):
    owner = np.ones(8, np.float32)
    opt = gdfast.SGD(owner[:4] if view else owner)
    plan = Plan(opt)
    with pytest.raises(ValueError, match="resize"):
        owner.resize(100_000, refcheck=False)
    given = Pointers([np.ones(8, np.float32)])
    assert step(plan.address, given.address, 1.0) == 0
    plan.close()
    owner.resize(100_000, refcheck=False)
    with pytest.raises(ValueError, match="resized"):
        Plan(opt)


def test_arrays_that_change_otherwise():
    param = np.ones(4, np.float32)
    given = Pointers([np.ones(4, np.float32)])
    opt = gdfast.SGD(param)
    with Plan(opt) as plan:
        param.flags.writeable = False
        assert step(plan.address, given.address, 1.0) == CODES["CHANGED"]
        assert step_one(plan.address, 0, int(given.row[0]), 1.0) == CODES["CHANGED"]
        param.flags.writeable = True
        param.__setstate__((1, (2,), np.dtype("f4"), False, b"12345678"))  # other memory: the old is freed
        assert step(plan.address, given.address, 1.0) == CODES["CHANGED"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clip_norm": 1.0}, ValueError, "clip_norm cannot go with native steps"),
        ({"nonfinite": "skip"}, ValueError, "nonfinite cannot go with native steps"),
        ({"engine": "numpy"}, ValueError, "cannot be stepped by native code"),
        ({"centralize": True}, ValueError, "cannot be stepped by native code"),
        ({"state_dtype": "8bit", "state_dtype_min_size": 1}, ValueError, "cannot be stepped by native code"),
    ],
)
def test_refused_options(options, error, message):
    opt, params = make(gdfast.Adam, **options)
    with pytest.raises(error, match=message):
        Plan(opt)
    opt.step(gradients(params, 0))


def test_refused_arguments():
    opt, params = make(gdfast.Adam)
    for steps, error in ((0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError), ("3", TypeError)):
        with pytest.raises(error, match="steps must be"):
            Plan(opt, steps)
    with pytest.raises(TypeError, match="opt must be an optimizer of gdfast; got ndarray"):
        Plan(np.ones(3))
    with pytest.raises(ValueError, match="cannot be stepped by native code"):
        Plan(gdfast.Muon(np.ones((3, 3))))
    opt.accumulate(gradients(params, 0))
    with pytest.raises(RuntimeError, match="micro-batches wait"):
        Plan(opt)
    with pytest.raises(ValueError, match=r"rule must be one of sgd, .*; got 'adamm'"):
        gdfast.native.loop("adamm", np.float32)
    with pytest.raises(ValueError, match="dtype must be float32 or float64; got float16"):
        gdfast.native.loop("adam", np.float16)


def test_threads_and_forks_give_the_same_bits(many_cpus):
    (one, mine), (other, theirs) = make(gdfast.Adam), make(gdfast.Adam)
    many_cpus(one, 3)
    with Plan(one) as plan:
        native_steps(plan, mine, range(3))
        child = os.fork() if hasattr(os, "fork") else None
        if child == 0:
            status = 1
            try:
                native_steps(plan, mine, range(3))
                python_steps(other, theirs, range(6))
                plan.close()
                status = one.step_count - 6
            finally:
                os._exit(status)
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    python_steps(other, theirs, range(3))
    assert everything(one, mine) == everything(other, theirs)


def test_another_thread_gets_a_code_and_closing_waits():
    size = 2_000_000
    param, grad = np.ones(size, np.float32), np.ones(size, np.float32)
    opt = gdfast.Adam(param, n_threads=1)
    plan, given, codes = Plan(opt), Pointers([grad]), []
    handle = plan.address

    def work():
        code = 0
        while code in (0, CODES["BUSY"]):
            code = step(handle, given.address, 1.0)
            codes.append(code)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(codes) < 50:
        pass
    plan.close()
    for thread in threads:
        thread.join()
    assert set(codes) <= {0, CODES["BUSY"], CODES["NO_PLAN"]}
    assert codes.count(CODES["NO_PLAN"]) == 3
    assert opt.step_count == codes.count(0)


def test_every_code_has_a_meaning():
    meanings = {gdfast.native.error(code) for code in CODES.values()}
    assert len(meanings) == len(CODES) == 14
    assert sorted(CODES.values(), reverse=True) == list(range(0, -14, -1))
    assert gdfast.native.error(-99) == gdfast.native.error(1) == "no code of gdfast"


@pytest.mark.parametrize("rule", gdfast.native.loops())
def test_loops_have_as_many_names_as_numbers(rule):
    from gdfast.engine import isa

    loop, registered = gdfast.native.loop(rule, np.float64), isa.rules.TABLE[rule]
    assert loop.address == registered.float64
    assert len(loop.states) == registered.states
    assert len(loop.scalars) == registered.scalars + 2


def test_loops_are_all_of_those_that_measure_nothing():
    from gdfast import reference
    from gdfast.engine import isa

    others = {rule for rule in isa.rules.TABLE if rule in reference.LAYERWISE or rule.startswith("limit_")}
    assert set(gdfast.native.loops()) == set(isa.rules.TABLE) - others
