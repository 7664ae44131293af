"""What can be wrong with a table: one clear sentence."""

from collections.abc import Iterable, Sequence


class TableError(ValueError):
    """A file that cannot be read, or columns that cannot be used: the sentence that says so."""


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names for a sentence, not too many of them."""
    found = [str(name) for name in names]
    return ", ".join(found[:most]) + (f", ... ({len(found)} in all)" if len(found) > most else "")


def counted(count: int, what: str) -> str:
    """Return a number of things in words: 1 row, 2 rows."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def raise_all(problems: Sequence[str]) -> None:
    """Raise one error that says all problems, a line each; none if there are none.

    Raises
    ------
    TableError
    """
    if problems:
        raise TableError("\n".join(problems))
