"""What can change under a bound optimizer: a step compares its arrays with what was bound before it writes to any."""

import copy
import warnings

import numpy as np
import pytest

import gdfast
from arrays import assert_same_bits
from gdfast.arrays import _bound

ENGINES = ["native", "numpy"]
BIG = 1 << 16


def adam(engine="native", **options):
    params = {"w": np.ones((2, 3)), "b": np.ones(4, np.float32)}
    return params, gdfast.Adam(params, engine=engine, **options)


def ones(params):
    return {name: np.ones(a.shape, a.dtype) for name, a in params.items()}


def retype(array):
    array.dtype = np.int64


def reshape(array):
    array.shape = array.shape[::-1]


def restride(array):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy is going to refuse it itself
        array.strides = 8, 8 * array.shape[0]


def freeze(array):
    array.flags.writeable = False


CHANGES = {
    "shrunk": (lambda a: a.resize(1, refcheck=False), "was resized"),
    "grown": (lambda a: a.resize(BIG, refcheck=False), "was resized"),
    "retyped": (retype, "was float64 and has been made int64"),
    "reshaped": (reshape, r"was reshaped from \(2, 3\) to \(3, 2\)"),
    "frozen": (freeze, "must be writeable to be updated in place; it was made read-only"),
    "strides": (restride, r"was given other strides, \(8, 16\)"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_parameter_that_was_changed_is_named(change, engine):
    params, opt = adam(engine)
    opt.step(ones(params))
    grads, kept = ones(params), params["b"].copy()
    alter, message = CHANGES[change]
    alter(params["w"])
    with pytest.raises(ValueError, match=r'params\["w"\] ' + message):
        opt.step(grads)
    assert opt.step_count == 1
    assert_same_bits(params["b"], kept)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("copied", [False, True], ids=["made", "copied"])
@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("state", ["exp_avg", "ema"])
@pytest.mark.parametrize("change", [retype, reshape, freeze, restride])
def test_state_is_out_of_reach(change, state, where, copied, engine, tmp_path):
    """What a user gets is a new view each time, over memory that no array within reach owns."""
    params, opt = adam(engine, ema_decay=0.9, state_dir=tmp_path if where == "file" else None)
    expected, untouched = adam(engine, ema_decay=0.9)
    if copied:
        params, opt = copy.deepcopy((params, opt))
    for array in (opt.state["w"][state], opt.ema["w"]):
        with pytest.raises(ValueError, match="does not own its data"):
            array.resize(0, refcheck=False)
        assert not isinstance(array.base, np.ndarray)
        change(array)
    for _ in range(2):
        opt.step(ones(params))
        untouched.step(ones(params))
        opt.step_one("w", np.ones((2, 3)))
        opt.step_one("b", np.ones(4, np.float32))
        opt.end_step()
        untouched.step(ones(params))
    for name, array in params.items():
        assert_same_bits(array, expected[name])
        for key, kept in untouched.state[name].items():
            assert_same_bits(opt.state[name][key], kept)


def test_values_of_state_may_be_set():
    param = np.zeros(3)
    opt = gdfast.SGD(param, lr=1.0, momentum=0.5)
    opt.state["0"]["momentum_buffer"][:] = 2.0
    opt.step(np.ones(3))
    assert np.all(opt.state["0"]["momentum_buffer"] == 2.0 * 0.5 + 1.0)
    assert np.all(param == -2.0)


def test_frozen_arrays_can_still_be_saved():
    params, opt = adam()
    freeze(params["w"])
    assert opt.state_dict()["step_count"] == 0
    assert copy.deepcopy(opt).step_count == 0
    other = adam()[1]
    with pytest.raises(ValueError, match=r'params\["w"\] must be writeable'):
        opt.load_state_dict(other.state_dict())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"centralize": True}])
def test_a_parameter_in_an_array_that_was_resized(engine, options):
    """The parameter itself is as it was; the memory that it is a view of is gone."""
    room = np.zeros(BIG)
    opt = gdfast.SGD({"w": room[8:16], "b": np.zeros(3)}, engine=engine, **options)
    room.resize(4, refcheck=False)
    with pytest.raises(ValueError, match=r'params\["w"\] was resized'):
        opt.step({"w": np.ones(8), "b": np.ones(3)})
    with pytest.raises(ValueError, match=r'params\["w"\] was resized'):
        opt.state_dict()


@pytest.mark.parametrize("engine", ENGINES)
def test_views_of_an_array_that_was_resized_are_refused(engine):
    room, rows = np.zeros(BIG), np.zeros(BIG, np.int64)
    view, backwards, numbers = room[BIG - 8 :], room[BIG - 1 : BIG - 9 : -1], rows[BIG - 2 :]
    for array in (room, rows):
        array.resize(4, refcheck=False)
    opt = gdfast.SGD(np.zeros(8), engine=engine)
    for call in (lambda: gdfast.SGD(view, engine=engine), lambda: opt.step(view), lambda: gdfast.global_norm([view])):
        with pytest.raises(ValueError, match="must not be a view of an array that was resized since"):
            call()
    assert not _bound.backed(view)
    assert not _bound.backed(backwards)
    table = gdfast.SGD(np.zeros((8, 1)), engine=engine)
    with pytest.raises(ValueError, match=r"grads.rows must not be a view of an array that was resized"):
        table.step(gdfast.Rows(numbers, np.zeros((2, 1))))


