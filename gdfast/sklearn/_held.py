"""Arrays of the caller that native code reads during a fit."""

from typing import Any
from weakref import ref

import numpy as np


def held(*arrays: np.ndarray[Any, Any]) -> list[Any]:
    """Return references that prevent the arrays from being resized as long as they are kept.

    A callback or another thread may call ``X.resize(..., refcheck=False)``, which frees the memory even if there are
    views of it; NumPy refuses if there are weak references.
    """
    references = []
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            references.append(ref(base))
            base = base.base
    return references
