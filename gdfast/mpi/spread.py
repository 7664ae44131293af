"""What of an optimizer is spread over ranks, and how."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.arrays._bound import Bound
from gdfast.arrays.formats import computing_dtype
from gdfast.arrays.structure import NamedArray
from gdfast.mpi.cutting import Cut
from gdfast.mpi.team import Team

Array = np.ndarray[Any, Any]


class Whole:
    """The whole arrays of this rank, beside which its slices are stepped.

    Attributes
    ----------
    params : list of NamedArray
    flat : list of array
        The same, flat, as plain arrays.
    """

    def __init__(self, params: Sequence[NamedArray]) -> None:
        self.params = list(params)
        self._bound = Bound([named.path for named in params], [named.array for named in params])
        self.flat = [view.reshape(-1) for view in self._bound.views]
        self.single = all(computing_dtype(view.dtype) == np.float32 for view in self.flat)

    def pairs(self) -> Iterator[tuple[NamedArray, Array]]:
        """Return each array's names, and the array as a plain one."""
        return zip(self.params, self._bound.views, strict=True)

    def check(self) -> None:
        """Check that the arrays are what they were when the optimizer was made, and writeable."""
        self._bound.check()


@dataclass(frozen=True)
class Spread:
    """How an optimizer is spread over ranks.

    Attributes
    ----------
    team : Team
    whole : Whole
        This rank's whole arrays.
    cut : Cut
        Which rank holds what of them.
    message_memory : int
        The most bytes for messages under way.
    reduction : str
        "exact", or "fast", where MPI adds up the gradients.
    """

    team: Team
    whole: Whole
    cut: Cut
    message_memory: int
    reduction: str
