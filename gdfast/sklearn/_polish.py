"""The minimum of an objective over all rows: SciPy's L-BFGS-B."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

Array = np.ndarray[Any, Any]

MEMORY = 20  # steps that the curvature is taken from


@dataclass
class Minimum:
    """Where a minimisation ended: the point, and the largest gradient left."""

    x: Array
    left: float


def minimise(
    objective: Callable[[Array], tuple[float, Array]],
    x: Array,
    l1: Array,
    tol: float,
    max_iter: int,
    stops: Callable[[Array, float], bool],
) -> Minimum:
    """Minimise ``objective(x) + l1 @ abs(x)``.

    Parameters
    ----------
    objective : callable
        Returns value and gradient of the smooth part.
    x : array of shape (n,)
        Where to begin.
    l1 : array of shape (n,)
    tol : float
        The largest component of the gradient (where l1 holds it back, of what is left) with which the search ends.
    max_iter : int
    stops : callable
        Is given point and objective after every step; True ends the search.

    Notes
    -----
    With l1, x is the difference of two vectors that are not negative: in these the objective is smooth, and a
    coefficient that is zero is one at its bounds, exactly. Byrd, Lu, Nocedal, Zhu, SIAM J. Sci. Comput. 1995.
    """
    split = np.flatnonzero(l1)
    lowest = np.concatenate([np.where(l1 > 0, 0.0, -np.inf), np.zeros(len(split))])
    begin = np.maximum(np.concatenate([x, -x[split]]), lowest)

    def joined(z: Array) -> Array:
        found = z[: len(x)].copy()
        found[split] -= z[len(x) :]
        return found

    def value(z: Array) -> tuple[float, Array]:
        loss, gradient = objective(joined(z))
        penalty = l1[split] @ (z[split] + z[len(x) :])
        return loss + penalty, np.concatenate([gradient + l1, l1[split] - gradient[split]])

    def stepped(intermediate_result: OptimizeResult) -> None:
        if stops(joined(intermediate_result.x), float(intermediate_result.fun)):
            raise StopIteration

    options = {"maxiter": max_iter, "maxfun": np.iinfo(np.int32).max, "gtol": tol, "ftol": 0.0, "maxcor": MEMORY}
    found = minimize(
        value,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(lowest) if len(split) else None,
        options=options,
        callback=stepped,
    )
    gradient = np.where(found.x <= lowest, np.minimum(found.jac, 0.0), found.jac)
    return Minimum(joined(found.x), float(np.abs(gradient).max(initial=0.0)))
