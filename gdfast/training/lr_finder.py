"""The learning-rate finder: a short run in which the rate grows from tiny to huge, and what its losses say."""

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Count, Range

__all__ = ["LRFindResult", "Sweep", "kept", "kept_random", "lr_find"]

Array: TypeAlias = np.ndarray[Any, Any]
Random: TypeAlias = np.random.Generator | np.random.RandomState
#: Returns the loss and its gradients; with bound gradient buffers, the loss alone will do.
Closure: TypeAlias = Callable[[], Any]

NON_NEGATIVE = Range(positive=True, fixed=True)
STEPS = Count(2)
SMOOTHING = Range(0.0, 1.0, fixed=True)
DIVERGENCE = Range(1.0, positive=True, fixed=True)


@dataclass(frozen=True)
class LRFindResult:
    """What a sweep over the learning rate saw.

    Attributes
    ----------
    lrs, losses, smoothed : (n,) arrays of float64
        The rate of each step, the loss before it, and that loss smoothed. A last loss may be NaN or infinite.
    diverged : bool
        Whether the sweep ended early because the loss blew up.
    suggestions : dict of str to float
        Rates by name, those that the curve has: ``"valley"``, two thirds of the way through the longest stretch over
        which the smoothed loss falls; ``"steepest"``, where it falls fastest on the logarithmic axis before its least;
        ``"minimum"``, a tenth of the rate where it is least.
    """

    lrs: Array
    losses: Array
    smoothed: Array
    diverged: bool
    suggestions: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "suggestions", _suggestions(self.lrs, self.smoothed))

    @property
    def lr(self) -> float:
        """The rate to begin with: the "valley".

        Raises
        ------
        ValueError
            If the loss fell nowhere.
        """
        if "valley" not in self.suggestions:
            raise ValueError(
                f"no learning rate from {self.lrs[0]:.2g} to {self.lrs[-1]:.2g} made the loss fall: try other bounds, "
                "more steps or more smoothing, and look at plot()"
            )
        return self.suggestions["valley"]

    def plot(self, ax: Any = None) -> Any:
        """Draw the curve with its suggestions; see :func:`gdfast.plot.lr_find`."""
        from gdfast import plot

        return plot.lr_find(self, ax=ax)

    def __repr__(self) -> str:
        found = ", ".join(f"{name}={lr:.2e}" for name, lr in self.suggestions.items())
        return f"LRFindResult({len(self.lrs)} steps, {found or 'no suggestion'}{', diverged' * self.diverged})"


@dataclass(frozen=True)
class Sweep:
    """How the rate is swept; the arguments of :func:`lr_find`, checked.

    Raises
    ------
    TypeError, ValueError
        If one is not as it must be.
    """

    lr_min: float = 1e-7
    lr_max: float = 10.0
    n_steps: int = 100
    smoothing: float = 0.9
    divergence: float = 4.0

    def __post_init__(self) -> None:
        NON_NEGATIVE.number("lr_min", self.lr_min, is_float32=False)
        NON_NEGATIVE.number("lr_max", self.lr_max, is_float32=False)
        STEPS.check("n_steps", self.n_steps, is_float32=False)
        SMOOTHING.number("smoothing", self.smoothing, is_float32=False)
        DIVERGENCE.number("divergence", self.divergence, is_float32=False)
        if not self.lr_min < self.lr_max:
            raise ValueError(f"lr_max must be above lr_min, {self.lr_min!r}; got {self.lr_max!r}")

    def run(self, opt: Optimizer, step: Callable[[], float]) -> LRFindResult:
        """Sweep; `step` makes a step and returns the loss before it. Nothing is restored."""
        rates = np.geomspace(self.lr_min, self.lr_max, self.n_steps)
        losses: list[float] = []
        smoothed: list[float] = []
        average, best, diverged = 0.0, math.inf, False
        for i, rate in enumerate(rates):
            opt.lr = float(rate)
            loss = step()
            average = self.smoothing * average + (1.0 - self.smoothing) * loss
            losses.append(loss)
            smoothed.append(average / (1.0 - self.smoothing ** (i + 1)))
            # For a best loss above 0 this reads: smoothed > divergence * best.
            if not smoothed[i] - best <= (self.divergence - 1.0) * abs(best):
                diverged = True
                break
            best = min(best, smoothed[i])
        if not math.isfinite(losses[0]):
            raise ValueError(f"the loss must be a finite number before the first step; got {losses[0]!r}")
        return LRFindResult(rates[: len(losses)], np.array(losses), np.array(smoothed), diverged)