# Schedules are user code that runs in the middle of a step.


def breaking(array, value=1.0):
    def schedule(step):
        if step == 1:
            array.resize(0, refcheck=False)
        return value

    return schedule


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("option", ["lr", "weight_decay", "l1", "clip_norm", "clip_value", "ema_decay"])
@pytest.mark.parametrize("victim", ["param", "grad"])
def test_a_schedule_that_resizes_an_array(option, victim, engine):
    param, grads = np.ones(BIG), [np.ones(BIG), np.ones(3)]
    other = np.ones(3)
    found = []
    opt = gdfast.Adam([param, other], engine=engine, **{option: lambda step: found[0](step) if found else 0.5})
    array = {"param": param, "grad": grads[0]}[victim]
    found.append(breaking(array, 0.5))
    opt.step(grads)
    kept = other.copy()
    with pytest.raises(ValueError, match=r"was resized after|grads\[0\] must have the shape"):
        opt.step(grads)
    assert opt.step_count == 1
    assert_same_bits(other, kept)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", [gdfast.LAMB, gdfast.LARS, gdfast.NovoGrad, gdfast.Adafactor, gdfast.Muon])
def test_rules_that_measure_look_first(rule, engine):
    param = np.ones((4, 4))
    opt = rule(param, lr=lambda step: breaking(param, 0.1)(step), engine=engine)
    opt.step(np.ones((4, 4)))
    with pytest.raises(ValueError, match="params was resized"):
        opt.step(np.ones((4, 4)))
    assert opt.step_count == 1


class Late(gdfast.SGD):
    """An optimizer of a user's own, whose numbers are computed after the arrays were checked."""

    broken = ()

    @staticmethod
    def scalars(values, t):
        for array in Late.broken:
            array.resize(0, refcheck=False)
        return gdfast.SGD.scalars(values, t)


@pytest.fixture
def late():
    yield Late
    Late.broken = ()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("victim", ["param", "grad"])
