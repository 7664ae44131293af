"""Parameters and state in fewer bits: which formats they have, and the tensors of the state that hold them.

What PyTorch's own state has keeps its name. State in eight bits has names of its own, because an optimizer of PyTorch
would take its codes for numbers.
"""

from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from gdfast.arrays.formats import FORMATS, MASTER, REMAINDER, SCALES, blocks
from gdfast.arrays.structure import NamedArray
from gdfast.engine.coding import decoded, encode_all
from gdfast.stepping.rule import Rule
from gdfast.stepping.short_state import ShortState, StateDtype
from gdfast.torch.memory import HALF, alike, check_state, checked, computing_dtype, flat, like

State: TypeAlias = dict[str, Any]  # of one parameter
Named: TypeAlias = list[tuple[str, torch.Tensor]]

#: behind the name of a state in eight bits
CODES = ".codes"
_BESIDE = {"split": (REMAINDER, torch.int16), "float32": (MASTER, torch.float32)}
_FLOATS = (torch.float32, *HALF)


class Part(NamedTuple):
    """Which elements of a whole a tensor has, where the others are in other processes.

    Attributes
    ----------
    size : int
        Elements of the whole.
    is_sharded : bool
    skipped : int or None
        Elements of the whole before its first one, if they are one stretch of the whole.
    """

    size: int
    is_sharded: bool = False
    skipped: int | None = 0


class Formats(NamedTuple):
    """What one parameter and its state lie in; see `gdfast.engine.engines.Entry`.

    Attributes
    ----------
    states : tuple of str
        One name a state, or none.
    param, copy : str
    master : str or None
    """

    states: tuple[str, ...] = ()
    param: str = ""
    copy: str = ""
    master: str | None = None

    @property
    def is_random(self) -> bool:
        """Whether something is rounded at random."""
        return any(self.states) or self.param == "bfloat16"


def formats_of(
    short: ShortState,
    owner: type[Rule],
    rule: str,
    work: torch.Tensor,
    path: str,
    asked: StateDtype | None,
    part: Part,
) -> Formats:
    """Return the formats of a parameter and its state; `asked` is its group's ``state_dtype``.

    Raises
    ------
    TypeError, ValueError
        If the rule cannot have them.
    """
    whole = replace(short, sizes={path: part.size})
    states = whole.loops_of(owner, rule, NamedArray(flat(work), path, path), asked)
    if states and work.is_complex():
        raise TypeError(f"state_dtype must be 'float32' for {path}, which is complex; got {work.dtype}")
    if part.is_sharded and any(loop.startswith("8bit") for loop in states):
        raise TypeError(
            f"state_dtype must be 'bfloat16' or 'float32' for {path}, which is sharded; got '8bit', whose scales are "
            "of blocks that the borders of shards would cut"
        )
    if work.dtype not in HALF:
        found = Formats(states)
    else:
        form = HALF[work.dtype]
        master = short.master_of(owner, path, form)
        loop = short.param_loop(form, master)
        found = Formats(states, "", loop, master) if master == "float32" else Formats(states, loop, "", master)
    if found.is_random and part.is_sharded and (part.skipped is None or not work.is_contiguous()):
        raise TypeError(
            f"{path} must be sharded along its first dimension and contiguous where something is rounded at random, "
            "which depends on the place of each element: else take state_dtype='float32', and a master or "
            "rounding='nearest'"
        )
    return found


def settle(
    own: State, name: str, work: torch.Tensor, loop: str, first: float | None, non_negative: bool, path: str
) -> Named:
    """Return the tensors of one state, made if there is none, and converted if it lies otherwise.

    Parameters
    ----------
    own : dict
        The parameter's state, which is changed.
    name : str
    work : tensor
        What the engine steps.
    loop : str
        The name of the format's loops, "" for the dtype that the step computes in.
    first : float or None
        What it begins with; None for the parameter itself.
    non_negative : bool
        Whether it never is negative.
    path : str
        The parameter's.

    Raises
    ------
    TypeError, ValueError
        If what is there does not fit the parameter.
    """
    converted = _decode_codes(own, name, work, loop, non_negative, path)
    if name + CODES in own:
        return [(name, own[name + CODES]), (name + SCALES, own[name + SCALES])]
    array = own.get(name)
    dtype = torch.bfloat16 if loop == "bfloat16" else computing_dtype(work.dtype)
    if array is not None:
        array = _fitting(array, work, dtype, converted or bool(loop), f'state "{name}" of {path}')
    if not loop.startswith("8bit"):
        if array is None or array.dtype != dtype or not alike(array, work):
            source = array if array is not None else work if first is None else first
            exact = not loop or (isinstance(source, torch.Tensor) and source.dtype == dtype)
            own[name] = like(work, source, dtype) if exact else _encoded(loop, work, source)[0]
        return [(name, own[name])]
    assert first is not None  # no short state begins as a copy of the parameter
    own[name + CODES], own[name + SCALES] = _encoded(loop, work, first if array is None else array)
    own.pop(name, None)
    return [(name, own[name + CODES]), (name + SCALES, own[name + SCALES])]


