"""Steps made by native code: a plan that C, Cython or numba steps by its handle (gdfast/include/gdfast.h)."""

import weakref
from typing import Any, cast

import numpy as np

from gdfast.engine import threads
from gdfast.engine._plan import TABLE_WIDTH, NativeSteps
from gdfast.engine.engines import NativeEngine, Numbers
from gdfast.stepping.base import Optimizer
from gdfast.stepping.precompute import can_run_natively, commit, precompute_numbers
from gdfast.stepping.step_numbers import kept_numbers, step_numbers

Constants = tuple[list[Numbers], list[tuple[Any, ...] | None]]


class _AnyStep:
    """Stands for the step where numbers are asked for that must not depend on it: every use raises TypeError."""

    def _refuse(self, *_: object) -> Any:
        raise TypeError("the numbers depend on the step")

    __eq__ = __ne__ = __bool__ = __hash__ = __str__ = __repr__ = __format__ = _refuse


class Plan:
    """An optimizer that native code steps, by a handle: without the GIL and without Python.

    While it is open the optimizer makes no steps of its own, and its arrays cannot be resized. A hyperparameter that is
    set meanwhile counts from the next step on. Use it in a ``with`` block, or call `close`. C, Cython, numba and ctypes
    then call the functions of gdfast.h; see docs/native-callers.md.

    Parameters
    ----------
    opt : Optimizer
        With arrays and state of float32 or float64, and a rule that measures no whole arrays.
    steps : int, optional
        The number of steps whose numbers are computed now. Not needed where they are the same in every step, or are
        those of Adam or AdamW; needed with schedules, `ema_decay`, and rules whose numbers depend on the step.

    Raises
    ------
    TypeError, ValueError
        If the optimizer cannot be stepped natively, or `steps` is missing or invalid.
    RuntimeError
        If a step in pieces or another plan is open, or micro-batches wait since ``accumulate()``.

    Attributes
    ----------
    address : int
        The handle, a ``gdfast_plan`` in C. After `close` it is an error code in every call, never a crash.
    arrays : dict
        Name -> index of each array, in the order of the gradients.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast.native
    >>> w, grad = np.zeros(2), np.array([1.0, 2.0])
    >>> opt = gdfast.SGD(w, lr=0.5)
    >>> with gdfast.native.Plan(opt) as plan:  # a step through ctypes; Cython and C call gdfast_step
    ...     grads = np.array([grad.ctypes.data], np.uintp)
    ...     gdfast.native.step(plan.address, grads.ctypes.data, 1.0)
    0
    >>> w, opt.step_count
    (array([-0.5, -1. ]), 1)
    """

    _closed = True

    def __init__(self, opt: Optimizer, steps: int | None = None) -> None:
        _check_steps(steps)
        if not isinstance(opt, Optimizer):
            raise TypeError(f"opt must be an optimizer of gdfast; got {type(opt).__name__}")
        with opt._stepping:
            opt._check_not_blocked()
            _check_fits(opt)
            opt._check_unchanged()
            self._opt, entries = opt, opt._layout.entries
            by_rows = opt.lazy_rules if not opt.averaging.on else ()
            lazy = [entry.rule in by_rows and np.ndim(entry.value) > 0 for entry in opt._engine.checks.entries]
            self._steps = NativeSteps(cast(NativeEngine, opt._engine), lazy)
            self.address: int = self._steps.handle
            self.arrays = {entry.param.name: i for i, entry in enumerate(entries)}
            self._prepare(steps)
            self._closed, opt._native, opt._blocked = False, weakref.ref(self), True
            for group in opt._groups:
                group.on_change = weakref.WeakMethod(self._refresh)

    @property
    def steps_made(self) -> int:
        """Number of steps made since the plan was prepared."""
        return self._steps.made

    @property
    def steps_left(self) -> int | None:
        """Number of steps that were prepared and not made yet; None without a limit."""
        return None if self._steps_asked is None else self._steps_asked - self._steps.made

    def prepare(self, steps: int | None = None) -> None:
        """Count the steps made so far, and prepare the numbers of as many more steps.

        Parameters
        ----------
        steps : int, optional
            As in the constructor.

        Raises
        ------
        TypeError, ValueError
            As in the constructor.
        RuntimeError
            If the plan is closed, or a step that was begun array by array is unfinished.
        """
        _check_steps(steps)
        if self._closed:
            raise RuntimeError("this native plan is closed; make another one")
        self._check_finished()
        self._commit()
        self._prepare(steps)

    def close(self) -> None:
        """Give the steps back to the optimizer, whose `step_count` then has those that were made. May be called again.

        Raises
        ------
        RuntimeError
            If a step that was begun array by array is unfinished. (A ``with`` block that ends with an error closes the
            plan all the same; that step then counts.)
        """
        if not self._closed:
            self._check_finished()
            self._end()

    def __enter__(self) -> "Plan":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def __del__(self) -> None:
        self._end()

    def __reduce__(self) -> Any:
        raise TypeError("a native plan cannot be copied or pickled: it holds addresses")

    # Implementation.

    def _end(self) -> None:
        if self._closed:
            return
        opt, self._closed = self._opt, True
        self._steps.close()  # first: until then another thread may begin a step
        self._commit(bool(self._steps.arrays_left))
        opt._native, opt._blocked = None, False
        for group in opt._groups:
            group.on_change = None

    def _check_finished(self) -> None:
        names = list(self.arrays)
        left = [names[i] for i in self._steps.arrays_left]
        if left:
            raise RuntimeError(f"a step of this native plan is unfinished; arrays not stepped yet: {', '.join(left)}")

    def _commit(self, begun: bool = False) -> None:
        """Advance the optimizer's counters by the steps that were made, and one more if that was begun."""
        opt, made = self._opt, self._steps.stop() + begun
        carried = opt._carried
        if carried and made:
            carried = precompute_numbers(opt, made, TABLE_WIDTH)[2]
        commit(opt, made, carried)

    def _refresh(self) -> None:
        """Prepare the steps that are left again, after a hyperparameter was set."""
        left = self.steps_left
        self._commit()
        self._prepare(left)

    def _prepare(self, steps: int | None) -> None:
        opt = self._opt
        n_threads = threads.resolve(opt.n_threads)
        constant = _constants(opt) if steps is None else None
        if steps is None and constant is None:
            raise ValueError(
                f"steps must be given: the numbers of this {type(opt).__name__} differ from step to step (a schedule, "
                "an average of the parameters, or the rule itself), so they are computed before native code begins"
            )
        numbers, averages = np.zeros((0, len(opt._groups), TABLE_WIDTH)), np.zeros(0)
        if constant is None:
            numbers, averages, _ = precompute_numbers(opt, cast(int, steps), TABLE_WIDTH)
        self._steps.prepare(*(constant or ([], [])), numbers, averages, n_threads)
        self._steps_asked = steps


