"""A step that native code makes in one call does what the general one does."""

import re
import threading
from types import MappingProxyType

import numpy as np
import pytest

import gdfast
from gdfast.stepping import step as step_module
from gdfast.stepping.step import Stepping

STEPS = 6


class Watching(np.ndarray):
    """A subclass of arrays."""


def given(make):
    return lambda opt, w, g: make(g)


def does(change):
    def around(opt, w, g):
        change(opt, w)
        return g

    return around


def set_group(name, value):
    return does(lambda opt, w: opt.param_groups[0].__setitem__(name, value))


def read_only(opt, w):
    w.flags.writeable = False


def accumulate(opt, w):
    opt.accumulate(np.full(w.shape, 2.0, w.dtype))


def open_pieces(opt, w):
    opt.step_one("0", np.ones_like(w))


def overlapping(opt, w, g):
    return next(iter(opt.state["0"].values()), w)


def load(opt, w):
    """Back to the first step, whose numbers may be others."""
    params = [group["params"] for group in opt.param_groups]
    again = type(opt)([np.ones_like(array) for array in params[0]], **KINDS[kind_of(opt)][1])
    opt.load_state_dict(again.state_dict())


def kind_of(opt):
    return next(name for name, (cls, *_) in KINDS.items() if cls is type(opt))


def reshape(opt, w):
    w.shape = (6, 2)


CHANGES = {
    "nothing": given(lambda g: g),
    "lr": set_group("lr", 0.5),
    "a schedule": set_group("lr", gdfast.schedules.Cosine(0.5, total_steps=10)),
    "a schedule that is invalid now": set_group("lr", lambda step: -1.0 if step else 1.0),
    "betas": set_group("betas", (0.5, 0.75)),
    "maximize": set_group("maximize", True),
    "l1": set_group("l1", 0.125),
    "clipping": does(lambda opt, w: setattr(opt, "clip", None)),
    "a list": given(lambda g: [g]),
    "no gradient": given(lambda g: None),
    "another dtype": given(lambda g: g.astype(np.float64)),
    "float16": given(lambda g: g.astype(np.float16)),
    "another shape": given(lambda g: g.reshape(3, 4)),
    "another byte order": given(lambda g: g.astype(g.dtype.newbyteorder())),
    "gaps": given(lambda g: np.repeat(g, 2, axis=1)[:, ::2]),
    "Fortran's order": given(np.asfortranarray),
    "read only": given(lambda g: np.frombuffer(g.tobytes(), g.dtype).reshape(g.shape)),
    "of a subclass": given(lambda g: g.view(Watching)),
    "numbers": given(lambda g: g.tolist()),
    "not aligned": given(lambda g: np.frombuffer(b"x" + g.tobytes(), g.dtype, offset=1).reshape(g.shape)),
    "rows": given(lambda g: gdfast.Rows(np.array([1]), g[1:2])),
    "inside the state": overlapping,
    "the parameter": lambda opt, w, g: w,
    "read-only parameter": does(read_only),
    "reshaped parameter": does(reshape),
    "micro-batches": does(accumulate),
    "an open step": does(open_pieces),
    "a checkpoint": does(load),
    "a group added": does(lambda opt, w: opt.add_param_group({"params": np.ones(2, np.float32)})),
    "NaN": given(lambda g: np.full_like(g, np.nan)),
}


def alone(array, other):
    return array


def in_list(array, other):
    return [array]


def one_of_two(array, other):
    return other, array


def named(array, other):
    return {"other": other, 0: array}


def nested(array, other):
    return {"0": array, "b": {"c": other}}


#: optimizers whose steps native code can make: class, options, and how an array and another one are given
KINDS = {
    "Adam": (gdfast.Adam, {"lr": 0.01}, alone),
    "Adam, list": (gdfast.Adam, {"lr": 0.01}, in_list),
    "Adam, two": (gdfast.Adam, {"lr": 0.01}, one_of_two),
    "AdamW": (gdfast.AdamW, {"lr": 0.01, "weight_decay": 0.25}, one_of_two),
    "SGD": (gdfast.SGD, {"lr": 0.01, "momentum": 0.5, "dampening": 0.25, "weight_decay": 0.5}, alone),
    "RMSprop": (gdfast.RMSprop, {"lr": 0.01, "momentum": 0.5}, in_list),
    "Adadelta": (gdfast.Adadelta, {"lr": 0.5}, alone),
    "SignSGD": (gdfast.SignSGD, {"lr": 0.01}, alone),
    "Signum": (gdfast.Signum, {"lr": 0.01}, one_of_two),
    "Lion": (gdfast.Lion, {"lr": 0.01, "weight_decay": 0.5}, alone),
    "Adagrad": (gdfast.Adagrad, {"lr": 0.01}, alone),
    "Adagrad, decay": (gdfast.Adagrad, {"lr": 0.01, "lr_decay": 0.5}, in_list),
    "Adam, dict": (gdfast.Adam, {"lr": 0.01}, named),
    "SGD, nested": (gdfast.SGD, {"lr": 0.01}, nested),
}


