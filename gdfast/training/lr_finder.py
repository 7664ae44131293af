"""The learning-rate finder: a short run in which the rate grows exponentially, and suggestions from its losses."""

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
from gdfast.stepping.sliced import check_not_sliced

__all__ = ["LRFindResult", "Sweep", "kept", "kept_random", "lr_find"]

Array: TypeAlias = np.ndarray[Any, Any]
Random: TypeAlias = np.random.Generator | np.random.RandomState
#: Returns the loss and its gradients; with bound gradient buffers, it may return the loss alone.
Closure: TypeAlias = Callable[[], Any]

NON_NEGATIVE = Range(positive=True, fixed=True)
STEPS = Count(2)
SMOOTHING = Range(0.0, 1.0, fixed=True)
DIVERGENCE = Range(1.0, positive=True, fixed=True)


@dataclass(frozen=True)
class LRFindResult:
    """The result of a sweep over the learning rate.

    Attributes
    ----------
    lrs, losses, smoothed : (n,) arrays of float64
        The rate of each step, the loss before it, and that loss smoothed. A last loss may be NaN or infinite.
    diverged : bool
        Whether the sweep ended early because the loss diverged.
    suggestions : dict of str to float
        Suggested rates by name; empty if the smoothed loss does not fall. ``"valley"``: two thirds of the way through
        the longest falling subsequence of the smoothed loss; ``"steepest"``: where it falls fastest on the logarithmic
        axis, before its minimum; ``"minimum"``: a tenth of the rate at its minimum.
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
        """The recommended rate: the "valley".

        Raises
        ------
        ValueError
            If the loss never fell.
        """
        if "valley" not in self.suggestions:
            raise ValueError(
                f"no learning rate from {self.lrs[0]:.2g} to {self.lrs[-1]:.2g} made the loss fall: try other bounds, "
                "more steps or more smoothing, and see plot()"
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
    """The settings of a sweep: the arguments of :func:`lr_find`, checked.

    Raises
    ------
    TypeError, ValueError
        If one is invalid.
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
        """Run the sweep; `step` makes a step and returns the loss before it. Nothing is restored."""
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
            # For a best loss above 0 this is: smoothed > divergence * best.
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
    """Find a learning rate: make steps at exponentially growing rates, record the loss, then restore everything.

    Parameters
    ----------
    opt : Optimizer
        Every group gets the same rate; other hyperparameters are left unchanged. Afterwards, also after an error, the
        parameters and bound gradients, the state and averages, the counts, the hyperparameters and schedules are
        restored bit for bit. A copy of all of them is kept in memory meanwhile.
    closure : callable
        Computes the next mini-batch and returns ``(loss, grads)``, or the loss alone if gradient buffers are bound. It
        must not make a step.
    lr_min, lr_max : float
        The first rate, and the rate of the last step.
    n_steps : int
        Maximum number of steps, at least 2.
    smoothing : float
        Decay rate of the smoothed loss, an exponential average with bias correction; in [0, 1).
    divergence : float
        The sweep ends when the smoothed loss exceeds `divergence` times its minimum so far (if that is negative: when
        it exceeds it by ``(divergence - 1)`` times its absolute value), or is NaN.
    rng : numpy.random.Generator or RandomState, or several, optional
        The random generators that the closure uses; they are restored too, as are NumPy's global state and that of
        `random`. An iterator over mini-batches cannot be restored.

    Returns
    -------
    LRFindResult
        With `suggestions`, `lr` (the recommended one) and `plot`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the first loss is not finite.
    RuntimeError
        If the optimizer has waiting micro-batches, or a step in pieces is open.

    Notes
    -----
    Source: Smith, Cyclical learning rates for training neural networks, arXiv:1506.01186, section 3.3; the exponential
    sweep and the suggestions follow fastai ("valley", "steep", "minimum") and PyTorch Lightning.

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
    check_not_sliced(opt, "opt")
    sweep = Sweep(lr_min, lr_max, n_steps, smoothing, divergence)
    with kept_random(rng), kept(opt):
        return sweep.run(opt, lambda: _stepped(opt, closure))


def _stepped(opt: Optimizer, closure: Closure) -> float:
    """Make one step, unless the loss is not finite; return the loss, or NaN if the optimizer refuses the gradients."""
    returned = closure()
    loss, grads = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    try:
        loss = float(loss)
    except (TypeError, ValueError):
        raise TypeError(
            f"closure must return (loss, grads), or the loss if gradient buffers are bound; got {returned!r}"
        ) from None
    if math.isfinite(loss):
        try:
            opt.step(grads)
        except FloatingPointError:  # nonfinite="raise"
            return math.nan
    return loss


@contextmanager
def kept(opt: Optimizer) -> Iterator[None]:
    """Restore an optimizer when the block ends, also after an error."""
    opt._check_not_blocked()
    if opt.accumulation.count:
        raise RuntimeError("lr_find cannot run while micro-batches from accumulate() wait; call step first")
    arrays = [named.array for entry in opt._layout.entries for named in entry.all_arrays]
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
    """Restore random states when the block ends: these, NumPy's global one, and that of `random`."""
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
    """Return the suggested rates; none if the loss does not fall."""
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
    """Return where the longest falling subsequence begins and ends (Fredman, 1975: in O(n log n))."""
    least: list[float] = []  # for each length: the least negated last value of a subsequence of this length
    begins: list[int] = []  # and where that subsequence begins
    first = last = 0
    for i, value in enumerate(-values):
        at = bisect_left(least, value)
        begin = begins[at - 1] if at else i
        if at == len(least):
            first, last = begin, i
        least[at : at + 1], begins[at : at + 1] = [value], [begin]
    return first, last
