"""The history of a quasi-Newton method, and the direction computed from it."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gdfast.engine import _plan, _reduce, isa

Array: TypeAlias = np.ndarray[Any, Any]
#: (y, x, z, a, c): sets y to c*(y + a*x), unless x is None, and returns the dot product of y and z
AxpyDot: TypeAlias = Callable[[Array, Array | None, Array, float, float], float]

_EPSILON = float(np.finfo(np.float64).eps)


def axpy_dot_of(engine: str, threads: int) -> AxpyDot:
    """Return an engine's implementation of the one vector operation needed; the bits are the same for all."""
    if engine == "numpy":
        from gdfast.reference.norm import axpy_dot

        return axpy_dot

    def native(y: Array, x: Array | None, z: Array, a: float, c: float) -> float:
        parts = min(threads, 3 * y.nbytes // _plan.GRAIN_BYTES)
        return _reduce.axpy_dot(isa.rules.AXPY_DOT, y, x, z, a, c, parts)

    return native


class Curvature:
    """The last steps s and the corresponding changes y of the gradient, in two preallocated ring buffers.

    Parameters
    ----------
    size : int
        Length of a vector.
    capacity : int
        Maximum number of steps kept.
    dtype : dtype
    """

    def __init__(self, size: int, capacity: int, dtype: Any) -> None:
        self.capacity = capacity
        # One row more than the capacity: a new step is checked there before it replaces the oldest.
        self.steps = np.zeros((capacity + 1, size), dtype)
        self.changes = np.zeros((capacity + 1, size), dtype)
        self.inverses = np.zeros(capacity + 1)  # 1/(s.y) of each
        self.first = 0  # the row of the oldest
        self.count = 0
        self.scale = 1.0  # s.y / y.y of the newest: the scale of the initial inverse Hessian

    def clear(self) -> None:
        """Drop the history."""
        self.first, self.count, self.scale = 0, 0, 1.0

    def rows(self) -> list[int]:
        """Return the indices of the rows in use, oldest first."""
        return [(self.first + i) % len(self.inverses) for i in range(self.count)]

    def dump(self) -> tuple[Array, Array, Array, float]:
        """Return copies of the steps, the changes and the inverses, oldest first, and the scale."""
        rows = self.rows()
        return self.steps[rows], self.changes[rows], self.inverses[rows], self.scale

    def restore(self, steps: Any, changes: Any, inverses: Any, scale: float) -> None:
        """Replace the history by copies of these arrays, oldest first.

        Raises
        ------
        TypeError, ValueError
            If they do not fit; nothing is changed then.
        """
        n = len(inverses)
        if n > self.capacity:
            raise ValueError(f"state must hold at most {self.capacity} steps, the history_size; got {n}")
        wanted = (("old_stps", steps, self.steps), ("old_dirs", changes, self.changes), ("ro", inverses, self.inverses))
        for name, theirs, own in wanted:
            shape = (n, *own.shape[1:])
            if not isinstance(theirs, np.ndarray) or theirs.dtype != own.dtype or theirs.shape != shape:
                got = f"{theirs.dtype} {theirs.shape}" if isinstance(theirs, np.ndarray) else type(theirs).__name__
                raise ValueError(f'state["{name}"] must be {own.dtype} {shape}; got {got}')
        if not isinstance(scale, float) or not 0 < scale < np.inf:
            raise ValueError(f'state["H_diag"] must be a positive number; got {scale!r}')
        self.steps[:n], self.changes[:n], self.inverses[:n] = steps, changes, inverses
        self.first, self.count, self.scale = 0, n, scale

    def update(self, step: float, direction: Array, grad: Array, before: Array, axpy_dot: AxpyDot) -> None:
        """Add a step along a direction and its change of the gradient, unless their product is not positive enough."""
        row = (self.first + self.count) % len(self.inverses)
        s, y = self.steps[row], self.changes[row]
        np.multiply(direction, direction.dtype.type(step), out=s)
        np.copyto(y, grad)
        product = axpy_dot(y, before, s, -1.0, 1.0)
        square = axpy_dot(y, None, y, 0.0, 1.0)
        if not product > _EPSILON * square:
            return
        self.inverses[row], self.scale = 1.0 / product, product / square
        if self.count < self.capacity:
            self.count += 1
        else:
            self.first = (self.first + 1) % len(self.inverses)

    def direction(self, grad: Array, out: Array, axpy_dot: AxpyDot) -> float:
        """Write the quasi-Newton direction, downhill from `grad`, to `out`; return its dot product with `grad`.

        The two-loop recursion: one pass over three vectors for each change and for each step, because the dot product
        that a pass needs is computed in the previous pass.
        """
        np.copyto(out, grad)
        rows = self.rows()
        if not rows:
            return axpy_dot(np.negative(out, out=out), None, grad, 0.0, 1.0)
        # Newest first, then oldest first; each pass computes the dot product that the next one needs.
        back = [self.steps[i] for i in rows[-2::-1]] + [self.changes[rows[0]]]
        forth = [self.changes[i] for i in rows[1:]] + [grad]
        weights: list[float] = []
        product = axpy_dot(out, None, self.steps[rows[-1]], 0.0, 1.0)
        for i, following in zip(reversed(rows), back, strict=True):
            weights.append(float(self.inverses[i]) * product)
            factor = self.scale if i == rows[0] else 1.0
            product = axpy_dot(out, self.changes[i], following, -weights[-1], factor)
        for i, following in zip(rows, forth, strict=True):
            weight = weights.pop() - float(self.inverses[i]) * product
            factor = -1.0 if i == rows[-1] else 1.0
            product = axpy_dot(out, self.steps[i], following, weight, factor)
        return product