def test_what_changes_after_the_checks(victim, pieces, engine, late):
    params, grads = {"a": np.ones(BIG), "b": np.ones(3)}, {"a": np.ones(BIG), "b": np.ones(3)}
    opt = late(params, momentum=0.9, engine=engine)
    Late.broken = [{"param": params["a"], "grad": grads["a"]}[victim]]
    message = {"param": r'params\["a"\] was', "grad": r'grads\["a"\] must (stay|have)'}[victim]
    with pytest.raises(ValueError, match=message):
        opt.step_one("a", grads["a"], grad_scale=2.0) if pieces else opt.step(grads)
    assert opt.step_count == 0
    assert np.all(params["b"] == 1)
    Late.broken = []
    if victim == "grad":  # nothing was written, and it goes on
        opt.step_one("b", grads["b"])
        opt.step_one("a", np.ones(BIG))
        opt.end_step()
        assert np.all(params["a"] == params["b"][0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_failed_leaves_what_waits(engine, late):
    param = np.ones(4)
    opt = late(param, engine=engine)
    opt.accumulate(np.full(4, 3.0))
    gone = np.ones(4)
    Late.broken = [gone]
    with pytest.raises(ValueError, match=r"grads must (stay as it was checked|have the shape)"):
        opt.step(gone)
    Late.broken = []
    assert opt.accumulation.count == 1
    opt.step(np.ones(4))
    assert_same_bits(param, np.ones(4) - 1e-3 * 2.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_sums_of_micro_batches_are_compared_too(engine):
    params, opt = adam(engine)
    opt.accumulate(ones(params))
    sums = opt.accumulation.sums[0].array
    with pytest.raises(ValueError, match="does not own its data"):
        sums.resize(0, refcheck=False)
    opt.accumulate(ones(params))
    sums.base.resize(0, refcheck=False)
    for call in (opt.step, opt.accumulate):
        with pytest.raises(ValueError, match=r"the micro-batches' sum of params\[\"w\"\] was resized"):
            call(ones(params))
    assert opt.step_count == 0
    assert opt.accumulation.count == 2
    opt.accumulation.count = 0  # as after a step
    with pytest.raises(ValueError, match="the micro-batches' sum"):
        opt.accumulate(ones(params))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_sums_own_engine_looks_at_what_it_reads(engine, monkeypatch):
    """Between the check of a micro-batch and its adding only other threads can come; this does in their place."""
    params, opt = adam(engine)
    for _ in range(2):
        opt.accumulate(ones(params))
    inner, grads = opt.accumulation._engine, ones(params)
    take = inner.take

    class Between:
        run = staticmethod(inner.run)

        @staticmethod
        def take(row):
            take(row)
            grads["w"].resize(0, refcheck=False)

    monkeypatch.setattr(opt.accumulation, "_engine", Between)
    with pytest.raises(ValueError, match=r"must stay as it was checked"):
        opt.accumulate(grads)
    assert opt.accumulation.count == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_bound_gradients_made_read_only_are_not_zeroed(engine):
    param, grad = np.zeros(3), np.ones(3)
    opt = gdfast.SGD(param, lr=1.0, grads=grad, engine=engine)
    opt.step(zero_grad=True)
    grad[:] = 1
    freeze(grad)
    with pytest.raises(
        ValueError, match=r"grads must stay as it was checked .*, and must be writeable for zero_grad=True"
    ):
        opt.step(zero_grad=True)
    assert opt.step_count == 1
    opt.step()
    assert param.tolist() == [-2.0] * 3
    assert grad.tolist() == [1.0] * 3


@pytest.mark.parametrize("engine", ENGINES)
def test_averages_are_not_swapped_with_arrays_that_changed(engine):
    params, opt = adam(engine, ema_decay=0.5)
    with pytest.raises(ValueError, match=r'params\["w"\] was resized'), opt.averaged():
        params["w"].resize(0, refcheck=False)
    with pytest.raises(ValueError, match=r'params\["w"\] was resized'), opt.averaged():
        raise AssertionError("the averages cannot be there")


def test_schedule_free_iterates_are_not_moved_with_arrays_that_changed():
    param = np.ones(4)
    opt = gdfast.ScheduleFreeSGD(param)
    param.resize(0, refcheck=False)
    with pytest.raises(ValueError, match="params was resized"):
        opt.eval()


@pytest.mark.parametrize("engine", ENGINES)
def test_checkpoints_look_first(engine, tmp_path):
    params, opt = adam(engine)
    opt.step(ones(params))
    gdfast.save(tmp_path / "c", opt)
    params["w"].resize(0, refcheck=False)
    kept = params["b"].copy()
    for call in (lambda: gdfast.save(tmp_path / "d", opt), lambda: gdfast.load(tmp_path / "c", opt)):
        with pytest.raises(ValueError, match=r'params\["w"\] was resized|params/w must have shape'):
            call()
    assert_same_bits(params["b"], kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_lookahead_looks_first(engine, tmp_path):
    params = {"w": np.ones(4)}
    opt = gdfast.Lookahead(gdfast.SGD(params, engine=engine), k=2)
    gdfast.save(tmp_path / "c", opt)
    opt.step({"w": np.ones(4)})
    params["w"].resize(0, refcheck=False)
    for call in (lambda: opt.step({"w": np.ones(4)}), opt.state_dict, lambda: gdfast.load(tmp_path / "c", opt)):
        with pytest.raises(ValueError, match=r'params\["w"\] was resized|params/w must have shape'):
            call()


@pytest.mark.parametrize("engine", ENGINES)
def test_lookahead_takes_rows_also_where_it_meets(engine):
    table, alone = np.ones((4, 2)), np.ones((4, 2))
    opt = gdfast.Lookahead(gdfast.SGD(table, lr=1.0, engine=engine), k=1, alpha=0.5)
    inner = gdfast.SGD(alone, lr=1.0)
    grad = gdfast.Rows(np.array([1]), np.ones((1, 2)))
    opt.step(grad)
    inner.step(grad)
    expected = 1 + 0.5 * (alone - 1)
    assert_same_bits(table, expected)
    opt.step_one("0", grad)
    opt.end_step()
    assert_same_bits(table[1], expected[1] + 0.5 * (expected[1] - 1 - expected[1]))


def test_lbfgs_looks_after_each_call_of_the_closure():
    room = np.zeros(BIG)
    w, calls = room[:2], []

    def closure():
        calls.append(w.copy())
        if len(calls) == 2:
            room.resize(1, refcheck=False)
        return float(calls[-1] @ calls[-1]) + 1.0, 2 * calls[-1] + 1

    opt = gdfast.LBFGS(w)
    with pytest.raises(ValueError, match="params was resized"):
        opt.step(closure)
    with pytest.raises(ValueError, match="params was resized"):
        opt.step(closure)
    with pytest.raises(ValueError, match="params was resized"):
        copy.deepcopy(opt)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}])
def test_micro_batches_that_were_never_given(options, engine):
    param = np.ones(3)
    opt = gdfast.SGD(param, engine=engine, **options)
    opt.accumulation.count = 1
    with pytest.raises(ValueError, match="there are no micro-batches to add"):
        opt.step(np.ones(3))
    assert np.all(param == 1)
    assert opt.step_count == 0


def test_a_step_that_fails_in_another_way_stays_counted(monkeypatch):
    """Something may have been written by then."""
    opt = gdfast.SGD(np.ones(3), engine="numpy")

    def fail(*_):
        raise RuntimeError("in the midst of it")

    monkeypatch.setattr(opt._engine, "run", fail)
    with pytest.raises(RuntimeError, match="in the midst"):
        opt.step(np.ones(3))
    assert opt.step_count == 1
