"""A step in pieces: made array by array, while each gradient is still in the cache."""

from typing import TYPE_CHECKING, Any

from gdfast.arrays import buffers
from gdfast.arrays._bound import ChangedError
from gdfast.arrays.rows import Rows, RowSparseError
from gdfast.arrays.structure import NamedArray
from gdfast.engine import threads
from gdfast.engine._plan import step_key
from gdfast.stepping.open_step import OpenStep
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.step import UNSCALED, Stepping, checked_scale

if TYPE_CHECKING:
    from gdfast.engine.row_engine import AnyRowEngine


class PiecewiseStepping(Stepping):
    """The part of an optimizer that steps one array at a time."""

    def step_one(self, name: str, grad: Any, *, grad_scale: float = UNSCALED, zero_grad: bool = False) -> None:
        """Update one array while its gradient is still in the cache; `end_step` closes the step.

        Every array must be stepped once before :meth:`end_step`, in any order: the bits are then those of one whole
        :meth:`step`.

        Parameters
        ----------
        name : str
            The array's name, a key of `state`.
        grad : array, or a row-sparse gradient as for :meth:`step`
            Its gradient, of its shape and dtype.
        grad_scale, zero_grad
            As for :meth:`step`.

        Raises
        ------
        TypeError, ValueError
            If the name, the gradient or a hyperparameter is invalid; nothing has been written then.
        RuntimeError
            If this array was stepped already, if micro-batches were accumulated (:meth:`accumulate`), or if the
            optimizer clips by the norm or checks for NaN and infinity, which needs all gradients first.

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
            scale = checked_scale(grad_scale)
            before = self._open_step, self._blocked
            open_step = self._open_step or self._begun()
            i = open_step.place(name)
            entry = self._layout.entries[i]
            group = self._groups[entry.group]
            if group.scheduled:
                group.ask(self.step_count)
            rows: AnyRowEngine | None = None
            try:
                grad = self._engine.take_one(i, grad)
            except RowSparseError:
                rows, _ = self._by_rows((grad,), zero_grad, (i,))
            if zero_grad:
                buffers.check_zeroable([NamedArray(grad, name, entry.param.grad_path)])
            if rows is not None:
                self._set_numbers(rows, entry.group, group, self.step_count, scale, open_step.clip_value)
            else:
                self._set_numbers_of_one(i, entry.group, scale, open_step)
            n_threads = threads.resolve(self.n_threads)
            del open_step.left[name]
            self._open_step, self._blocked = open_step, True
            try:
                if rows is not None:
                    rows.run(n_threads, False, False)
                else:
                    self._engine.run_one(i, n_threads, zero_grad)
            except ChangedError:
                open_step.left[name] = i
                self._open_step, self._blocked = before
                raise

    def step_rows(self, name: str, rows: Any, values: Any, *, grad_scale: float = UNSCALED) -> None:
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
            if self._open_step is None:
                raise RuntimeError("end_step must come after step_one; no array was stepped since the last step")
            self._open_step.check_complete()
            carried = self._next_carried.copy()
            self.step_count, self._carried, self._open_step, self._blocked = self.step_count + 1, carried, None, False

    # Implementation.

    def _begun(self) -> OpenStep:
        """Begin a step in pieces, with the checks that concern all arrays."""
        self._check_not_blocked()
        if self.guard.needs_norm:
            option = "clip_norm" if self.guard.clip_norm is not None else "nonfinite"
            raise RuntimeError(f"step_one cannot go with {option}: it needs all gradients before the first array moves")
        if self.accumulation.count:
            raise RuntimeError("step_one cannot add the micro-batches that wait since accumulate(); call step")
        step = self.step_count
        clip_value = self.guard.clip_value_at(step)
        if self.averaging.on:
            self._engine.set_average(self.averaging.weight(step))
        if self._coded:
            self._engine.set_random(step_key(self._short.seed, step))
        for i, group in enumerate(self._groups):
            group.ask(step)
            self._begin_numbers(i, group, step, clip_value)
        return OpenStep(self._layout.entries, clip_value, dict.fromkeys(range(len(self._groups)), UNSCALED))

    def _begin_numbers(self, i: int, group: ParamGroup, step: int, clip_value: float) -> None:
        """Compute a group's numbers before the first array is stepped, so that an error is raised before any write."""
        self._set_numbers(self._engine, i, group, step, UNSCALED, clip_value)

    def _set_numbers_of_one(self, i: int, group: int, scale: float, open_step: OpenStep) -> None:
        """Compute the numbers for one array, unless they are set for this scale."""
        if open_step.grad_scales.get(group) != scale:
            self._set_numbers(self._engine, group, self._groups[group], self.step_count, scale, open_step.clip_value)
            open_step.grad_scales[group] = scale
