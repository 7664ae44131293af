"""Single files that commands write."""

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
    check_suffix(out, suffixes)
    try:
        with replacing(str(out)) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(f"--out must be a file that can be written ({error.strerror}); got {str(out)!r}") from None


def check_suffix(out: Path, suffixes: Sequence[str]) -> None:
    """Check how a file's name ends.

    Raises
    ------
    UserError
    """
    if out.suffix.lower() not in suffixes:
        raise UserError(f"--out must be a file that ends in {' or '.join(suffixes)}; got {str(out)!r}")


def picture(out: Path) -> AbstractContextManager[str]:
    """Give the name of a PNG to write; see `written`."""
    return written(out, (".png",))
