"""A file replaced whole or not at all, whatever fails or is killed meanwhile.

The new contents are written in a folder of their own beside the file, forced to the disk, and renamed onto it; then the
rename is forced to the disk too. A folder, not a file, because a library that writes may have temporary files as well:
one removal takes all. A process that is killed leaves it behind (`.gdfast-*`), and nothing else.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Give the name of a file to write, which takes the place of `path` when the block ends without an error.

    A symbolic link stays one: what it points to is replaced. A file that is there keeps its mode.

    Raises
    ------
    OSError
        If anything fails. Until the rename the old file is there, whole; if only the last step fails (forcing the
        rename to the disk), the new one is.
    ValueError
        If something else than a regular file is there.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    mode = _mode(target)
    room = tempfile.mkdtemp(prefix=".gdfast-", dir=folder)
    temporary = os.path.join(room, name)
    try:
        created = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        usual = stat.S_IMODE(os.fstat(created).st_mode)  # what the process's umask leaves
        os.close(created)
        yield temporary
        _sync(temporary, os.O_RDWR, usual if mode is None else mode)
        os.replace(temporary, target)
    finally:
        _remove(room, temporary)
    if hasattr(os, "O_DIRECTORY"):  # where folders can be opened
        _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _mode(target: str) -> int | None:
    """Return the mode of the file that is there; None if there is none."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if not stat.S_ISREG(mode):
        raise ValueError(f"{target} is not a regular file, and would be replaced by one")
    return stat.S_IMODE(mode)


def _remove(room: str, temporary: str) -> None:
    """Remove what was written, as far as the system lets us; first with calls that need no file to be opened."""
    with suppress(OSError):
        os.unlink(temporary)
    try:
        os.rmdir(room)
    except OSError:
        shutil.rmtree(room, ignore_errors=True)


def _sync(path: str, flags: int, mode: int | None = None) -> None:
    """Force a file or folder to the disk, with a mode if one is given."""
    descriptor = os.open(path, flags)
    try:
        if mode is not None:
            os.chmod(path, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
