"""Parameters and state in fewer bits: what a user may ask for, and which loops that comes to for each array."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from gdfast.arrays.buffers import plain
from gdfast.arrays.formats import FORMATS, LEAST_SIZE, PLAIN
from gdfast.arrays.structure import NamedArray
from gdfast.stepping.rule import Rule

StateDtype: TypeAlias = str | Mapping[str, str]

MASTERS = ("auto", "split", "float32", None)
ROUNDINGS = ("stochastic", "nearest")
_MEASURES = "measures whole arrays before it steps, as they lie in memory"
_MOVED = "is Lookahead's: it writes other values into it, which a master would not follow"
_AVERAGES = "Only averages of gradients or of their squares can: rounding at random keeps a mean, not each value"


@dataclass(eq=False, repr=False)
class ShortState:
    """How states are kept, where a group says nothing else.

    Parameters
    ----------
    state_dtype : str or mapping
        A format of `gdfast.arrays.formats`, or "float32"; or a dict from state name to one of these.
    master : {"auto", "split", "float32", None}
        What full precision a short parameter has beside it. "auto": "split" for bfloat16, "float32" for float16.
    rounding : {"stochastic", "nearest"}
        How a bfloat16 parameter without a master is rounded.
    min_size : int
        Arrays of fewer elements keep float32.
    seed : int
        What random bits depend on, besides step, array, state and element.
    sizes : mapping
        Of an optimizer that has slices of arrays: from an array's name to the size of the whole one.

    Raises
    ------
    TypeError, ValueError
        If one is not as it must be.
    """

    state_dtype: StateDtype = PLAIN
    master: str | None = "auto"
    rounding: str = "stochastic"
    min_size: int = LEAST_SIZE
    seed: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state_dtype = check(self.state_dtype)
        for name, value, allowed in (("master", self.master, MASTERS), ("rounding", self.rounding, ROUNDINGS)):
            if not (value is None or isinstance(value, str)) or value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
        for name, number, top in (("state_dtype_min_size", self.min_size, 2**63), ("seed", self.seed, 2**32)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise TypeError(f"{name} must be an int; got {number!r}")
            if not 0 <= number < top:
                raise ValueError(f"{name} must be in [0, {top}); got {number!r}")

    def loops_of(self, owner: type[Rule], rule: str, param: NamedArray, own: StateDtype | None) -> tuple[str, ...]:
        """Return the names of the loops of an array's states, "" for those in float32; none if all are.

        `own` is what its group asks for, if it does.
        """
        asked = self.state_dtype if own is None else check(own)
        states, short = owner.rules[rule], owner.short_states
        formats = dict.fromkeys(short, asked) if isinstance(asked, str) else asked
        for name, form in formats.items():
            if name not in states and isinstance(asked, str):
                continue
            if not any(name in of for of in owner.rules.values()):
                raise ValueError(f"state_dtype names {name!r}; {owner.__name__} has {_named(owner)}")
            if form != PLAIN and name not in short:
                raise ValueError(
                    f"state_dtype must be 'float32' for {name} of {owner.__name__}; got {form!r}. {_why(owner)}"
                )
        if isinstance(asked, str) and asked != PLAIN and states and not short.keys() & set(states):
            raise ValueError(
                f"state_dtype must be 'float32' for {owner.__name__}: none of its states ({', '.join(states)}) can be "
                f"kept in fewer bits; got {asked!r}. {_why(owner)}"
            )
        loops = tuple(_loop(formats.get(name, PLAIN), short.get(name, False)) for name in states)
        if not any(loops):
            return ()
        array = plain(param.array)
        if array.dtype == np.float64:
            raise TypeError(f"state_dtype must be 'float32' for {param.path}, whose dtype is {array.dtype}")
        return loops if self.sizes.get(param.name, array.size) >= self.min_size else ()

    def master_of(self, owner: type[Rule], path: str, form: str) -> str | None:
        """Return the master of a parameter of 16 bits, whose dtype is `form`.

        Raises
        ------
        TypeError, ValueError
            If it can have none such, or the rule takes no short parameters.
        """
        if not owner.short_params:
            why = _MEASURES if owner.layerwise else _MOVED
            raise TypeError(f"{path} must be float32 or float64 for {owner.__name__}; got {form}. The rule {why}")
        if owner.needs_master and self.master is None:
            raise ValueError(
                f"master must be 'split' or 'float32' for {path} of {owner.__name__}, which computes its average from "
                f"the parameter: rounded in each step, it would be lost; got None"
            )
        if form == "float16" and self.master == "split":
            raise ValueError(f"master='split' is for bfloat16; {path} is {form}")
        if form == "float16" and self.master is None and self.rounding != "nearest":
            raise ValueError(f"rounding must be 'nearest' for {path}, which is {form}; got {self.rounding!r}")
        if self.master == "auto":
            return "split" if form == "bfloat16" else "float32"
        return self.master

    def param_loop(self, form: str, master: str | None) -> str:
        """Return the name of the loops that a parameter of 16 bits is stored with, whose dtype is `form`."""
        if form == "float16":
            return form
        if master == "split":
            return "split"
        return "bfloat16" if master is None and self.rounding == "stochastic" else "bfloat16_nearest"


def check(state_dtype: Any) -> StateDtype:
    """Return what was asked for, if it can be that of some optimizer; a dict as a copy of its own."""
    allowed = (PLAIN, *FORMATS)
    if isinstance(state_dtype, Mapping):
        state_dtype = dict(state_dtype)
    values = state_dtype.values() if isinstance(state_dtype, dict) else (state_dtype,)
    for value in values:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(
                f"state_dtype must be one of {', '.join(map(repr, allowed))}, or a dict from state name to one of "
                f"these; got {state_dtype!r}"
            )
    checked: StateDtype = state_dtype
    return checked


def _loop(form: str, non_negative: bool) -> str:
    if form == PLAIN:
        return ""
    return FORMATS[form].non_negative if non_negative else FORMATS[form].signed


def _why(owner: type[Rule]) -> str:
    return f"The rule {_MEASURES}" if owner.layerwise else _AVERAGES


def _named(owner: type[Rule]) -> str:
    return ", ".join(dict.fromkeys(name for names in owner.rules.values() for name in names)) or "no states"
