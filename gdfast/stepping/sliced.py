"""What says of an optimizer that its arrays are slices of whole ones, whose other slices are in other processes."""

from abc import ABC, abstractmethod
from typing import Any


class Sliced(ABC):
    """The mark of such an optimizer, and how it saves and loads together with the others."""

    @abstractmethod
    def _save_slices(self, path: str, params: bool, extra: Any) -> None:
        """Write one file together, as :func:`gdfast.save` would for one process."""

    @abstractmethod
    def _load_slices(self, path: str) -> Any:
        """Read such a file together, and return its extra data."""


def check_not_sliced(opt: Any, name: str) -> None:
    """Refuse an optimizer of slices.

    Raises
    ------
    TypeError
        If it is one.
    """
    if isinstance(opt, Sliced):
        raise TypeError(f"{name} must not be sharded over processes: this process has slices of its arrays only")
