"""Promise 4: a resumed run continues bit for bit; what does not fit is named and changes nothing."""

import copy
from typing import ClassVar

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import assert_same_bits, plain, snapshot
from gdfast import schedules


def make(case, dtype=np.float32, **options):
    rng = np.random.default_rng(0)
    params = {"a": plain(rng, 10, dtype), "b": {"c": plain(rng, 3, dtype)}}
    return params, case.make(params, **options)


def gradients(dtype=np.float32):
    rng = np.random.default_rng(1)
    while True:
        yield {"a": plain(rng, 10, dtype), "b": {"c": plain(rng, 3, dtype)}}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_resumed_run_continues_bit_for_bit(case):
    lr = schedules.Cosine(0.1, total_steps=20)
    params, opt = make(case, lr=lr)
    grads = gradients()
    for _ in range(7):
        opt.step(next(grads))
    saved = opt.state_dict()
    again = copy.deepcopy(params)
    resumed = case.make(again, engine="numpy")  # other hyperparameters, other engine
    resumed.load_state_dict(saved)
    assert resumed.step_count == 7
    for _ in range(7):
        grad = next(grads)
        opt.step(grad)
        resumed.step(grad)
    assert_same_bits(params, again)
    assert_same_bits(opt.state, resumed.state)
    assert resumed.param_groups[0]["lr"] == lr


def test_copies_are_deep_both_ways():
    adam = next(case for case in CASES if case.name == "adam")
    _, opt = make(adam)
    grads = gradients()
    opt.step(next(grads))
    saved = opt.state_dict()
    reference = copy.deepcopy(saved)
    opt.step(next(grads))
    assert_same_bits(saved["state"], reference["state"])
    opt.load_state_dict(saved)
    opt.step(next(grads))
    assert_same_bits(saved["state"], reference["state"])
    assert saved["step_count"] == reference["step_count"] == 1
    assert saved["param_groups"] == reference["param_groups"]


def broken(change):
    """A state dict with one thing wrong."""

    def make_broken(saved):
        saved = copy.deepcopy(saved)
        change(saved)
        return saved

    return make_broken