def _constants(opt: Optimizer) -> Constants | None:
    """Return the numbers of each group that hold in all steps, and what Adam's are computed from; None if none do."""
    scheduled = any(group.scheduled for group in opt._groups) or callable(opt.guard.clip_value)
    if scheduled or opt.averaging.on or opt._carried:
        return None
    adam = getattr(opt.scalars, "computed_natively", False)
    clip_value, found, corrections = opt.guard.clip_value_at(opt.step_count), list[Numbers](), []
    for group in opt._groups:
        values, own, t = group.values_now, None, cast(int, _AnyStep())
        before = opt.step_count - group.start_step
        try:
            if opt.decoupled:
                opt.decays(values, t)
            if adam:
                own = (kept_numbers(opt, values, before + 1), before)
            else:
                opt.scalars(values, t)
        except TypeError:
            return None
        found.append(step_numbers(opt, values, {}, before + 1, 1.0, clip_value)[0])
        corrections.append(own)
    return found, corrections


def _check_steps(steps: Any) -> None:
    if steps is None:
        return
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps must be an int or None; got {steps!r}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")


def _check_fits(opt: Optimizer) -> None:
    """Check that native code can step an optimizer by itself."""
    name = type(opt).__name__
    if opt.guard.needs_norm:
        option = "clip_norm" if opt.guard.clip_norm is not None else "nonfinite"
        raise ValueError(f"{option} cannot go with native steps, which measure no norms")
    if opt.accumulation.count:
        raise RuntimeError("a native plan cannot be made while micro-batches wait since accumulate(); call step first")
    if not can_run_natively(opt):
        raise ValueError(
            f"this {name} cannot be stepped by native code: that needs engine='native', arrays and state of float32 or "
            "float64, and a rule that measures no whole arrays"
        )
