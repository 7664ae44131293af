"""What carries a step out on all ranks: an engine over this rank's slices, between two exchanges.

An optimizer asks the same of it as of the engines in `gdfast.engine`; gradients are given to it whole. Rules that look
at each element alone are stepped bucket by bucket as their gradients arrive. Where the norm of all gradients is needed,
or a rule measures whole arrays, the sums of all gradients are exchanged first, into memory of the slices' size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound
from gdfast.arrays.formats import BLOCK, SCALES, blocks
from gdfast.arrays.rows import is_row_sparse
from gdfast.arrays.structure import NamedArray
from gdfast.engine.engines import Checks, Entry, Numbers
from gdfast.engine.norms import gathered_norm
from gdfast.mpi.cutting import Bucket, Part
from gdfast.mpi.exchange import add_in_order, exchange
from gdfast.mpi.spread import Spread

Array = np.ndarray[Any, Any]


class ShardEngine:
    """The engine of one rank; see the module, and `gdfast.engine.engines.Engine` for what is asked of it.

    Parameters
    ----------
    spread : Spread
    entries : sequence of Entry
        This rank's slices, one an array.
    make : callable
        Makes an ordinary engine of entries.
    facts : callable
        Returns what all ranks must agree about.
    waits : callable
        Returns whether micro-batches wait.
    """

    refused = False
    _short = True  # whether it takes gradients in fewer bits
    _grads: Bound | None = None
    _sums: Bound | None = None

    def __init__(
        self,
        spread: Spread,
        entries: Sequence[Entry],
        make: Callable[[Sequence[Entry]], Any],
        facts: Callable[[], Mapping[str, Any]],
        waits: Callable[[], bool],
    ) -> None:
        self._team, self._whole, self._cut, self._facts, self._waits = (
            spread.team,
            spread.whole,
            spread.cut,
            facts,
            waits,
        )
        self.exchange = exchange(spread)
        self._own = buffers.Memory([*spread.whole.params, *(state for entry in entries for state in entry.all_states)])
        self._totals: list[Array] = []
        self._added = False  # whether the totals are those of this step
        self._scales: list[Any] = []
        self._make_engines(entries, make)
        self.most_parts = max((engine.most_parts for engine in self._engines), default=1)

    def _make_engines(self, entries: Sequence[Entry], make: Callable[[Sequence[Entry]], Any]) -> None:
        """Make an engine for each bucket."""
        self.checks = Checks(entries, ())
        self._engines = [make([self._piece(part) for part in bucket.parts]) for bucket in self.exchange.own]
        most = max((bucket.n_bytes(self._cut.dtypes) for bucket in self.exchange.own), default=0)
        self._scratch = np.empty(most, np.uint8)

    def _piece(self, part: Part) -> Entry:
        """Return one part of a bucket with its state."""
        entry = self.checks.entries[part.array]

        def cut(named: NamedArray) -> NamedArray:
            of_blocks = named.name.endswith(SCALES)
            return replace(named, array=(self._local_scales if of_blocks else self._local)(part, named.array))

        return replace(
            entry,
            param=cut(entry.param),
            states=tuple(map(cut, entry.states)),
            reduced_states=tuple(map(cut, entry.reduced_states)),
            origin=(part.array, part.start),
        )

    def _local_scales(self, part: Part, scales: Array) -> Array:
        """Return those of a part's blocks."""
        first, _ = self._cut.slice_of(part.array, self._team.rank)
        return scales[(part.start - first) // BLOCK :][: blocks(part.size)]

    def _local(self, part: Part, array: Array) -> Array:
        """Return the elements of a part, from an array like this rank's slice."""
        first, _ = self._cut.slice_of(part.array, self._team.rank)
        return array.reshape(-1)[part.start - first : part.stop - first]

    # What an optimizer asks of an engine.

    def offer(self, grads: tuple[Any, ...]) -> bool:
        """Return False: all ranks must have checked their gradients before any is used."""
        return False

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check this rank's gradients, whole, and wait until every rank has done so; return them as plain arrays."""
        self.release()
        checked = self.checked(grads)
        self._team.meet({"call": "step", **self._forms(checked), **self._facts()})
        self._grads = checked
        return tuple(checked.views)

    def release(self) -> None:
        """Let go of gradients that were taken and are not to be stepped."""
        self._grads, self._added = None, False

    def set_numbers(self, group: int, numbers: Numbers) -> None:
        """Set a group's numbers of the next step."""
        self._scales.append(numbers[:2])
        for engine in self._engines:
            engine.set_numbers(group, numbers)

    def set_random(self, step_key: int) -> None:
        """Set what the random bits of the next step are hashed from."""
        for engine in self._engines:
            engine.set_random(step_key)

    def set_average(self, weight: float) -> None:
        """Set the weight of the new parameters in their average at this step."""
        self._scales.append(weight)
        for engine in self._engines:
            engine.set_average(weight)

    def bind_sums(self, sums: Bound) -> None:
        """Bind the sums of the micro-batches that wait."""
        self._sums = sums

    def norm(self, grads: tuple[Any, ...], threads: int, add_accumulated: bool) -> float:
        """Return the norm of the sum of all ranks' gradients and of what waits."""
        self._make_totals()
        self._team.meet({"call": "the norm"})
        self._add_up(add_accumulated)
        return gathered_norm(tuple(self._totals), threads, self._team.gather, self._whole.single)

    def run(self, threads: int, zero_grad: bool, add_accumulated: bool) -> None:
        """Carry the step out on all ranks: every rank is ready, or none writes."""
        grads = self._ready(zero_grad)
        self._team.meet({"call": "the step's numbers", "scales": self._scales, **self._facts()})
        with self._team.exchange():
            self._run(grads, threads, add_accumulated)
            for grad in grads if zero_grad else ():
                grad[...] = 0
        self.release()

    # What the optimizer of a rank asks besides.

    def begin(self, grad_scale: float, zero_grad: bool) -> None:
        """Begin a step: forget the numbers of the one before, also if it failed."""
        self._scales = [grad_scale, zero_grad]

    def checked(self, grads: tuple[Any, ...]) -> Bound:
        """Check this rank's gradients; return them as they are now."""
        self.checks.check_unchanged()
        self._whole.check()
        for grad, param in zip(grads, self._whole.params, strict=True):
            if is_row_sparse(grad):
                raise TypeError(
                    f"{param.grad_path} must be a NumPy array for a sharded optimizer; got {type(grad).__name__}"
                )
            buffers.check_grad(grad, param, self._own, self._short)
        return Bound([param.grad_path for param in self._whole.params], list(grads))

    def _forms(self, grads: Bound) -> dict[str, str]:
        """Return the dtypes of gradients, which are sent as they are."""
        names = (param.grad_path for param in self._whole.params)
        return {f"the dtype of {name}": view.dtype.name for name, view in zip(names, grads.views, strict=True)}

    def share(self) -> None:
        """Give all ranks the slices of this one, and take theirs."""
        with self._team.exchange():
            self.exchange.share()

    def add(self, grads: tuple[Any, ...], first: bool) -> None:
        """Add the gradients of all ranks to the sums, or put them there, if they are the first."""
        checked = self.checked(grads)
        sums = self._checked_sums()
        self._team.meet({"call": "accumulate", "first": first, **self._forms(checked)})
        with self._team.exchange():
            self._add(checked.views, sums, () if first else sums)

    # How it is done.

    def _ready(self, zero_grad: bool) -> Sequence[Array]:
        """Return this rank's gradients, after a check that all arrays are what they were when they were taken."""
        assert self._grads is not None
        self.checks.check_unchanged()
        self._whole.check()
        self._grads.check(written=zero_grad)
        return self._grads.views

    def _checked_sums(self) -> Sequence[Array]:
        assert self._sums is not None
        self._sums.check()
        return self._sums.views

    def _make_totals(self) -> None:
        """Make room for the sums of all ranks' gradients, of the slices' size."""
        self._totals = self._totals or [
            np.empty(entry.param.array.shape, dtype)
            for entry, dtype in zip(self.checks.entries, self._cut.dtypes, strict=True)
        ]

    def _add_up(self, add_accumulated: bool) -> None:
        """Exchange all gradients, and add them to what waits, in memory of their own."""
        if not self._added:
            grads = self._ready(False)
            waiting = self._checked_sums() if add_accumulated else ()
            with self._team.exchange():
                self._add(grads, self._totals, waiting)
            self._added = True

    def _add(self, grads: Sequence[Array], into: Sequence[Array], waiting: Sequence[Array]) -> None:
        for _, bucket, contributions in self.exchange.grads([grad.reshape(-1) for grad in grads]):
            for i, part in enumerate(bucket.parts if bucket is not None else ()):
                self._add_part(
                    part, [parts[i] for parts in contributions], waiting, self._local(part, into[part.array])
                )

    def _add_part(self, part: Part, contributions: list[Array], waiting: Sequence[Array], into: Array) -> None:
        before = [self._local(part, waiting[part.array])] if waiting else []
        with np.errstate(all="ignore"):
            add_in_order([*before, *contributions], into)

    def _run(self, grads: Sequence[Array], threads: int, add_accumulated: bool) -> None:
        """Step this rank's slices, and exchange the parameters, bucket by bucket."""
        if self._added:
            self.exchange.share(lambda number: self._step(number, self._total(self.exchange.own[number]), threads))
            return
        waiting = self._checked_sums() if add_accumulated else ()
        for number, bucket, contributions in self.exchange.grads([grad.reshape(-1) for grad in grads]):
            if bucket is not None:
                self._step(number, self._added_up(bucket, contributions, waiting), threads)
            self.exchange.post_params(number)
        self.exchange.finish()

    def _step(self, number: int, grads: Sequence[Array], threads: int) -> None:
        engine = self._engines[number]
        engine.take(tuple(grads))
        engine.run(threads, False, False)

    def _total(self, bucket: Bucket) -> list[Array]:
        """Return a bucket's parts of what was added up."""
        return [self._local(part, self._totals[part.array]) for part in bucket.parts]

    def _added_up(self, bucket: Bucket, contributions: list[list[Array]], waiting: Sequence[Array]) -> Sequence[Array]:
        """Return the sums of a bucket's parts."""
        if len(contributions) == 1 and not waiting:
            return contributions[0]
        sums = bucket.unpacked(self._scratch, self._cut.dtypes)
        for i, (part, into) in enumerate(zip(bucket.parts, sums, strict=True)):
            self._add_part(part, [parts[i] for parts in contributions], waiting, into)
        return sums


class ShardLayers(ShardEngine):
    """The engine of one rank for what needs whole arrays: each lies on one rank, and all are there before a step."""

    _short = False

    def _make_engines(self, entries: Sequence[Entry], make: Callable[[Sequence[Entry]], Any]) -> None:
        self._layers = make(entries)
        self._engines = [self._layers]
        self.checks = self._layers.checks

    def take(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """Check this rank's gradients and exchange them."""
        self._make_totals()
        taken = super().take(grads)
        self._add_up(self._waits())
        self._layers.take(tuple(self._totals))
        return taken

    def release(self) -> None:
        """Let go of gradients that were taken and are not to be stepped."""
        super().release()
        self._layers.release()

    def set_output(self, i: int, output: Any) -> None:
        """Keep what is measured of an array in another."""
        self._layers.set_output(i, output)

    def set_extras(self, i: int, extras: tuple[Any, ...], rows: int = 0, columns: int = 0) -> None:
        """Let an array's loops read others before the state."""
        self._layers.set_extras(i, extras, rows, columns)

    def set_reduced(self, i: int, state: Any, value: Any) -> None:
        """Put a value into a small state array of an array's as its step begins."""
        self._layers.set_reduced(i, state, value)

    def measure(
        self, first: int, stop: int, threads: int, add_accumulated: bool, with_params: bool
    ) -> list[tuple[float, float]]:
        """Return the sums of squares of what is measured and of the parameters; what waits is in the gradients."""
        found: list[tuple[float, float]] = self._layers.measure(first, stop, threads, False, with_params)
        return found

    def measure_matrices(self, i: int, rows: int, columns: int, threads: int, add_accumulated: bool) -> tuple[Any, Any]:
        """Return the sums of squares of the rows and of the columns of each matrix in an array's gradient."""
        found: tuple[Any, Any] = self._layers.measure_matrices(i, rows, columns, threads, False)
        return found

    def _run(self, grads: Sequence[Array], threads: int, add_accumulated: bool) -> None:
        self._layers.run(threads, False, False)
        self.exchange.share()
