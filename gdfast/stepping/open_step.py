"""The progress of a step that is made array by array."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gdfast.engine.engines import Entry


@dataclass(eq=False, repr=False)
class OpenStep:
    """A step in pieces: some arrays are stepped, `end_step` has not been called.

    Attributes
    ----------
    entries : sequence of Entry
        All arrays of the optimizer.
    clip_value : float
        The largest absolute value of a gradient's element.
    left : dict
        Name -> index, of the arrays not stepped yet.
    grad_scales : dict
        Group -> the grad_scale for which its numbers were set.
    """

    entries: Sequence[Entry]
    clip_value: float
    grad_scales: dict[int, float]
    left: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.left = {entry.param.name: i for i, entry in enumerate(self.entries)}

    def place(self, name: str) -> int:
        """Return the index of an array that is still to be stepped.

        Raises
        ------
        RuntimeError, ValueError
            If it was stepped already, or there is none of that name.
        """
        if name in self.left:
            return self.left[name]
        names = [entry.param.name for entry in self.entries]
        if name in names:
            raise RuntimeError(f"{name!r} was stepped already in this step; close it with end_step() first")
        import difflib  # imported late: only needed for an error

        close = difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; it has {', '.join(map(repr, names))}"
        raise ValueError(f"name must be that of an array of this optimizer; got {name!r}{hint}")

    def check_complete(self) -> None:
        """Raise RuntimeError if an array was left out."""
        if self.left:
            raise RuntimeError(f"end_step must come after every array; not stepped yet: {', '.join(self.left)}")
