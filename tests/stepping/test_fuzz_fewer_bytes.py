"""Random options, shapes, dtypes and sequences of operations on arrays in fewer bits: both engines, bit for bit."""

import copy
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cases import CASES
from fuzzing import cases_wanted, run_cases
from levels import LEVELS

import gdfast
from arrays import assert_same_bits, hostile, plain, unaligned
from gdfast.engine import isa, threads

SIZES = [0, 1, 2, 127, 128, 129, 1023, 1024, 1025, 4095, 4096, 4097, 9000]
SHORT = [
    case
    for case in CASES
    if not {"centralize", "clip_adaptive"} & case.options.keys()
    and (case.optimizer.short_states or case.optimizer.short_params)
]
ENGINES = ("native", "numpy")
REFUSALS = (ValueError, TypeError, RuntimeError, FloatingPointError)


def kinds():
    """float32, float16 and bfloat16."""
    import ml_dtypes

    return [np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


def pick(rng, values):
    return values[rng.integers(0, len(values))]


def numbers(rng, size, kind):
    """Values of every magnitude, some of them hostile, of a dtype."""
    with np.errstate(all="ignore"):
        return pick(rng, [plain, plain, hostile])(rng, size, np.float32).astype(kind)


class Twins:
    """An optimizer in both engines, each over arrays of its own, and what can be done to both."""

    def __init__(self, rng):
        self.rng, self.case = rng, pick(rng, SHORT)
        self.whole = not self.case.optimizer.short_params or rng.integers(0, 3) == 0  # float32 parameters only
        self.options = self.made_up()
        self.shapes = [self.shape(int(pick(rng, SIZES))) for _ in range(rng.integers(1, 5))]
        self.first = [numbers(rng, int(np.prod(s)), self.kind()).reshape(s) for s in self.shapes]
        self.copy_kinds = [pick(rng, kinds()[1:]) for _ in self.shapes]
        self.copied = self.whole and rng.integers(0, 3) == 0
        self.groups = [
            {"state_dtype": pick(rng, ["float32", "bfloat16", "8bit", None])} for _ in range(rng.integers(1, 3))
        ]
        self.places = [int(rng.integers(0, len(self.groups))) for _ in self.shapes]
        self.optimizers = [self.make(engine) for engine in ENGINES]

    def shape(self, size):
        if size == 1 and self.rng.integers(0, 2):
            return ()
        return (size // 3, 3) if size % 3 == 0 and self.rng.integers(0, 2) else (size,)

    def kind(self):
        return kinds()[0] if self.whole else pick(self.rng, kinds())

    def made_up(self):
        """Options, of which some cannot go together: both engines then refuse."""
        rng = self.rng
        options = {
            "state_dtype": pick(rng, ["float32", "bfloat16", "8bit"]),
            "state_dtype_min_size": pick(rng, [0, 0, 1, 4096]),
            "seed": int(rng.integers(0, 2**32)),
            "master": pick(rng, ["auto", "auto", "auto", "float32", None]),
            "rounding": pick(rng, ["stochastic", "nearest"]),
        }
        others = {
            "clip_norm": 0.5,
            "clip_value": 0.1,
            "nonfinite": pick(rng, ["skip", "raise"]),
            "accumulation": "sum",
            "l1": 1e-4,
            "maximize": True,
        }
        others |= {"ema_decay": 0.9} if self.whole else {}
        return options | {name: value for name, value in others.items() if rng.integers(0, 4) == 0}

    def make(self, engine):
        """Return a new optimizer of these options over new arrays with the first values."""
        arrays = [unaligned(array) if array.size % 2 else array.copy() for array in self.first]
        groups = [{"params": {}, **{k: v for k, v in group.items() if v}} for group in self.groups]
        for i, (place, array) in enumerate(zip(self.places, arrays, strict=True)):
            groups[place]["params"][str(i)] = array
        if not self.copied:
            return self.case.make(groups, engine=engine, **self.options)
        copies = [{} for _ in groups]
        for i, place in enumerate(self.places):
            copies[place][str(i)] = np.zeros(self.shapes[i], self.copy_kinds[i])
        return self.case.make(groups, engine=engine, copies=copies, **self.options)

    def arrays_of(self, opt):
        """Return the parameters and the copies."""
        entries = opt._layout.entries
        return [[e.param.array for e in entries], [e.copy.array for e in entries if e.copy is not None]]

    def gradients(self):
        """Return the same gradients for each engine, by name, each of a dtype of its own."""
        rng, given = self.rng, {}
        for i, shape in enumerate(self.shapes):
            grad = numbers(rng, int(np.prod(shape)), pick(rng, kinds())).reshape(shape)
            given[str(i)] = unaligned(grad) if rng.integers(0, 3) == 0 else grad
        return [given, {name: grad.copy() for name, grad in given.items()}]

    def both(self, act):
        """Do something to both, and compare what they raise and what they hold afterwards."""
        errors = []
        for i, opt in enumerate(self.optimizers):
            try:
                act(i, opt)
                errors.append(None)
            except REFUSALS as error:
                errors.append((type(error), str(error)))
        assert errors[0] == errors[1], errors
        self.compare(*self.optimizers)
        return errors[0]

    def compare(self, one, other):
        assert_same_bits(self.arrays_of(one), self.arrays_of(other), "arrays")
        assert_same_bits(one.state, other.state, "state")
        assert (one.step_count, one.skipped_steps) == (other.step_count, other.skipped_steps)
        assert np.array_equal(np.float64(one.last_norm or 0), np.float64(other.last_norm or 0), equal_nan=True)

    # What can be done.

    def step(self):
        grads, zero_grad = self.gradients(), bool(self.rng.integers(0, 4) == 0)
        scale = pick(self.rng, [1.0, 1.0, 0.5, 1e-3])
        self.both(lambda i, opt: opt.step(grads[i], grad_scale=scale, zero_grad=zero_grad))
        assert_same_bits(grads[0], grads[1], "grads")

    def accumulate(self):
        grads = self.gradients()
        self.both(lambda i, opt: opt.accumulate(grads[i]))

    def pieces(self):
        grads, order = self.gradients(), self.rng.permutation(len(self.shapes))
        for k in order:
            refused = self.both(lambda i, opt, name=str(k): opt.step_one(name, grads[i][name]))
            if refused:
                return
        self.both(lambda i, opt: opt.end_step())

    def copied_whole(self):
        how = pick(self.rng, [copy.deepcopy, lambda opt: pickle.loads(pickle.dumps(opt))])
        before, self.optimizers = self.optimizers, [how(opt) for opt in self.optimizers]
        self.compare(before[0], self.optimizers[0])

    def loaded(self):
        """Go on with new optimizers that take over all from a file that the other engine has written."""
        with tempfile.TemporaryDirectory() as folder:
            new = [self.make(engine) for engine in ENGINES]
            for i in range(2):
                gdfast.save(Path(folder) / "run", self.optimizers[1 - i])
                gdfast.load(Path(folder) / "run", new[i])
        for old, opt in zip(self.optimizers, new, strict=True):
            opt.last_norm = old.last_norm
            for mine, theirs in zip(self.arrays_of(opt)[1], self.arrays_of(old)[1], strict=True):
                mine[...] = theirs
        self.compare(self.optimizers[0], new[0])
        self.optimizers = new

    def state_loaded(self):
        states = [opt.state_dict() for opt in self.optimizers]
        self.both(lambda i, opt: opt.load_state_dict(states[1 - i]))

    def damaged(self):
        """Put any bits at all into a state."""
        name = str(self.rng.integers(0, len(self.shapes)))
        states = self.optimizers[0].state[name]
        if not states:
            return
        state = pick(self.rng, sorted(states))
        words = self.rng.integers(0, 256, states[state].nbytes).astype(np.uint8)
        for opt in self.optimizers:
            array = opt.state[name][state]
            array[...] = np.frombuffer(words.tobytes(), array.dtype).reshape(array.shape)

    def read_only(self):
        """An array that cannot be written is refused before anything is."""
        k, which = int(self.rng.integers(0, len(self.shapes))), int(self.copied and self.rng.integers(0, 2))
        grads = self.gradients()
        if self.optimizers[0].guard.needs_norm:  # the native engine computes it before it finds this
            return
        for opt in self.optimizers:
            self.arrays_of(opt)[which][k].flags.writeable = False
        assert self.both(lambda i, opt: opt.step(grads[i]))
        self.optimizers = [copy.deepcopy(opt) for opt in self.optimizers]  # of which all can be written

    def grown(self):
        if self.copied:
            return
        i, shape = len(self.shapes), self.shape(int(pick(self.rng, SIZES)))
        value = numbers(self.rng, int(np.prod(shape)), self.kind()).reshape(shape)
        asked = {"state_dtype": pick(self.rng, ["float32", "bfloat16", "8bit"])}
        if not self.both(lambda _, opt: opt.add_param_group({"params": {str(i): value.copy()}, **asked})):
            self.shapes.append(shape)
            self.first.append(value)
            self.groups.append(asked)
            self.places.append(len(self.groups) - 1)

    def retuned(self):
        """Another number of threads, level, and prefetching."""
        isa.rules = isa.choose(pick(self.rng, LEVELS))
        self.optimizers[0] = copy.deepcopy(self.optimizers[0])
        engine, n = self.optimizers[0]._engine, int(self.rng.integers(1, 4))
        self.optimizers[0].n_threads = engine.most_parts = n
        engine.grain_bytes, engine.prefetch = pick(self.rng, [1, 4096, 1 << 18]), bool(self.rng.integers(0, 2))

    ACTIONS = (step, step, step, accumulate, pieces, copied_whole, loaded, state_loaded)
    ACTIONS += (damaged, read_only, grown, retuned)


def twins_case(seed):
    rng = np.random.default_rng(seed)
    threads.available_cpus = lambda: 8
    try:
        twins = Twins(rng)
    except (ValueError, TypeError):  # options that do not go together, which the reference says too
        return
    for _ in range(8):
        pick(rng, Twins.ACTIONS)(twins)


def test_both_engines_do_the_same():
    pytest.importorskip("ml_dtypes")
    pytest.importorskip("safetensors")
    failures = run_cases(twins_case, cases_wanted(400))
    assert not failures, "\n".join(failures)
