"""What a native loop says of itself to those who call it: the one place where the two sides of its interface meet.

A loop reads its states and scalars by position, and nothing in it looks how many there are. So each is registered
(`src/rules`) with how much it takes, and whoever calls it compares, before anything is written.
"""

from typing import NamedTuple


class Loop(NamedTuple):
    """A rule's loop, or one that measures for it.

    Attributes
    ----------
    float32, float64 : int
        Its address for each element type; in this order, so that ``loop[itemsize == 8]`` is one.
    rule : str
    states : int
        State arrays like the parameter that it reads or writes.
    scalars : int
        The numbers behind decay and l1.
    extras : int
        Arrays that are lent to it for a step, before the state.
    """

    float32: int
    float64: int
    rule: str
    states: int
    scalars: int
    extras: int

    def check_states(self, got: int) -> None:
        """Raise ValueError unless these are all its states."""
        if got != self.states:
            raise ValueError(f"the rule {self.rule!r} must have {self.states} states like the parameter; got {got}")

    def check_scalars(self, got: int) -> None:
        """Raise ValueError unless these are all its numbers."""
        if got != self.scalars:
            raise ValueError(f"the rule {self.rule!r} must have {self.scalars} numbers from scalars(); got {got}")

    def check_extras(self, got: int) -> None:
        """Raise ValueError unless these are all the arrays lent to it."""
        if got != self.extras:
            raise ValueError(f"the rule {self.rule!r} must be lent {self.extras} arrays for a step; got {got}")
