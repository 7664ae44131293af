"""Single files that commands write."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gdfast.checkpoint.files import replacing
from gdfast.cli.errors import UserError


@contextmanager
def written(out: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Give the name of a file to write, which takes the place of `out` when the block ends well.

    Raises
    ------
    UserError
        If the name ends otherwise, or the file cannot be written.
    """
    check_file(out, suffixes)
    try:
        with replacing(str(out)) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(f"--out must be a file that can be written ({error.strerror}); got {str(out)!r}") from None


def check_file(out: Path, suffixes: Sequence[str]) -> None:
    """Check how a file's name ends, and that it is no device or pipe, which a file would replace.

    Raises
    ------
    UserError
    """
    if out.suffix.lower() not in suffixes:
        raise UserError(f"--out must be a file that ends in {' or '.join(suffixes)}; got {str(out)!r}")
    if _is_special(out):
        raise UserError(f"--out must be a file that can be written, and no device or pipe; got {str(out)!r}")


def check_folder(out: Path, names: Sequence[str], inputs: Sequence[str]) -> None:
    """Check that files with these names can be written in a folder without replacing what is read.

    Raises
    ------
    UserError
    """
    for file in (out / name for name in names):
        if _is_special(file):
            raise UserError(f"--out must be a folder in which {file.name} is no device or pipe; got {str(out)!r}")
        for read in inputs:
            if is_same(file, Path(read)):
                raise UserError(
                    f"--out must be another folder, since {file.name} would replace {read}; got {str(out)!r}"
                )


def is_same(one: Path, other: Path) -> bool:
    """Return whether both are there, and the same file."""
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _is_special(path: Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def picture(out: Path) -> AbstractContextManager[str]:
    """Give the name of a PNG to write; see `written`."""
    return written(out, (".png",))
