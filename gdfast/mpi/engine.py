"""What carries a step out on all ranks: an engine over this rank's slices, between two exchanges.

An optimizer asks the same of it as of the engines in `gdfast.engine`; gradients are given to it whole. Rules that look
at each element alone are stepped bucket by bucket as their gradients arrive. Where the norm of all gradients is needed,
or a rule measures whole arrays, the sums of all gradients are exchanged first, into memory of the slices' size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound
from gdfast.arrays.rows import is_row_sparse
from gdfast.arrays.structure import Named
from gdfast.engine.engines import Engine, Entry, NativeEngine, Numbers, NumpyEngine
from gdfast.engine.norms import gathered_norm
from gdfast.mpi.cutting import Bucket, Cut
from gdfast.mpi.exchange import Exchange, add_in_order
from gdfast.mpi.team import Team

Array = np.ndarray[Any, Any]


class Whole:
    """The whole arrays of this rank, beside which its slices are stepped.

    Attributes
    ----------
    params : list of Named
    flat : list of array
        The same, flat, as plain arrays.
    """

    def __init__(self, params: Sequence[Named]) -> None:
        self.params = list(params)
        self._bound = Bound([named.path for named in params], [named.array for named in params])
        self.flat = [view.reshape(-1) for view in self._bound.views]
        self.single = all(view.dtype == np.float32 for view in self.flat)

    def check(self) -> None:
        """Check that the arrays are what they were when the optimizer was made, and writeable."""
        self._bound.check()

    def __reduce__(self) -> str:
        raise TypeError("a sharded optimizer cannot be copied or pickled; save it with gdfast.save")


class ShardEngine:
    """The engine of one rank; see the module, and `gdfast.engine.engines.Engine` for what is asked of it.

    Parameters
    ----------
    team, whole, cut
        The ranks, their whole arrays, and where these are cut.
    memory : int
        The most bytes for messages.
    entries : sequence of Entry
        This rank's slices, one an array.
    make : callable
        Makes an ordinary engine of entries.
    at_once : bool
        Whether a rule or an option needs whole arrays, so that all must be there before the step begins.
    facts : callable
        Returns what all ranks must agree about.
    """

    refused = False
    _grads: Bound | None = None
    _sums: Bound | None = None

    def __init__(
        self,
        team: Team,
        whole: Whole,
        cut: Cut,
        memory: int,
        entries: Sequence[Entry],
        make: Callable[[Sequence[Entry]], Any],
        at_once: bool,
        facts: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._team, self._whole, self._facts, self._cut = team, whole, facts, cut
        self.exchange = Exchange(team, cut, whole.flat, memory)
        self._at_once = make(entries) if at_once else None
        plain = self._at_once.checks.entries if at_once else entries
        self._engines: list[Any] = [] if at_once else [make(self._pieces(plain, b)) for b in self.exchange.own]
        self.checks = self._at_once.checks if at_once else make(entries).checks
        self._all: list[Any] = [self._at_once] if at_once else self._engines
        self.most_parts = max((engine.most_parts for engine in self._all), default=1)
        self._own = buffers.Memory([*whole.params, *(state for entry in entries for state in entry.all_states)])
        self._totals: list[Array] = []
        self._added = False  # whether the totals are those of this step
        self._scales: list[Any] = []
        #: whether an exchange has begun that leaves memory half written if it does not end
        self.writing = False

    # What an optimizer asks of an engine.

    def offer(self, grads: tuple[Any, ...]) -> bool:
        """Return False: all ranks must have checked their gradients before any is used."""
        return False

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check this rank's gradients, whole, and wait until every rank has done so; return them as plain arrays."""
        self.release()
        checked = self.check(grads)
        self._team.meet({"call": "step", **self._facts()})
        self._grads = checked
        if self._at_once is not None:
            self._at_once.take(tuple(self._summed()))
        return tuple(checked.views)

    def check(self, grads: tuple[Any, ...]) -> Bound:
        """Check this rank's gradients; return them as they are now."""
        self.checks.still()
        self._whole.check()
        for grad, param in zip(grads, self._whole.params, strict=True):
            if is_row_sparse(grad):
                raise TypeError(
                    f"{param.grad_path} must be a NumPy array for a sharded optimizer; got {type(grad).__name__}"
                )
            buffers.check_grad(grad, param, self._own)
        return Bound([param.grad_path for param in self._whole.params], list(grads))

    def release(self) -> None:
        """Let go of gradients that were taken and are not to be stepped."""
        self._grads, self._added, self._scales = None, False, []

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""
        self._scales.append(numbers[:2])
        for engine in self._all:
            engine.set_numbers(group, numbers)

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""
        self._scales.append(weight)
        for engine in self._all:
            engine.set_average(weight)

    def bind_sums(self, sums: Bound) -> None:
        """Bind the sums of the micro-batches that wait."""
        self._sums = sums

    def norm(self, grads: tuple[Any, ...], threads: int, summed: bool) -> float:
        """Return the norm of the sum of all ranks' gradients and of what waits."""
        return gathered_norm(tuple(self._summed(summed)), threads, self._team.gather, self._whole.single)

    def run(self, threads: int, zero_grad: bool, summed: bool) -> None:
        """Carry the step out on all ranks: every rank is ready, or none writes."""
        grads = self._ready()
        self._team.meet({"call": "the step's numbers", "scales": self._scales, **self._facts()})
        self.writing = True
        self._run(grads, threads, summed)
        if zero_grad:
            for grad in grads:
                grad[...] = 0
        self.writing = False
        self.release()