class Lazy(list):
    """Its items are made when they are asked for."""

    def __iter__(self):
        return iter([array * 2 for array in super().__iter__()])


CONTAINERS = {
    "a tuple": tuple,
    "a list": list,
    "a dict": lambda row: dict(enumerate(row)),
    "one too many": lambda row: [*row, row[0]],
    "one too few": lambda row: row[1:],
    "nested": lambda row: [row],
    "lazy": Lazy,
    "an array": lambda row: row[0],
    "a generator": iter,
}
DICTS = {
    "a dict": dict,
    "another order": lambda row: dict(reversed(row.items())),
    "a key too many": lambda row: {**row, "x": row["other"]},
    "a key too few": lambda row: {0: row[0]},
    "another key": lambda row: {0: row[0], "x": row["other"]},
    "a mapping": MappingProxyType,
    "items": lambda row: list(row.values()),
}


def run(kind, change=lambda opt, w, g: g, around=lambda grads: grads):
    rng = np.random.default_rng(4)
    w, other = np.ones((4, 3), np.float32), np.ones(5)
    cls, options, give = KINDS[kind]
    opt, seen = cls(give(w, other), **options), []
    for step in range(STEPS):
        g, g_other = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal(5)
        try:
            grads = give(change(opt, w, g) if step == 3 else g, g_other)
            opt.step(around(grads) if step == 3 else grads)
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            seen.append((type(error), re.sub("0x[0-9a-f]+", "an address", str(error))))
        states = [array.tolist() for own in opt.state.values() for array in own.values()]
        seen.append((opt.step_count, w.tolist(), other.tolist(), states))
    return repr(seen)


@pytest.fixture
def general(monkeypatch):
    """Return a function that lets no step be made in one call from then on."""

    def set_it():
        inner = Stepping.note_options

        def note(self):
            inner(self)
            self._quick = None

        monkeypatch.setattr(Stepping, "note_options", note)

    return set_it


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_answered_as_by_the_general_step(name, kind, general):
    found = run(kind, CHANGES[name])
    general()
    assert run(kind, CHANGES[name]) == found


@pytest.mark.parametrize("kind", [kind for kind, (*_, give) in KINDS.items() if give is not alone])
@pytest.mark.parametrize("name", CONTAINERS)
def test_another_container_is_answered_as_by_the_general_step(name, kind, general):
    found = run(kind, around=CONTAINERS[name])
    general()
    assert run(kind, around=CONTAINERS[name]) == found


@pytest.mark.parametrize("name", DICTS)
def test_another_dict_is_answered_as_by_the_general_step(name, general):
    found = run("Adam, dict", around=DICTS[name])
    general()
    assert run("Adam, dict", around=DICTS[name]) == found


@pytest.mark.parametrize("give", [alone, one_of_two, named, nested])
def test_gradients_that_were_bound(give, general):
    def result():
        w, other, g, g_other = np.ones((4, 3), np.float32), np.ones(5), np.ones((4, 3), np.float32), np.ones(5)
        opt, seen = gdfast.Adam(give(w, other), grads=give(g, g_other), lr=0.01), []
        for step in range(STEPS):
            g.shape = 4, 3
            g[1, 2], g_other[:] = step, -step
            if step == 3:
                g.shape = 12  # which is refused
            if step == STEPS - 1:
                g.flags.writeable = False  # which is not
            try:
                opt.step()
            except ValueError as error:
                seen.append(str(error))
            seen.append((opt.step_count, w.tolist(), other.tolist()))
        return seen

    found = result()
    assert found[-1][0] == STEPS - 1
    general()
    assert result() == found


def test_which_optimizers_have_it():
    def quick(params, **options):
        return gdfast.Adam(params, **options)._quick is not None

    w = np.ones(3, np.float32)
    assert quick(w)
    assert quick(w.astype(np.float64))
    assert quick([w])
    assert quick((w, w.astype(np.float64)))
    assert quick({"w": w})
    assert not quick([{"params": w}, {"params": np.ones(3)}])
    assert quick(np.ones(1 << 20, np.float32))
    assert not quick(w, engine="numpy")
    for option in ({"clip_norm": 1.0}, {"clip_value": 1.0}, {"ema_decay": 0.5}, {"state_dtype": "bfloat16"}):
        assert quick(w, **option) is (option == {"state_dtype": "bfloat16"})  # so small an array keeps float32 state
    assert all(cls([w], **options)._quick is not None for cls, options, _ in KINDS.values())
    assert gdfast.NAdam(w)._quick is None


