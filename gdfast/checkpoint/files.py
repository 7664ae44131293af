"""Atomic replacement of a file: all of it or nothing, whatever fails and whenever the process is killed.

The new contents are written to a temporary folder beside the file, synchronized to the disk, and renamed to its name;
then the rename is synchronized too. It is a folder, not a file, because the library that writes may create temporary
files as well: removing the folder removes them all. A process that is killed leaves the folder (`.gdfast-*`) behind.
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
    """Yield the name of a file to write, which replaces `path` when the block ends without an error.

    A symbolic link stays one: its target is replaced. An existing file keeps its mode.

    Raises
    ------
    OSError
        If anything fails. The old file is then intact; only if the last step fails (synchronizing the rename), the
        new file is in its place.
    ValueError
        If `path` exists and is not a regular file.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    mode = _mode(target)
    room = tempfile.mkdtemp(prefix=".gdfast-", dir=folder)
    temporary = os.path.join(room, os.path.basename(os.path.normpath(path)))  # a link's own: names say the format
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
    """Return the mode of the file; None if it does not exist."""
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
    """Remove the temporary folder, as far as possible; first with calls that need no file descriptor."""
    with suppress(OSError):
        os.unlink(temporary)
    try:
        os.rmdir(room)
    except OSError:
        shutil.rmtree(room, ignore_errors=True)


def _sync(path: str, flags: int, mode: int | None = None) -> None:
    """Synchronize a file or folder to the disk, after setting its mode if one is given."""
    descriptor = os.open(path, flags)
    try:
        if mode is not None:
            os.chmod(path, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
