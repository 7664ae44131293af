"""The description of a native loop: its addresses, and how many states and scalars it reads.

A loop reads its states and scalars by position, without checking how many there are. So each is registered
(`src/rules`) with its counts, and whoever calls it compares them before anything is written.
"""

from typing import NamedTuple


class Loop(NamedTuple):
    """A rule's loop, or the loop that measures arrays for it before the step.

    Attributes
    ----------
    float32, float64 : int
        Its address for each element type, first in the tuple, so that ``loop[itemsize == 8]`` selects one.
    rule : str
    states : int
        Number of state arrays of the parameter's shape that it reads or writes.
    scalars : int
        Number of scalars after decay and l1.
    extras : int
        Number of further arrays that it is given for one step, before the state.
    """

    float32: int
    float64: int
    rule: str
    states: int
    scalars: int
    extras: int

    def check_states(self, got: int) -> None:
        """Raise ValueError unless it reads this number of states."""
        if got != self.states:
            raise ValueError(f"the rule {self.rule!r} must have {self.states} states like the parameter; got {got}")

    def check_scalars(self, got: int) -> None:
        """Raise ValueError unless it reads this number of scalars."""
        if got != self.scalars:
            raise ValueError(f"the rule {self.rule!r} must have {self.scalars} numbers from scalars(); got {got}")

    def check_extras(self, got: int) -> None:
        """Raise ValueError unless it reads this number of further arrays."""
        if got != self.extras:
            raise ValueError(f"the rule {self.rule!r} must be lent {self.extras} arrays for a step; got {got}")
