"""A step: check and bind the gradients, compute the few numbers of the step, call the engine once."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from gdfast.arrays import buffers
from gdfast.arrays._bound import ChangedError
from gdfast.arrays.rows import RowSparseError, is_row_sparse
from gdfast.engine import measured, threads
from gdfast.engine._plan import NonBlockingLock, step_key
from gdfast.engine.engines import Engine, Entry, NativeEngine, NumpyEngine
from gdfast.engine.measured import by_unit
from gdfast.stepping.accumulation import Accumulation
from gdfast.stepping.averaging import Averaging
from gdfast.stepping.guard import Guarded, complaint
from gdfast.stepping.hyperparameters import as_float
from gdfast.stepping.layout import Layout
from gdfast.stepping.open_step import OpenStep
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.rule import Rule
from gdfast.stepping.short_state import ShortState
from gdfast.stepping.step_numbers import are_kept, kept_numbers, step_numbers

if TYPE_CHECKING:
    from gdfast.engine.row_engine import AnyRowEngine, RowEngines

UNSCALED = 1.0
_NOTHING: Mapping[str, float] = {}


class Stepping(Guarded, Rule):
    """The part of an optimizer that steps; :class:`gdfast.Optimizer` is the whole."""

    n_threads: int | None
    accumulation: Accumulation
    averaging: Averaging
    step_count: int
    _layout: Layout
    _engine_type: type[NativeEngine] | type[NumpyEngine]
    _open_step: OpenStep | None
    _blocked: bool  # by an open step, a native plan, or because the parameters hold their averages
    _short: ShortState
    _carried: list[Mapping[str, float]]  # carried scalars of each group; empty if the rule has none

    def step(self, grads: Any = None, *, grad_scale: float = UNSCALED, zero_grad: bool = False) -> None:
        """Update every parameter in place, once.

        Parameters
        ----------
        grads : same structure as the parameters, optional
            The gradients, each of its parameter's shape and dtype; only read. With several groups, a list with the
            structure of each group, or one dict with all names. Not needed when gradient buffers were bound. A
            :class:`gdfast.Rows` or a CSR matrix instead of an array steps only the rows that it names.
        grad_scale : float
            The gradients are multiplied by it first (loss scaling, averaging).
        zero_grad : bool
            Zero the gradients in the same pass. Without it they are never written.

        Raises
        ------
        TypeError, ValueError
            If a gradient, or the value of a schedule at this step, is invalid, or an array of the optimizer was changed
            (resized, say) since it was bound; nothing has been written then.
        FloatingPointError
            If ``nonfinite="raise"`` and a gradient holds NaN or infinity; nothing has been written then.
        RuntimeError
            If another thread is stepping this optimizer, or a step in pieces is open (:meth:`step_one`).
        """
        quick = self._quick
        if quick is not None and grad_scale is UNSCALED and not zero_grad and not self.accumulation.count:
            group = self._groups[0]
            if not group.scheduled:
                n_threads = threads.resolve(self.n_threads) if quick.most_parts > 1 else 1
                if quick.try_step(self, self._stepping, grads, group.asked, group.start_step, n_threads):
                    return
        with self._stepping:
            if self._blocked:
                self._check_not_blocked()
            row = (grads,) if self._lone and grads is not None else self._flat_grads(grads)
            if self._has_options or grad_scale is not UNSCALED or zero_grad or self.accumulation.count:
                self._step_with_options(row, grad_scale, zero_grad)
                return
            # Schedules and containers run the user's code, which may change any array, so they come before the checks.
            # If nothing else needs the gradients earlier, the native run makes the checks itself (`offer`).
            engine: Engine | AnyRowEngine = self._engine
            step, offered = self.step_count, self._engine.offer(row)
            for group in self._groups:
                if group.scheduled:
                    group.ask(step)
            if not offered:
                engine, row = self._take(row, False)
            n_threads = threads.resolve(self.n_threads) if engine.most_parts > 1 else 1
            kept = self._kept
            for i, group in enumerate(self._groups):
                t = step - group.start_step + 1
                if kept is None or kept is not engine or not kept.renew_numbers(i, group.asked, t):
                    engine.set_numbers(i, step_numbers(self, group.asked, _NOTHING, t, UNSCALED, inf)[0])
                    if kept is engine and not group.scheduled:
                        own = kept_numbers(self, group.asked, t)
                        if own is not None:
                            kept.keep_numbers(i, group.asked, own)
            # Counted first: Python handles signals between calls, so none can arrive between this line and the step.
            self.step_count = step + 1
            try:
                engine.run(n_threads, False, False)
            except Exception as error:
                if isinstance(error, ChangedError) or (offered and self._engine.refused):
                    self.step_count = step
                raise

    def _step_with_options(self, given: tuple[Any, ...], grad_scale: float, zero_grad: bool) -> None:
        """Make a step in which something lies between the gradients and the rule, or beside it: the same, and more."""
        guard, accumulation, step = self.guard, self.accumulation, self.step_count
        scale, row = checked_scale(grad_scale), given
        engine: Engine | AnyRowEngine = self._engine
        offered = not (guard.needs_norm or zero_grad) and self._engine.offer(row)
        for group in self._groups:
            if group.scheduled:
                group.ask(step)
        if self.averaging.on:
            self._engine.set_average(self.averaging.weight(step))
        if self._coded:
            self._engine.set_random(step_key(self._short.seed, step))
        clip_value, limit = guard.clip_value_at(step), guard.clip_norm_at(step)
        if not offered:
            engine, row = self._take(row, zero_grad)
        if zero_grad:
            self._check_zeroable(given, row)
        waiting = accumulation.count
        add_accumulated = waiting > 0
        if add_accumulated:
            scale *= accumulation.weight()
        n_threads = threads.resolve(self.n_threads) if engine.most_parts > 1 else 1
        if guard.needs_norm:
            norm = engine.norm(row, n_threads, add_accumulated)
            clipped = self._clipped_scale(norm, scale, limit)
            if clipped is None:
                engine.release()
                self._refuse(row, norm, step)
                return
            scale = clipped
        for i, group in enumerate(self._groups):
            self._set_numbers(engine, i, group, step, scale, clip_value)
        before = self._carried
        self.step_count, self._carried, accumulation.count = step + 1, self._next_carried.copy(), 0
        try:
            engine.run(n_threads, zero_grad, add_accumulated)
        except Exception as error:
            if isinstance(error, ChangedError) or (offered and self._engine.refused):
                self.step_count, self._carried, accumulation.count = step, before, waiting
            raise

    def accumulate(self, grads: Any = None) -> None:
        """Add the gradients of a micro-batch to the sum that the next step uses.

        Give the last micro-batch to :meth:`step`, which adds it and applies the mean of all (or their sum, with
        ``accumulation="sum"``) in one pass; the sum is never written back. A step that is refused for NaN or infinity
        drops the sum.

        Parameters
        ----------
        grads : same structure as the parameters, optional
            As for :meth:`step`; only read.

        Raises
        ------
        TypeError, ValueError
            If a gradient is invalid; nothing has been added then.
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
            row = engine.take(self._flat_grads(grads))
            try:
                self._allocate_sums()
                accumulation.add(row, self._engine_type, threads.resolve(self.n_threads))
            finally:
                engine.release()

    # Implementation.

    def _init_process_state(self) -> None:
        """Make what belongs to this process: the lock and the engine over the layout's memory."""
        self._stepping = NonBlockingLock(type(self).__name__)
        self._blocked = False
        self._open_step = None
        self._native: Callable[[], Any] | None = None  # the plan by which native code steps, by a weak reference
        self._zeroable: tuple[Any, ...] | None = None
        self._bound_grads: tuple[Any, ...] | None = None
        self._make_engine()

    def _bind(self, row: tuple[Any, ...]) -> None:
        self._engine.take(row)
        self._engine.release()
        self._bound_grads = row

    def _make_engine(self) -> None:
        layout = self._layout
        self._row_engines: RowEngines | None = None
        self._engine: Engine = self._fitting_engine(layout)
        #: the engine again, if it computes the numbers of a step by itself
        self._kept = self._engine if type(self._engine) is NativeEngine and are_kept(type(self)) else None
        if self._kept is not None:
            self._kept.form = layout.form
        if self.accumulation.sums:
            self._engine.bind_sums(self.accumulation.bound())
        self._next_carried = self._carried.copy()
        self._groups, self._lone = layout.groups, layout.lone  # all that a step needs of the layout
        self._coded = any(entry.is_coded for entry in layout.entries)
        self.note_options()

    def note_options(self) -> None:
        """Note whether a step is more than the rule; to be called when the guard or the averaging is replaced."""
        guard = self.guard
        self._has_options = bool(
            guard.needs_norm
            or guard.clip_value is not None
            or self.averaging.on
            or self._coded
            or self.carried_scalars
            or self.layerwise
        )
        #: the engine once more, if native code can make a whole step of it
        self._quick = None if self._has_options or len(self._groups) != 1 else self._kept

    def _fitting_engine(self, layout: Layout) -> Engine:
        """Return the plain engine, or the measuring one if a rule or an option needs it."""
        if not (self.layerwise or any(map(by_unit, layout.groups))):
            return self._engine_type(layout.entries, len(layout.groups), self.averaging.on)
        return measured.ENGINES[self._engine_type](layout.entries, layout.groups, self.averaging.on, self.layerwise)

    def _allocate_sums(self) -> None:
        """Allocate the sums of micro-batches, unless they exist."""
        if not self.accumulation.sums:
            self.accumulation.allocate(self._layout.entries)
            self._engine.bind_sums(self.accumulation.bound())

    def _check_unchanged(self, written: bool = True) -> Sequence[Entry]:
        """Check that no array has changed since it was bound; return all entries, with plain arrays."""
        self._engine.checks.check_unchanged(written)
        return self._engine.checks.entries

    def _take(self, grads: tuple[Any, ...], zero_grad: bool) -> tuple["Engine | AnyRowEngine", tuple[Any, ...]]:
        """Return the engine that has taken the gradients, and these as plain arrays."""
        try:
            return self._engine, self._engine.take(grads)
        except RowSparseError:
            return self._by_rows(grads, zero_grad)

    def _by_rows(
        self, grads: tuple[Any, ...], zero_grad: bool, places: Sequence[int] | None = None
    ) -> tuple["AnyRowEngine", tuple[Any, ...]]:
        """Return a row engine that has taken gradients, some of them row-sparse, and the gradients as plain arrays.

        The gradients are those of all arrays, or of the arrays at `places`.
        """
        entries = self._layout.entries
        places = range(len(entries)) if places is None else places
        tables = tuple(i for i, grad in zip(places, grads, strict=True) if is_row_sparse(grad))
        for i in tables:
            self._check_lazy(entries[i], zero_grad)
        if self._row_engines is None:
            from gdfast.engine.row_engine import RowEngines  # imported late, to keep `import gdfast` fast

            self._row_engines = RowEngines(self._engine, len(self._groups))
        engine = self._row_engines.of(places, tables)
        return engine, engine.take(grads, threads.resolve(self.n_threads))

    def _check_lazy(self, entry: Entry, zero_grad: bool) -> None:
        """Check that an array can be stepped by rows in this step."""
        path = entry.param.grad_path
        if entry.rule not in self.lazy_rules:
            raise TypeError(
                f"{path} must be a NumPy array: {type(self).__name__} must step the rows without a gradient too"
            )
        if any(map(by_unit, self._layout.groups)):
            raise TypeError(f"{path} must be a NumPy array with centralize or clip_adaptive: they need whole units")
        if self.averaging.on:
            raise TypeError(f"{path} must be a NumPy array with ema_decay: every row of the average moves each step")
        if zero_grad:
            raise ValueError(f"zero_grad must be False with row-sparse gradients, as {path} is")
        if entry.formats:
            from gdfast.engine.coded_rows import check_blocks

            check_blocks(entry, path)
        if self.accumulation.count:
            raise RuntimeError(f"{path} must be a NumPy array to be added to the micro-batches given to accumulate()")

    def _flat_grads(self, grads: Any) -> tuple[Any, ...]:
        """Flatten the gradients into the order of the parameters; return the bound ones if none are given."""
        if grads is not None:
            return self._layout.flatten(grads)
        if self._bound_grads is None:
            raise TypeError("step needs grads, because no gradient buffers were bound at construction (grads=...)")
        return self._bound_grads

    def _check_not_blocked(self, torn: bool = False) -> None:
        """Raise if a step in pieces is open or averages are swapped in; reset that if a fork left it (`torn`)."""
        if torn:
            self._open_step, self._blocked = None, False
        if self._open_step is not None:
            left = ", ".join(self._open_step.left) or "none"
            raise RuntimeError(f"a step in pieces is open (arrays left: {left}): first close it with end_step()")
        if self._native is not None:
            raise RuntimeError("a native plan of this optimizer is open: first close it")
        if self._blocked:
            raise RuntimeError("the parameters hold their averages now: first leave averaged()")

    def _refuse(self, grads: tuple[Any, ...], norm: float, step: int) -> None:
        """Raise, or count a skipped step; the micro-batches that wait are dropped."""
        try:
            named = self._layout.named_grads
            self._refuse_step(norm, lambda: complaint(self.accumulation.named_totals(named(grads)), step))
        finally:
            self.accumulation.count = 0

    def _check_zeroable(self, given: tuple[Any, ...], grads: tuple[Any, ...]) -> None:
        """Check gradients that are to be zeroed, unless they are the bound ones and were checked before."""
        if given is not self._zeroable:
            buffers.check_zeroable(self._layout.named_grads(grads))
            self._zeroable = self._bound_grads if given is self._bound_grads else None

    def _set_numbers(
        self,
        engine: "Engine | AnyRowEngine",
        i: int,
        group: ParamGroup,
        step: int,
        grad_scale: float,
        clip_value: float,
    ) -> None:
        """Compute a group's numbers of this step and give them to the engine."""
        carried = self._carried[i] if self._carried else _NOTHING
        numbers, carried = step_numbers(self, group.asked, carried, step - group.start_step + 1, grad_scale, clip_value)
        if self._carried:
            self._next_carried[i] = carried
        engine.set_numbers(i, numbers)


def checked_scale(grad_scale: float) -> float:
    """Return grad_scale as a float, after a check that it is a finite number."""
    if type(grad_scale) is float and -math.inf < grad_scale < math.inf:
        return grad_scale
    if isinstance(grad_scale, bool) or not isinstance(grad_scale, numbers.Real):
        raise TypeError(f"grad_scale must be a number; got {grad_scale!r}")
    number = as_float("grad_scale", grad_scale)
    if not isfinite(number):
        raise ValueError(f"grad_scale must be finite; got {number!r}")
    return number
