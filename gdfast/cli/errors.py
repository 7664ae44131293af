"""What can be wrong with what a user asks for: one clear sentence, and exit code 2."""

from collections.abc import Iterable


class UserError(Exception):
    """Wrong data, a wrong choice, a file that cannot be read or written: the sentence to print."""


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names for a sentence, not too many of them."""
    found = [str(name) for name in names]
    return ", ".join(found[:most]) + (f", ... ({len(found)} in all)" if len(found) > most else "")