def lr_find(
    opt: Optimizer,
    closure: Closure,
    *,
    lr_min: float = 1e-7,
    lr_max: float = 10.0,
    n_steps: int = 100,
    smoothing: float = 0.9,
    divergence: float = 4.0,
    rng: Random | Iterable[Random] = (),
) -> LRFindResult:
    """Find a learning rate: make steps at rates that grow exponentially, watch the loss, then put everything back.

    Parameters
    ----------
    opt : Optimizer
        Every group gets the same rate; other hyperparameters stay as they are. Afterwards the parameters and bound
        gradients, the state and averages, the counts, the hyperparameters and schedules are bit for bit as before, also
        after an error. A copy of all of them is kept in memory meanwhile.
    closure : callable
        Takes the next mini-batch and returns ``(loss, grads)``, or the loss alone where gradient buffers are bound. It
        makes no step.
    lr_min, lr_max : float
        The first rate, and the one that the last step would have.
    n_steps : int
        How many steps there are at most, at least 2.
    smoothing : float
        Weight of the old average in the smoothed loss, in [0, 1); the average's bias towards 0 is divided out.
    divergence : float
        The sweep ends when the smoothed loss is above so many times its least value so far (for a negative one: as much
        above it), or NaN.
    rng : numpy.random.Generator or RandomState, or several, optional
        What the closure draws from; put back too, as are NumPy's global state and that of `random`. An iterator over
        mini-batches cannot be put back.

    Returns
    -------
    LRFindResult
        With `suggestions`, `lr` (the one to begin with) and `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as it must be, or the first loss is not finite.
    RuntimeError
        If micro-batches wait in the optimizer, or a step in pieces is open.

    Notes
    -----
    Source: Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3; with the
    exponential sweep of fastai and PyTorch Lightning, whose suggestions "valley", "steep", "minimum" are meant here.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([2.0, -1.0])
    >>> opt = gdfast.SGD(w)
    >>> found = gdfast.lr_find(opt, lambda: (w @ w, 2 * w))
    >>> sorted(found.suggestions), found.diverged
    (['minimum', 'steepest', 'valley'], True)
    >>> w, opt.step_count, 0.001 < found.lr < 1.0
    (array([ 2., -1.]), 0, True)
    """
    if not isinstance(opt, Optimizer):
        raise TypeError(f"opt must be a gdfast optimizer; got {type(opt).__name__}")
    sweep = Sweep(lr_min, lr_max, n_steps, smoothing, divergence)
    with kept_random(rng), kept(opt):
        return sweep.run(opt, lambda: _stepped(opt, closure))


def _stepped(opt: Optimizer, closure: Closure) -> float:
    """Make one step, unless its loss or its gradients are not finite where that matters; return the loss."""
    returned = closure()
    loss, grads = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    try:
        loss = float(loss)
    except (TypeError, ValueError):
        raise TypeError(
            f"closure must return (loss, grads), or the loss where gradient buffers are bound; got {returned!r}"
        ) from None
    if math.isfinite(loss):
        try:
            opt.step(grads)
        except FloatingPointError:  # nonfinite="raise"
            return math.nan
    return loss


@contextmanager
def kept(opt: Optimizer) -> Iterator[None]:
    """Put an optimizer back as it was, whatever happens in between."""
    opt._check_not_blocked()
    if opt.accumulation.count:
        raise RuntimeError("lr_find cannot begin while micro-batches wait since accumulate(); call step first")
    arrays = [named.array for entry in opt._layout.entries for named in (entry.param, *entry.all_states)]
    arrays += [grad for grad in opt._bound_grads or () if isinstance(grad, np.ndarray) and grad.flags.writeable]
    copies = [array.copy() for array in arrays]
    groups = [(group, group.values_now) for group in opt.param_groups]
    counts = {name: getattr(opt, name) for name in ("step_count", "skipped_steps", "last_norm", "_carried")}
    try:
        yield
    finally:
        for array, copy in zip(arrays, copies, strict=True):
            array[...] = copy
        for group, values in groups:
            group.update_checked(values)
        opt.__dict__.update(counts)
        opt.accumulation.count = 0


@contextmanager
def kept_random(rng: Random | Iterable[Random]) -> Iterator[None]:
    """Put random states back: these, NumPy's global one, and that of `random`."""
    given = [rng] if isinstance(rng, np.random.Generator | np.random.RandomState) else list(rng)
    for one in given:
        if not isinstance(one, np.random.Generator | np.random.RandomState):
            raise TypeError(f"rng must be NumPy Generators or RandomStates; got {type(one).__name__}")
    bits = [one.bit_generator for one in given if isinstance(one, np.random.Generator)]
    states = [bit.state for bit in bits]
    older = [one for one in given if isinstance(one, np.random.RandomState)]
    older_states = [one.get_state(legacy=False) for one in older]
    global_state, pythons = np.random.get_state(legacy=False), random.getstate()
    try:
        yield
    finally:
        for bit, state in zip(bits, states, strict=True):
            bit.state = state
        for one, old in zip(older, older_states, strict=True):
            one.set_state(old)
        np.random.set_state(global_state)
        random.setstate(pythons)


def _suggestions(lrs: Array, smoothed: Array) -> dict[str, float]:
    """Return the rates that the curve suggests; none where it does not fall."""
    finite = np.isfinite(smoothed)
    lrs, smoothed = lrs[finite], smoothed[finite]
    first, last = _longest_fall(smoothed)
    if first == last:
        return {}
    lowest = smoothed.argmin()
    slopes = np.gradient(smoothed, np.log(lrs))
    return {
        "valley": float(lrs[first + 2 * (last - first) // 3]),
        "steepest": float(lrs[slopes[: lowest + 1].argmin()]),
        "minimum": float(lrs[lowest] / 10.0),
    }


def _longest_fall(values: Array) -> tuple[int, int]:
    """Return where the longest falling subsequence begins and ends (Fredman, 1975: in n log n)."""
    least: list[float] = []  # for each length: the negated last value that a subsequence so long can best have
    begins: list[int] = []  # and where that subsequence begins
    first = last = 0
    for i, value in enumerate(-values):
        at = bisect_left(least, value)
        begin = begins[at - 1] if at else i
        if at == len(least):
            first, last = begin, i
        least[at : at + 1], begins[at : at + 1] = [value], [begin]
    return first, last