def test_it_is_the_step_that_is_made(monkeypatch):
    w, g = np.ones(3, np.float32), np.ones(3, np.float32)
    opt = gdfast.Adam(w)
    opt.step(g)  # tells the engine the numbers
    monkeypatch.setattr(Stepping, "_flat_grads", None)
    monkeypatch.setattr(opt, "_engine", opt._engine)
    taken = []
    monkeypatch.setattr(gdfast.engine.threads, "resolve", lambda n: taken.append(n))
    opt.step(g)
    assert (opt.step_count, taken) == (2, [])


def test_a_lock_that_is_held_is_respected():
    w, g = np.ones(3, np.float32), np.ones(3, np.float32)
    opt, errors = gdfast.Adam(w), []
    opt.step(g)

    def step():
        try:
            opt.step(g)
        except RuntimeError as error:
            errors.append(str(error))

    before = w.copy()
    with opt._stepping:
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert errors == ["another thread is stepping this Adam; one at a time"]
    assert np.array_equal(w, before)
    opt.step(g)
    assert opt.step_count == 2


def test_averages_in_the_parameters_block_it():
    w, g = np.ones(3, np.float32), np.ones(3, np.float32)
    opt = gdfast.Adam(w)
    opt.step(g)
    opt._blocked = True
    with pytest.raises(RuntimeError, match="averages"):
        opt.step(g)
    opt._blocked = False
    opt.step(g)
    assert opt.step_count == 2


def test_a_subclass_that_runs_code_when_the_step_is_counted():
    """It can change the array: the check comes after it."""

    class Counting(gdfast.Adam):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "step_count" and value == 3:
                w.flags.writeable = False

    w, g = np.ones(3, np.float32), np.ones(3, np.float32)
    opt = Counting(w)
    opt.step(g)
    opt.step(g)
    before = w.copy()
    with pytest.raises(ValueError, match="writeable"):
        opt.step(g)
    assert opt.step_count == 2
    assert np.array_equal(w, before)


def test_another_engine_or_other_numbers_are_refused():
    w, g = np.ones(3, np.float32), np.ones(3, np.float32)
    opt, other = gdfast.Adam(w), gdfast.Adam(np.ones(3, np.float32))
    opt.step(g)
    values = opt._groups[0].asked
    assert not opt._engine.try_step(other, opt._stepping, g, values, 0, 1)
    assert not opt._engine.try_step(opt, opt._stepping, g, dict(values), 0, 1)
    assert not opt._engine.try_step(opt, opt._stepping, g.tolist(), values, 0, 1)
    assert not opt._engine.try_step(opt, opt._stepping, [g], values, 0, 1)
    assert not opt._engine.try_step(opt, opt._stepping, {"0": g}, values, 0, 1)
    assert (opt.step_count, other.step_count) == (1, 0)
    with pytest.raises(TypeError):
        opt._engine.try_step(opt, None, g, values, 0, 1)
    with pytest.raises(TypeError):
        opt._engine.try_step(opt, opt._stepping, g, None, 0, 1)
    assert opt._engine.try_step(opt, opt._stepping, g, values, 0, 1)
    assert opt.step_count == 2


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_asked_for_once_they_hold(kind, monkeypatch):
    asked = []
    inner = step_module.step_numbers
    monkeypatch.setattr(step_module, "step_numbers", lambda *args: asked.append(args[3]) or inner(*args))
    run(kind)
    assert asked == ([1, 2, 3, 4, 5, 6] if "decay" in kind else [1] if "Adam" in kind else [1, 2])


def test_numbers_that_stay_the_same_are_not_those_of_the_first_step():
    opt = gdfast.SGD(np.ones(3))
    values = opt._groups[0].asked
    opt._engine.keep_numbers(0, values, ())
    assert not opt._engine.renew_numbers(0, values, 1.0)
    assert opt._engine.renew_numbers(0, values, 2.0)
    with pytest.raises(IndexError, match="group must be in"):
        opt._engine.keep_numbers(1, values, ())


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("count", [-1, -2, -6, 2**63, 2.5])
@pytest.mark.parametrize("cls", [gdfast.Adam, gdfast.AdamW, gdfast.SGD, gdfast.Adagrad, gdfast.NAdam])
def test_a_step_count_that_no_step_can_have_is_refused(cls, count, engine):
    w = np.ones(8)
    opt = cls(w, lr=0.1, engine=engine)
    for _ in range(3):
        opt.step(np.ones(8))
    before = w.copy()
    opt.step_count = count
    for options in ({}, {"grad_scale": 2.0}):
        with pytest.raises(ValueError, match="step_count must be an integer, at least the count"):
            opt.step(np.ones(8), **options)
    assert opt.step_count == count
    np.testing.assert_array_equal(w, before)