def settle_master(own: State, work: torch.Tensor, master: str | None, path: str) -> Named:
    """Return what a parameter of 16 bits has beside it, made if there is none.

    Raises
    ------
    TypeError, ValueError
        If it does not fit the parameter, or there is that of another ``master``.
    """
    for kind, (name, _) in _BESIDE.items():
        if kind != master and own.get(name) is not None:
            raise ValueError(f'state "{name}" of {path} is that of master={kind!r}; this optimizer has {master!r}')
    if master is None:
        return []
    name, dtype = _BESIDE[master]
    if own.get(name) is None:
        own[name] = like(work, work if name == MASTER else 0, dtype)
    check_state(own[name], work, dtype, f'state "{name}" of {path}')
    if not alike(own[name], work):
        own[name] = like(work, own[name], dtype)
    return [(name, own[name])]


def drop_master(own: State) -> None:
    """Drop what a parameter had beside it in 16 bits: it has been converted, and would outgrow that."""
    for name, _ in _BESIDE.values():
        own.pop(name, None)


def follow(master: torch.Tensor, param: torch.Tensor) -> None:
    """Take into a float32 master what was written to its parameter by others: where it is not the master, rounded."""
    param = param.detach()
    master.copy_(torch.where(master.to(param.dtype) == param, master, param.float()))


def keeps_its_dtype(name: str, param: torch.Tensor) -> bool:
    """Whether an entry of the state must not be converted to its parameter's dtype."""
    return param.dtype in HALF or name.endswith((CODES, SCALES))


def _fitting(array: Any, work: torch.Tensor, dtype: torch.dtype, convertible: bool, path: str) -> torch.Tensor:
    """Return a state array, checked: of the dtype, or of one that can be converted to it."""
    convertible |= work.dtype in HALF
    given = getattr(array, "dtype", None)
    check_state(array, work, given if convertible and given in _FLOATS else dtype, path)
    found: torch.Tensor = checked(array, path) if array.is_sparse else array
    return found


def _decode_codes(own: State, name: str, work: torch.Tensor, loop: str, non_negative: bool, path: str) -> bool:
    """Check state in eight bits, if there is some; decode it if it should lie otherwise, and return whether it did."""
    codes: Any = own.get(name + CODES)
    scales: Any = own.get(name + SCALES)
    if codes is None and scales is None:
        return False
    check_state(codes, work, torch.uint8, f'state "{name}{CODES}" of {path}')
    check_state(scales, work.new_empty(blocks(work.numel())), torch.uint8, f'state "{name}{SCALES}" of {path}')
    if not (scales.is_contiguous() and alike(codes, torch.empty_like(codes))):
        raise ValueError(f'state "{name}" of {path} must lie in one block of memory, without gaps')
    if loop.startswith("8bit") and alike(codes, work):
        return False
    form = FORMATS["8bit"]
    values = torch.empty_like(codes, dtype=torch.float32)
    flat(values)[...] = decoded(form.non_negative if non_negative else form.signed, flat(codes), flat(scales))
    own[name] = values
    del own[name + CODES], own[name + SCALES]
    return True


def _encoded(loop: str, work: torch.Tensor, source: torch.Tensor | float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return numbers in a format, and the scales beside them (none but for eight bits)."""
    form = next(form for form in FORMATS.values() if loop in (form.signed, form.non_negative))
    codes = like(work, 0, torch.uint8 if form.scaled else torch.bfloat16)
    scales = torch.zeros(blocks(work.numel()) if form.scaled else 0, dtype=torch.uint8)
    if isinstance(source, torch.Tensor):
        values = flat(like(work, source, torch.float32))
    else:
        values = np.broadcast_to(np.float32(source), work.numel())
    encode_all(loop, flat(codes), scales.numpy() if form.scaled else None, values)
    return codes, scales
