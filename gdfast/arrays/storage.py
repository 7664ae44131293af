"""Where state arrays live: in memory, or in memory-mapped files whose space is reserved before anything is stepped."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from gdfast.arrays._bound import unowned

if TYPE_CHECKING:
    from pathlib import Path

_ZEROS = bytes(1 << 20)
_PAGE = 4096
_SPACING = 1088  # bytes; docs/decisions/arrays-lie-apart.md
_LARGE = 1 << 16  # bytes; smaller arrays gain nothing


class Storage:
    """Makes arrays of zeros that do not own their memory: the owning array is out of reach, so no one can resize it.

    Parameters
    ----------
    folder : path or None
        Where each array gets a file in NumPy's .npy format, ``<parameter's name>.<state's name>.npy``; made if it is
        not there. None for memory.

    Raises
    ------
    TypeError
        If it is neither.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        if folder is not None and not isinstance(folder, str | os.PathLike):
            raise TypeError(f"state_dir must be the path of a folder; got {type(folder).__name__}")
        self.folder = None if folder is None else _path(folder)
        self._made: list[Path] = []

    def zeros(
        self,
        name: str,
        state: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        beside: np.ndarray[Any, Any] | None = None,
        place: int = 0,
    ) -> np.ndarray[Any, Any]:
        """Return an array of zeros for a parameter's state.

        Parameters
        ----------
        beside : array, optional
            The parameter, if a loop goes through both at the same speed: the state then starts elsewhere in its page.
        place : int
            Which of the arrays beside the parameter it is.

        Raises
        ------
        FileExistsError
            If its file exists: it may be the state of another optimizer.
        OSError
            If there is no space for it.
        """
        if self.folder is None or 0 in shape:  # an empty file cannot be mapped
            return unowned(np.zeros(shape, dtype) if beside is None else _apart(shape, dtype, beside, place))
        from urllib.parse import quote  # imported late: it is slow to import and rarely needed

        self.folder.mkdir(parents=True, exist_ok=True)
        return self._mapped(self.folder / f"{quote(name, safe='')}.{state}.npy", shape, dtype)

    def commit(self) -> None:
        """Keep the files made so far."""
        self._made.clear()

    def rollback(self) -> None:
        """Remove the files made since the last `commit`, because what they were made for has failed."""
        while self._made:
            self._made.pop().unlink(missing_ok=True)

    def _mapped(self, path: "Path", shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            raise FileExistsError(
                f"state_dir must not hold the state of another optimizer; {path} exists. Give a folder without it"
            ) from None
        self._made.append(path)
        with path.open("rb+") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            offset = file.tell()
            n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
            try:
                _reserve(file.fileno(), offset + n_bytes)
            except OSError as error:
                raise OSError(error.errno, f"state_dir needs {n_bytes} bytes for {path}: {error.strerror}") from error
            # A plain array over the mapped memory: its copies, also by pickle, are plain arrays in memory.
            return unowned(np.memmap(file, dtype, "r+", offset, shape).view(np.ndarray))


def _path(folder: str | os.PathLike[str]) -> "Path":
    from pathlib import Path  # imported late: it is slow to import and rarely needed

    return Path(folder)


def _apart(
    shape: tuple[int, ...], dtype: np.dtype[Any], beside: np.ndarray[Any, Any], place: int
) -> np.ndarray[Any, Any]:
    """Return an array of zeros whose position in its page differs from that of another array."""
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if n_bytes < _LARGE:
        return np.zeros(shape, dtype)
    memory = np.zeros(n_bytes + _PAGE, np.uint8)
    start = (_address(beside) + (place + 1) * _SPACING - _address(memory)) % _PAGE
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def _address(array: np.ndarray[Any, Any]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _reserve(file: int, n_bytes: int) -> None:
    """Reserve `n_bytes` of disk space for a file, filled up with zeros, so that no later write can run out of space."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, n_bytes)
        return
    os.lseek(file, 0, os.SEEK_END)
    while (missing := n_bytes - os.fstat(file).st_size) > 0:
        os.write(file, _ZEROS[:missing])
