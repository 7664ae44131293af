"""The kernels' interface: a loop says how much it takes, and nothing that does not fit reaches it."""

import math
from typing import ClassVar

import numpy as np
import pytest
from cases import CASES, MATRICES

import gdfast
from arrays import snapshot
from gdfast.engine import _linear, _plan, _rows, isa, measured
from gdfast.stepping.precompute import precompute_numbers

ENGINES = ["native", "numpy"]


def returning(base, count):
    """Return a class with the rules of another one, but with this number of scalars."""

    class Odd(base):
        @staticmethod
        def scalars(values, t):
            return (0.5,) * count

    return Odd


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [0, 1, 6, 8, 14, 15, 17, 1000])
def test_a_class_of_too_many_numbers_or_too_few(count, engine):
    w = np.ones(5)
    opt = returning(gdfast.Adam, count)({"w": w, "b": np.ones(2)}, engine=engine)
    before = snapshot(opt, w)
    with pytest.raises(ValueError, match=f"the rule 'adam' must have 7 numbers from scalars.*; got {count}$"):
        opt.step({"w": np.ones(5), "b": np.ones(2)})
    with pytest.raises(ValueError, match="must have 7 numbers"):
        opt.step_one("w", np.ones(5))
    with pytest.raises(ValueError, match="must have 7 numbers"):
        opt.step({"w": gdfast.Rows(np.array([1]), np.ones(1)), "b": gdfast.Rows(np.array([0]), np.ones(1))})
    with pytest.raises(ValueError, match="must have 7 numbers"):
        opt.step_rows("w", np.array([1]), np.ones(1))
    assert snapshot(opt, w) == before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", [*CASES, *MATRICES], ids=str)
def test_every_class_returns_what_its_loop_takes(case, engine):
    opt = case.make(np.ones((2, 3)), engine=engine)
    opt.step(np.ones((2, 3)))
    loop = isa.rules.TABLE[opt._layout.entries[0].rule]
    taken = [entry for entry in opt._layout.entries if len(entry.states) != loop.states]
    assert not taken
    if opt.layerwise:  # whose numbers of the step are its own affair
        return
    values = {**opt.param_groups[0].values_now, **(opt._carried[0] if opt._carried else {})}
    assert len(opt.scalars(values, 2)) == loop.scalars


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("names", [(), ("exp_avg",), ("exp_avg", "exp_avg_sq", "more"), tuple("abcdefghij")])
def test_a_class_of_too_many_states_or_too_few(names, engine):
    class Odd(gdfast.Adam):
        rules: ClassVar = {"adam": names}

    for options in ({}, {"ema_decay": 0.9}, {"centralize": True}):
        with pytest.raises(ValueError, match=f"'adam' must have 2 states like the parameter; got {len(names)}"):
            Odd(np.ones((2, 2)), engine=engine, **options)


@pytest.mark.parametrize("engine", ENGINES)
def test_groups_may_follow_different_rules(engine):
    """With numbers of their own; but the arrays of one group share theirs."""
    arrays = [np.ones(2), np.ones(2), np.ones(2)]
    opt = gdfast.SGD(
        [{"params": a, "momentum": m} for a, m in zip(arrays, (0.0, 0.9, 0.0), strict=True)], engine=engine
    )
    opt.step([np.ones(2)] * 3)

    class ByArray(gdfast.Optimizer):
        rules: ClassVar = {"sign_sgd": (), "sgd": ()}
        own_specs: ClassVar = gdfast.SignSGD.own_specs

        @classmethod
        def rule_of(cls, values):
            return "sgd"

        @classmethod
        def rule_for(cls, values, param):
            return "sgd" if param.array.size > 1 else "sign_sgd"

        @staticmethod
        def scalars(values, t):
            return (values["lr"],)

    def make(params):
        return ByArray(params, {"lr": 0.1, "weight_decay": 0.0}, engine=engine)

    make(np.ones(1)).step(np.ones(1))
    with pytest.raises(ValueError, match="the rule 'sgd' must have 3 numbers from scalars"):
        make([np.ones(1), np.ones(2)]).step([np.ones(1), np.ones(2)])


def plan_of(rule, states, groups=1, group=0):
    return _plan.Plan(isa.rules, [(np.ones(3), tuple(np.zeros(3) for _ in range(states)), rule, group)], groups)


def test_a_plan_looks_at_every_number_that_it_is_given():
    plan = plan_of("lion", 1, groups=2)
    for group in (-1, 2, 10**9):
        with pytest.raises(IndexError, match=rf"group must be in \[0, 2\); got {group}"):
            plan.set_numbers(group, (1.0, math.inf, 0.0, 0.0, 0.0, (0.0,) * 5))
        with pytest.raises(IndexError, match=rf"group must be in \[0, 2\); got {group}"):
            plan_of("lion", 1, groups=2, group=group)
    plan.set_numbers(0, (1.0, math.inf, 0.0, 0.0, 0.0, (0.0,) * 5))
    plan.set_numbers(1, (1.0, math.inf, 0.0, 0.0, 0.0, (0.0,) * 14))  # no array of its own
    with pytest.raises(ValueError, match="a rule has at most 14 numbers from scalars"):
        plan.set_numbers(1, (1.0, math.inf, 0.0, 0.0, 0.0, (0.0,) * 15))
    with pytest.raises(ValueError, match="'lion' must have 1 states"):
        plan_of("lion", 9)


