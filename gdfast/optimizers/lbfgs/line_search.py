"""The strong Wolfe line search, from SciPy."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def scipy_optimize() -> Any:
    """Return scipy.optimize.

    Raises
    ------
    ImportError
        Saying what to install.
    """
    try:
        import scipy.optimize
    except ImportError as error:
        raise ImportError(
            'line_search="strong_wolfe" needs SciPy: pip install "gdfast[scipy]", or give line_search=None'
        ) from error
    return scipy.optimize


def strong_wolfe(at: Callable[[float], tuple[float, float]], loss: float, slope: float, first: float) -> float | None:
    """Return a step that meets the strong Wolfe conditions, or None if none was found.

    SciPy searches a function of one scalar, so that it computes no sums over elements: their order would not be fixed.

    Parameters
    ----------
    at : callable
        step -> loss and slope there.
    loss, slope : float
        At step 0; the slope is negative.
    first : float
        The step to try first.
    """
    with warnings.catch_warnings():
        # Only SciPy's own warnings: those of the user's code in `at` must be seen.
        warnings.filterwarnings("ignore", message="The line search algorithm|Rounding errors prevent")
        found = scipy_optimize().line_search(
            lambda x: at(float(x[0]))[0],
            lambda x: np.array([at(float(x[0]))[1]]),
            xk=np.zeros(1),
            pk=np.array([first]),
            gfk=np.array([slope]),
            old_fval=loss,
        )[0]
    return None if found is None else float(0.0 + found * first)
