"""A step of one small array, which native code makes in one call, does what the general one does."""

import re
import threading

import numpy as np
import pytest

import gdfast
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
    return opt.state["0"]["exp_avg"]


def load(opt, w):
    opt.load_state_dict(gdfast.Adam(np.ones_like(w)).state_dict())


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


def run(change):
    rng = np.random.default_rng(4)
    w = np.ones((4, 3), np.float32)
    opt, seen = gdfast.Adam(w, lr=0.01), []
    for step in range(STEPS):
        grads = rng.standard_normal((4, 3)).astype(np.float32)
        try:
            opt.step(change(opt, w, grads) if step == 3 else grads)
        except (TypeError, ValueError, RuntimeError) as error:
            seen.append((type(error), re.sub("0x[0-9a-f]+", "an address", str(error))))
        states = [array.tolist() for own in opt.state.values() for array in own.values()]
        seen.append((opt.step_count, w.tolist(), states))
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


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_answered_as_by_the_general_step(name, general):
    found = run(CHANGES[name])
    general()
    assert run(CHANGES[name]) == found


def test_which_optimizers_have_it():
    def quick(params, **options):
        return gdfast.Adam(params, **options)._quick is not None

    w = np.ones(3, np.float32)
    assert quick(w)
    assert quick(w.astype(np.float64))
    assert not quick([w])
    assert not quick({"w": w})
    assert not quick([{"params": w}])
    assert not quick(np.ones(1 << 20, np.float32))
    assert not quick(w, engine="numpy")
    for option in ({"clip_norm": 1.0}, {"clip_value": 1.0}, {"ema_decay": 0.5}, {"state_dtype": "bfloat16"}):
        assert quick(w, **option) is (option == {"state_dtype": "bfloat16"})  # so small an array keeps float32 state
    assert gdfast.SGD(w)._quick is None
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
    assert not opt._engine.try_step(other, opt._stepping, g, values, 0)
    assert not opt._engine.try_step(opt, opt._stepping, g, dict(values), 0)
    assert not opt._engine.try_step(opt, opt._stepping, g.tolist(), values, 0)
    assert (opt.step_count, other.step_count) == (1, 0)
    with pytest.raises(TypeError):
        opt._engine.try_step(opt, None, g, values, 0)
    with pytest.raises(TypeError):
        opt._engine.try_step(opt, opt._stepping, g, None, 0)
    several = gdfast.Adam([w.copy(), w.copy()])
    several.step([g, g])
    assert not several._engine.try_step(several, several._stepping, g, several._groups[0].asked, 0)
    assert opt._engine.try_step(opt, opt._stepping, g, values, 0)
    assert opt.step_count == 2
