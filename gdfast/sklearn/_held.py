"""Arrays of a caller that native code reads for a while."""

from typing import Any
from weakref import ref

import numpy as np


def held(*arrays: np.ndarray[Any, Any]) -> list[Any]:
    """Return what keeps the memory of these arrays in place as long as it is kept.

    A callback or another thread may call ``X.resize(..., refcheck=False)``, which gives the memory back whatever views
    of it there are; NumPy does not where there are weak references.
    """
    references = []
    for array in arrays:
        base: Any = array
        while isinstance(base, np.ndarray):
            references.append(ref(base))
            base = base.base
    return references