def test_what_is_bound_by_address_brings_its_numbers_along():
    """Slots change hands from step to step (gdfast.torch): each has the numbers of the rule that it is bound to."""
    params, grads = [np.ones(3), np.ones(3)], [np.ones(3), np.ones(3)]
    entries = [(params[0], (), "sign_sgd", 0), (params[1], (np.zeros(3),), "lion", 1)]
    plan = _plan.Plan(isa.rules, entries, 2)
    here = np.array([grad.ctypes.data for grad in grads], np.uintp)

    def set_numbers(group, count):
        plan.set_numbers(group, (1.0, math.inf, 0.0, 0.0, 0.0, (0.5,) * count))

    plan.bind(here, np.array([1, 0], np.intp))
    set_numbers(0, 5)
    set_numbers(1, 1)
    plan.run(1)
    with pytest.raises(ValueError, match="'lion' must have 5 numbers"):
        set_numbers(0, 1)
    with pytest.raises(ValueError, match=r"'lion' must have 5 numbers from scalars\(\); got 1"):
        plan.bind(here, np.array([0, 0], np.intp))
    plan.bind(np.array([0, here[1]], np.uintp), np.array([0, 0], np.intp))  # the first array rests
    set_numbers(0, 5)
    with pytest.raises(ValueError, match="'lion' must have 5 numbers"):
        set_numbers(0, 1)
    with pytest.raises(ValueError, match=r"groups must be in \[0, 2\); got 2"):
        plan.bind(here, np.array([0, 2], np.intp))


def test_loops_that_read_lent_arrays_get_just_these():
    for optimizer, extras, lent in (
        (gdfast.Muon, 1, "muon"),
        (gdfast.Adafactor, 2, "adafactor"),
        (gdfast.LAMB, 0, "lamb"),
    ):
        opt = optimizer(np.ones((2, 2)))
        engine, rule = opt._engine, opt._layout.entries[0].rule
        assert isinstance(engine, measured.NativeLayers)
        for count in {0, 1, 2, 3} - {extras}:
            engine.take((np.ones((2, 2)),))
            with pytest.raises(ValueError, match=f"'{lent}' must be lent {extras} arrays for a step; got {count}"):
                engine.set_extras(0, tuple(np.ones((2, 2)) for _ in range(count)), 2, 2)
        loop = isa.rules.TABLE[rule]
        engine.set_numbers(0, (1.0, math.inf, 0.0, 0.0, 0.0, (0.0,) * loop.scalars))
        if extras:
            for run in (lambda e=engine: e.run(1), lambda e=engine: e.run_one(0, 1)):
                with pytest.raises(ValueError, match=f"must be lent {extras} arrays"):
                    run()
        if optimizer is gdfast.Adafactor:
            with pytest.raises(ValueError, match="must be lent 2 arrays"):
                engine.measure(0, 1, 1, False, True)


def test_measuring_loops_take_what_their_rule_takes():
    for rule, measuring in isa.rules.MEASURE.items():
        loop = isa.rules.TABLE[rule]
        assert (measuring.rule, measuring.states, measuring.scalars) == (rule, loop.states, loop.scalars)
        assert measuring.extras in (0, loop.extras)

    class Rules:  # the same, but for one that measures with other states
        def __getattr__(self, name):
            return getattr(isa.rules, name)

        MEASURE: ClassVar = {"lamb": isa.rules.MEASURE["lamb"]._replace(states=3)}

    states = (np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="'lamb' must have 3 states"):
        _plan.LayerPlan(Rules(), [(np.ones(3), states, "lamb", 0)], 1, False, [(False, 0.0, 0.0, 1)])


def test_rows_look_at_the_states():
    param, rows, values = np.ones((3, 2)), np.array([1]), np.ones((1, 2))
    loops = isa.rules.TABLE["momentum"], isa.rules.PREPARE
    table = (param, (), loops, rows, values, np.zeros(_rows.MAX_NUMBERS), 1)
    with pytest.raises(ValueError, match="'momentum' must have 1 states"):
        _rows.run(lambda *_: None, [table], 1, False, False)


@pytest.mark.parametrize("count", [1, 17])
def test_numbers_of_an_epoch_are_looked_at(count):
    opt = returning(gdfast.Adam, count)(np.ones(3))
    with pytest.raises(ValueError, match="'adam' must have 7 numbers"):
        precompute_numbers(opt, 3, _linear.WIDTH)


def test_kernels_bind_just_what_the_loop_takes():
    kernel = _linear.LinearKernel.__new__(_linear.LinearKernel)
    piece = (np.ones(3), np.ones(3), (), "momentum")
    with pytest.raises(ValueError, match="pieces must be at most 2; got 3"):
        kernel.bind_step(isa.rules, [piece] * 3, False)
    with pytest.raises(ValueError, match="'momentum' must have 1 states like the parameter; got 0"):
        kernel.bind_step(isa.rules, [piece], False)