BROKEN = {
    "optimizer": (lambda d: d.update(optimizer="SGD"), "optimizer must be Adam; got 'SGD'"),
    "count": (lambda d: d.update(step_count=-1), r"step_count must be an int in \[0, 2\*\*63\); got -1"),
    "count kind": (lambda d: d.update(step_count=1.5), "step_count must be an int"),
    "guard": (lambda d: d["guard"].update(clip_norm=-1.0), r"guard: clip_norm must be in \(0, inf\); got -1.0"),
    "averaging": (lambda d: d["averaging"].update(ema_decay=0.9), "averaging must be off; got"),
    "state kind": (lambda d: d.update(state=[]), "state must be a dict; got list"),
    "name": (lambda d: d["state"].pop("a"), 'state lacks "a"'),
    "more": (lambda d: d["state"].update(z={}), 'state has "z", which this optimizer does not'),
    "inner kind": (lambda d: d["state"].update(a=1), r'state\["a"\] must be a dict; got int'),
    "key": (lambda d: d["state"]["a"].pop("exp_avg"), r'state\["a"\] lacks "exp_avg"'),
    "array": (lambda d: d["state"]["a"].update(exp_avg=[1]), r'state\["a"\]\["exp_avg"\] must be a NumPy array; got'),
    "dtype": (lambda d: d["state"]["a"].update(exp_avg=np.zeros(10)), "must have dtype float32; got float64"),
    "shape": (lambda d: d["state"]["a"].update(exp_avg=np.zeros(9, "f4")), r"must have shape \(10,\); got \(9,\)"),
    "groups": (lambda d: d.update(param_groups=[]), "param_groups must be a list of 1; got 0"),
    "groups kind": (lambda d: d.update(param_groups=None), "param_groups must be a list of 1; got NoneType"),
    "group kind": (lambda d: d.update(param_groups=[3]), r"param_groups\[0\] must be a dict; got int"),
    "group names": (lambda d: d["param_groups"][0].update(params=["b.c", "a"]), "must hold the arrays"),
    "names kind": (lambda d: d["param_groups"][0].update(params=3), "must hold the arrays .* got 3"),
    "born": (lambda d: d["param_groups"][0].pop("born"), "must have a count born, at most step_count; got None"),
    "born late": (lambda d: d["param_groups"][0].update(born=9), "must have a count born, at most step_count; got 9"),
    "value": (lambda d: d["param_groups"][0].update(lr=-1.0), r"param_groups\[0\]: lr must be in"),
    "no value": (lambda d: d["param_groups"][0].pop("eps"), r"param_groups\[0\] lacks eps"),
    "unknown": (lambda d: d["param_groups"][0].update(foo=1), "has no hyperparameter 'foo'"),
    "amsgrad": (lambda d: d["param_groups"][0].update(amsgrad=True), "amsgrad is settled"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_fit_is_named_and_changes_nothing(name):
    change, message = BROKEN[name]
    adam = next(case for case in CASES if case.name == "adam")
    params, opt = make(adam)
    opt.step(next(gradients()))
    before = snapshot(opt, [params["a"], params["b"]["c"]])
    saved = opt.state_dict()
    for arrays in saved["state"].values():
        for array in arrays.values():
            array += 1
    with pytest.raises(ValueError, match=message):
        opt.load_state_dict(broken(change)(saved))
    assert snapshot(opt, [params["a"], params["b"]["c"]]) == before
    opt.load_state_dict(saved)


def test_every_mismatch_is_named():
    adam = next(case for case in CASES if case.name == "adam")
    _, opt = make(adam)
    saved = opt.state_dict()
    BROKEN["dtype"][0](saved)
    BROKEN["value"][0](saved)
    BROKEN["count"][0](saved)
    with pytest.raises(ValueError, match="does not fit") as caught:
        opt.load_state_dict(saved)
    for name in ("dtype", "lr", "step_count"):
        assert name in str(caught.value)


def test_not_a_state_dict():
    _, opt = make(CASES[0])
    with pytest.raises(TypeError, match="state_dict must be a dict; got int"):
        opt.load_state_dict(3)
    with pytest.raises(ValueError, match="state_dict lacks optimizer, step_count, skipped_steps, seed, guard"):
        opt.load_state_dict({})


def test_a_schedule_with_state_stays_the_object_its_owner_updates():
    plateau = schedules.ReduceOnPlateau(0.5, factor=0.5, patience=0)
    param = np.zeros(2)
    opt = gdfast.SGD(param, lr=plateau)
    for loss in (3.0, 3.0):
        plateau.update(loss)
    saved = opt.state_dict()
    plateau.update(3.0)
    assert opt.lr == 0.125
    opt.load_state_dict(saved)
    assert opt.lr == 0.25
    plateau.update(3.0)
    assert opt.lr == 0.125
    fresh = gdfast.SGD(np.zeros(2), lr=0.1)
    fresh.load_state_dict(saved)
    assert fresh.lr == 0.25


@pytest.mark.parametrize("wrap", [lambda p: schedules.Warmup(p, 3), lambda p: schedules.Join([0.5, p], milestones=[1])])
def test_so_it_does_within_another_schedule(wrap):
    plateau = schedules.ReduceOnPlateau(0.5, factor=0.5, patience=0)
    opt = gdfast.SGD(np.zeros(2), lr=wrap(plateau))
    plateau.update(3.0)
    saved = opt.state_dict()
    plateau.update(3.0)
    opt.load_state_dict(saved)
    assert plateau.value == 0.5
    plateau.update(3.0)
    assert opt.param_groups[0]["lr"](9) == 0.25


def test_so_it_does_in_the_guard():
    plateau = schedules.ReduceOnPlateau(0.5, patience=0)
    opt = gdfast.SGD(np.zeros(2), clip_norm=plateau)
    opt.load_state_dict(opt.state_dict())
    assert opt.guard.clip_norm is plateau


def test_added_group_resumes():
    def grown():
        params = [np.ones(2), np.ones(2)]
        opt = gdfast.Adam(params[0])
        for _ in range(3):
            opt.step(np.ones(2))
        opt.add_param_group({"params": params[1]})
        return params, opt

    params, opt = grown()
    opt.step([np.ones(2), np.ones(2)])
    fresh_params = [param.copy() for param in params]
    fresh = gdfast.Adam([{"params": fresh_params[0]}, {"params": fresh_params[1]}])
    fresh.load_state_dict(opt.state_dict())
    opt.step([np.ones(2), np.ones(2)])
    fresh.step([np.ones(2), np.ones(2)])
    assert_same_bits(params, fresh_params)


class Counting(gdfast.SGD):
    """A rule with memory: its rate falls with a sum over the steps that happened."""

    carried_scalars: ClassVar[dict[str, float]] = {"seen": 0.0}

    @staticmethod
    def next_carried(values, t):
        return {"seen": values["seen"] + values["lr"]}

    @staticmethod
    def scalars(values, t):
        return values["lr"] / values["seen"], 0.0, 1.0


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_memory_moves_with_the_steps_that_happen_and_is_kept(engine):
    param, nan, one = np.zeros(2), np.full(2, np.nan), np.ones(2)
    opt = Counting(param, lr=0.5, nonfinite="skip", engine=engine)
    opt.step(one)
    opt.step(nan)
    opt.step(one)
    assert param.tolist() == [-1.5, -1.5]
    assert opt.state_dict()["memory"] == [{"seen": 1.0}]
    twin = Counting(param.copy(), lr=0.5, nonfinite="skip")
    twin.load_state_dict(opt.state_dict())
    for both in (opt, twin):
        both.add_param_group({"params": {"b": np.zeros(2)}})
        both.step([one, {"b": one}])
    assert_same_bits(twin.param_groups[0]["params"], [param])
    assert opt.state_dict()["memory"] == twin.state_dict()["memory"] == [{"seen": 1.5}, {"seen": 0.5}]


@pytest.mark.parametrize("wrong", [None, [], [1], [{}], [{"seen": "1"}], [{"seen": 1.0, "more": 1.0}]])
def test_wrong_memory_is_named(wrong):
    opt = Counting(np.zeros(2))
    state = {**opt.state_dict(), "memory": wrong}
    with pytest.raises(ValueError, match="memory"):
        opt.load_state_dict(state)
    assert opt.state_dict()["memory"] == [{"seen": 0.0}]
