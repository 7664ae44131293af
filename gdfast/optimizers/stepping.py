"""How a step is done: gradients checked and bound, the step's few numbers computed, one call of the engine."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from gdfast import buffers, layers, threads
from gdfast._engine import ChangedError, Turn
from gdfast.engines import Engine, Entry, NativeEngine, NumpyEngine
from gdfast.hyperparameters import ParamGroup, as_float, by_unit
from gdfast.norms import clip_factor
from gdfast.optimizers.accumulation import Accumulation
from gdfast.optimizers.averaging import Averaging
from gdfast.optimizers.guard import Guard, complaint
from gdfast.optimizers.layout import Layout
from gdfast.optimizers.pieces import Pieces
from gdfast.rows import Rows, RowSparseError
from gdfast.structure import Named

if TYPE_CHECKING:
    from gdfast.row_engine import RowEngine

_UNSCALED = 1.0


class Stepping(ABC):
    """The part of an optimizer that steps; :class:`gdfast.Optimizer` is the whole."""

    #: whether something shrinks the parameters directly (`decays` says how much); else weight decay joins the gradient
    decoupled: ClassVar[bool] = False
    #: numbers that a group carries from step to step, by name, and what they are before the first
    memory: ClassVar[Mapping[str, float]] = {}
    #: the rules that may step some rows of an array and leave the others as they are (:class:`gdfast.Rows`)
    lazy_rules: ClassVar[frozenset[str]] = frozenset()
    #: whether each array has numbers of its own in a step, which are measured first
    layerwise: ClassVar[bool] = False

    n_threads: int | None
    guard: Guard
    accumulation: Accumulation
    averaging: Averaging
    last_norm: float | None
    skipped_steps: int
    step_count: int
    _layout: Layout
    _engine_type: type[NativeEngine] | type[NumpyEngine]
    _pieces: Pieces | None
    _blocked: bool  # by an open step, or by averages in the place of the parameters
    _memories: list[dict[str, float]]  # of each group; empty for a rule without

    @staticmethod
    @abstractmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the rule's numbers at step t, counted from 1, in the order of the native loop.

        With a `memory`, `values` holds its numbers too, as `advance` returned them for this step.
        """

    @staticmethod
    def decays(values: Mapping[str, Any], t: int) -> tuple[float, float]:
        """Return how much of the parameter joins the gradient at step t, and how much of it is taken away directly.

        Asked only where `decoupled`; a hyperparameter ``decoupled_weight_decay`` may still switch it off.
        """
        weight_decay = values["weight_decay"]
        if values.get("decoupled_weight_decay", True):
            return 0.0, values["lr"] * weight_decay
        return weight_decay, 0.0

    if TYPE_CHECKING:  # a rule without memory has none

        @staticmethod
        def advance(values: Mapping[str, Any], t: int) -> dict[str, float]:
            """Return the `memory` of a group after step t, from its hyperparameters and its memory before."""

    def step(self, grads: Any = None, *, grad_scale: float = _UNSCALED, zero_grad: bool = False) -> None:
        """Update every parameter in place, once.

        Parameters
        ----------
        grads : same structure as the parameters, optional
            The gradients, each of its parameter's shape and dtype; only read. With several groups, a list with the
            structure of each group, or one dict with all names. Not needed when gradient buffers were bound. A
            :class:`gdfast.Rows` or a CSR matrix in the place of an array steps the rows that it names, and no others.
        grad_scale : float
            The gradients are multiplied by it first (loss scaling, averaging).
        zero_grad : bool
            Zero the gradients in the same pass. Without it they are never written.

        Raises
        ------
        TypeError, ValueError
            If gradients, or hyperparameters that a schedule gives at this step, are not as they must be, or an array
            of the optimizer is not what it was when it was bound; nothing has been written then.
        FloatingPointError
            If ``nonfinite="raise"`` and a gradient holds NaN or infinity; nothing has been written then.
        RuntimeError
            If another thread is stepping this optimizer, or a step in pieces is open (:meth:`step_one`).
        """
        with self._stepping:
            if self._blocked:
                self._check_not_blocked()
            guard, accumulation, step = self.guard, self.accumulation, self.step_count
            scale = grad_scale if grad_scale is _UNSCALED else _checked_scale(grad_scale)
            given = row = (grads,) if self._lone and grads is not None else self._row(grads)
            # Schedules and structures are the user's code, and may change any array: they are asked before the checks,
            # which the native run makes itself where nothing of the gradients is needed before.
            engine: Engine | RowEngine = self._engine
            offered = not (guard.needs_norm or zero_grad) and self._engine.offer(row)
            for group in self._groups:
                if group.scheduled:
                    group.ask(step)
            if self.averaging.on:
                self._engine.set_average(self.averaging.weight(step))
            bound = inf if guard.clip_value is None else guard.bound(step)
            limit = guard.limit(step) if guard.needs_norm else inf
            if not offered:
                try:
                    row = self._engine.take(row)
                except RowSparseError:
                    engine, row = self._by_rows(row, zero_grad)
            if zero_grad:
                self._check_zeroable(given, row)
            waiting = accumulation.count
            summed = waiting > 0
            if summed:
                scale *= accumulation.share()
            n_threads = threads.resolve(self.n_threads) if engine.most_parts > 1 else 1
            if guard.needs_norm:
                norm = engine.norm(row, n_threads, summed)
                if guard.nonfinite != "propagate" and not isfinite(norm):
                    engine.release()
                    self._refuse(row, norm, step)
                    return
                self.last_norm = norm = abs(scale) * norm
                scale *= clip_factor(norm, limit)
            for i, group in enumerate(self._groups):
                self._set_numbers(engine, i, group, step, scale, bound)
            before = self._memories
            memories = self._advanced.copy() if self._advanced else before
            # Counted first: Python handles a signal after a call, so none can come between this line and the step.
            self.step_count, self._memories, accumulation.count = step + 1, memories, 0
            try:
                engine.run(n_threads, zero_grad, summed)
            except Exception as error:
                if isinstance(error, ChangedError) or (offered and self._engine.refused):
                    self.step_count, self._memories, accumulation.count = step, before, waiting
                raise

    def accumulate(self, grads: Any = None) -> None:
        """Add the gradients of a micro-batch to those that wait for the next step.

        The last micro-batch goes to :meth:`step`, which adds it and applies the mean of all (or their sum, with
        ``accumulation="sum"``) in one pass; the sum is never written back. A step that is refused for NaN or infinity
        drops what waited.

        Parameters
        ----------
        grads : same structure as the parameters, optional
            As for :meth:`step`; only read.

        Raises
        ------
        TypeError, ValueError
            If gradients are not as they must be; nothing has been added then.
        RuntimeError
            If another thread is stepping this optimizer, or a step in pieces is open (:meth:`step_one`).

        Examples
        --------
        >>> import numpy as np
        >>> import gdfast
        >>> w = np.zeros(2)
        >>> opt = gdfast.SGD(w, lr=1.0)
        >>> opt.accumulate(np.array([1.0, 2.0]))
        >>> opt.step(np.array([3.0, 2.0]))
        >>> w
        array([-2., -2.])
        """
        with self._stepping:
            self._check_not_blocked()
            engine, accumulation = self._engine, self.accumulation
            row = engine.take(self._row(grads))
            try:
                self._allocate_sums()
                accumulation.add(row, self._engine_type, threads.resolve(self.n_threads))
            finally:
                engine.release()

    def step_one(self, name: str, grad: Any, *, grad_scale: float = _UNSCALED, zero_grad: bool = False) -> None:
        """Update one array while its gradient is still in the cache; `end_step` closes the step.

        Every array must be stepped once before :meth:`end_step`, in any order: the bits are then those of one whole
        :meth:`step`.

        Parameters
        ----------
        name : str
            The array's name, a key of `state`.
        grad : array, or as :meth:`step` takes it in its place
            Its gradient, of its shape and dtype.
        grad_scale, zero_grad
            As for :meth:`step`.

        Raises
        ------
        TypeError, ValueError
            If the name, the gradient or a hyperparameter is not as it must be; nothing has been written then.
        RuntimeError
            If this array was stepped already, if micro-batches wait (:meth:`accumulate`), or if the optimizer clips by
            the norm or checks for NaN and infinity: that needs all gradients before the first array moves.

        Examples
        --------
        >>> import numpy as np
        >>> import gdfast
        >>> layers = {"W": np.zeros(2), "b": np.zeros(1)}
        >>> opt = gdfast.SGD(layers, lr=1.0)
        >>> opt.step_one("b", np.array([4.0]))
        >>> opt.step_one("W", np.array([1.0, 2.0]))
        >>> opt.end_step()
        >>> layers["W"], opt.step_count
        (array([-1., -2.]), 1)
        """
        with self._stepping:
            scale = _checked_scale(grad_scale)
            before = self._pieces, self._blocked
            pieces = self._pieces or self._begun()
            i = pieces.place(name)
            entry = self._layout.entries[i]
            group = self._groups[entry.group]
            if group.scheduled:
                group.ask(self.step_count)
            rows: RowEngine | None = None
            try:
                grad = self._engine.take_one(i, grad)
            except RowSparseError:
                rows, _ = self._by_rows((grad,), zero_grad, (i,))
            if zero_grad:
                buffers.check_zeroable([Named(grad, name, entry.param.grad_path)])
            if rows is not None:
                self._set_numbers(rows, entry.group, group, self.step_count, scale, pieces.bound)
            else:
                self._set_numbers_of_one(i, entry.group, scale, pieces)
            n_threads = threads.resolve(self.n_threads)
            del pieces.left[name]
            self._pieces, self._blocked = pieces, True
            try:
                if rows is not None:
                    rows.run(n_threads, False, False)
                else:
                    self._engine.run_one(i, n_threads, zero_grad)
            except ChangedError:
                pieces.left[name] = i
                self._pieces, self._blocked = before
                raise

    def step_rows(self, name: str, rows: Any, values: Any, *, grad_scale: float = _UNSCALED) -> None:
        """Update the rows of one array that its gradient touches; `end_step` closes the step.

        The same as ``step_one(name, gdfast.Rows(rows, values))``; :class:`gdfast.Rows` says what is updated and how.
        :meth:`step` takes such gradients too, for all arrays in one call.

        Parameters
        ----------
        name : str
            The array's name, a key of `state`.
        rows : array of int32 or int64, shape (n,)
        values : array, shape (n, ...)
        grad_scale : float
            As for :meth:`step`.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As :meth:`step_one`, or if the rows cannot be stepped alone; nothing has been written then.

        Examples
        --------
        >>> import numpy as np
        >>> import gdfast
        >>> table = np.zeros((1000, 2))
        >>> opt = gdfast.SGD(table, lr=0.5)
        >>> opt.step_rows("0", np.array([7, 2, 7]), np.ones((3, 2)))
        >>> opt.end_step()
        >>> table[[2, 7]]
        array([[-0.5, -0.5],
               [-1. , -1. ]])
        """
        self.step_one(name, Rows(rows, values), grad_scale=grad_scale)

    def end_step(self) -> None:
        """Close a step that was made array by array with `step_one`.

        Raises
        ------
        RuntimeError
            If no such step is open, or an array was left out; it can still be stepped then.
        """
        with self._stepping:
            if self._pieces is None:
                raise RuntimeError("end_step must come after step_one; no array was stepped since the last step")
            self._pieces.check_complete()
            memories = self._advanced.copy()
            self.step_count, self._memories, self._pieces, self._blocked = self.step_count + 1, memories, None, False

    # How it is done.

    def _settle(self) -> None:
        """Make what belongs to this process: the lock, the engine over the layout's memory, no bound buffers."""
        self._stepping = Turn(type(self).__name__)
        self._blocked = False
        self._pieces = None
        self._zeroable: tuple[Any, ...] | None = None
        self._bound_grads: tuple[Any, ...] | None = None
        self._make_engine()

    def _bind(self, row: tuple[Any, ...]) -> None:
        self._engine.take(row)
        self._engine.release()
        self._bound_grads = row

    def _make_engine(self) -> None:
        layout = self._layout
        self._row_engines: dict[tuple[int, ...], RowEngine] = {}
        self._engine: Engine = self._fitting_engine(layout)
        if self.accumulation.sums:
            self._engine.bind_sums(self.accumulation.bound())
        self._advanced = self._memories.copy()
        self._groups, self._lone = layout.groups, layout.lone  # a step looks at nothing else of it

    def _fitting_engine(self, layout: Layout) -> Engine:
        """Return the plain engine, or the one that can measure if a rule or an option needs numbers of each array."""
        if not (self.layerwise or any(map(by_unit, layout.groups))):
            return self._engine_type(layout.entries, len(layout.groups), self.averaging.on)
        return layers.ENGINES[self._engine_type](layout.entries, layout.groups, self.averaging.on, self.layerwise)

    def _allocate_sums(self) -> None:
        """Make room for the sums of micro-batches, unless there is."""
        if not self.accumulation.sums:
            self.accumulation.allocate(self._layout.entries)
            self._engine.bind_sums(self.accumulation.bound())

    def _still(self, written: bool = True) -> Sequence[Entry]:
        """Return all arrays, as plain ones, after a check that they are what was bound."""
        self._engine.checks.still(written)
        return self._engine.checks.entries

    def _by_rows(
        self, grads: tuple[Any, ...], zero_grad: bool, places: tuple[int, ...] | None = None
    ) -> tuple["RowEngine", tuple[Any, ...]]:
        """Return an engine that has taken gradients of which some are row-sparse, and what they come down to.

        The gradients are those of all arrays, or of these places only.
        """
        from gdfast.row_engine import row_engine

        engine = row_engine(self, grads, zero_grad, places)
        return engine, engine.take(grads, threads.resolve(self.n_threads))

    def _row(self, grads: Any) -> tuple[Any, ...]:
        """Lay the gradients out in the order of the parameters; the bound ones if none are given."""
        if grads is not None:
            return self._layout.row(grads)
        if self._bound_grads is None:
            raise TypeError("step needs grads, because no gradient buffers were bound at construction (grads=...)")
        return self._bound_grads

    def _check_not_blocked(self, torn: bool = False) -> None:
        """Refuse what must not happen in the middle of something else; unless a fork left that behind (`torn`)."""
        if torn:
            self._pieces, self._blocked = None, False
        if self._pieces is not None:
            left = ", ".join(self._pieces.left) or "none"
            raise RuntimeError(f"a step in pieces is open (arrays left: {left}): first close it with end_step()")
        if self._blocked:
            raise RuntimeError("the averages stand in the place of the parameters now: first leave averaged()")

    def _begun(self) -> Pieces:
        """Begin a step in pieces, with everything checked that concerns all of it."""
        self._check_not_blocked()
        if self.guard.needs_norm:
            option = "clip_norm" if self.guard.clip_norm is not None else "nonfinite"
            raise RuntimeError(f"step_one cannot go with {option}: it needs all gradients before the first array moves")
        if self.accumulation.count:
            raise RuntimeError("step_one cannot add the micro-batches that wait since accumulate(); call step")
        step = self.step_count
        bound = self.guard.bound(step)
        if self.averaging.on:
            self._engine.set_average(self.averaging.weight(step))
        for i, group in enumerate(self._groups):
            group.ask(step)
            self._begin_numbers(i, group, step, bound)
        return Pieces(self._layout.entries, bound, dict.fromkeys(range(len(self._groups)), _UNSCALED))

    def _refuse(self, grads: tuple[Any, ...], norm: float, step: int) -> None:
        """Raise, or count a skipped step."""
        if self.guard.nonfinite == "raise":
            totals = self.accumulation.named_totals(self._layout.named_grads(grads))
            self.accumulation.count = 0
            raise FloatingPointError(complaint(totals, step))
        self.last_norm, self.accumulation.count = norm, 0
        self.skipped_steps += 1

    def _check_zeroable(self, given: tuple[Any, ...], grads: tuple[Any, ...]) -> None:
        """Check gradients that are to be zeroed, unless they are the bound ones, checked before."""
        if given is not self._zeroable:
            buffers.check_zeroable(self._layout.named_grads(grads))
            self._zeroable = self._bound_grads if given is self._bound_grads else None

    def _begin_numbers(self, i: int, group: ParamGroup, step: int, bound: float) -> None:
        """Compute a group's numbers before the first array of a step in pieces; what is wrong with them shows now."""
        self._set_numbers(self._engine, i, group, step, _UNSCALED, bound)

    def _set_numbers_of_one(self, i: int, group: int, scale: float, pieces: Pieces) -> None:
        """Compute the numbers for one array of a step in pieces, unless they are there."""
        if pieces.scales.get(group) != scale:
            self._set_numbers(self._engine, group, self._groups[group], self.step_count, scale, pieces.bound)
            pieces.scales[group] = scale

    def _set_numbers(
        self, engine: "Engine | RowEngine", i: int, group: ParamGroup, step: int, scale: float, bound: float
    ) -> None:
        """Compute a group's numbers of this step and give them to the engine."""
        values = group.asked
        t = step - group.born + 1
        if self._memories:
            self._advanced[i] = self.advance({**values, **self._memories[i]}, t)
            values = {**values, **self._advanced[i]}
        l2, decay = values["weight_decay"], 0.0
        if self.decoupled:
            l2, decay = self.decays(values, t)
        scalars = self.scalars(values, t)
        engine.set_numbers(i, -scale if values["maximize"] else scale, bound, l2, decay, values["l1"], scalars)


def _checked_scale(grad_scale: float) -> float:
    if type(grad_scale) is float and -math.inf < grad_scale < math.inf:
        return grad_scale
    if isinstance(grad_scale, bool) or not isinstance(grad_scale, numbers.Real):
        raise TypeError(f"grad_scale must be a number; got {grad_scale!r}")
    number = as_float("grad_scale", grad_scale)
    if not isfinite(number):
        raise ValueError(f"grad_scale must be finite; got {number!r}")
    return number
