"""What native callers find in Python: the addresses of the functions in gdfast.h, and of the rules' loops."""

import ctypes
import inspect
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gdfast.engine import isa
from gdfast.engine._plan import C_API as C_API
from gdfast.engine._plan import CODES as CODES
from gdfast.engine._plan import api_addresses

_ADDRESS, _INDEX = ctypes.c_size_t, ctypes.c_ssize_t
_ARGUMENTS = {
    "step": (_ADDRESS, _ADDRESS, ctypes.c_double),
    "step_one": (_ADDRESS, _INDEX, _ADDRESS, ctypes.c_double),
    "step_rows": (_ADDRESS, _INDEX, _ADDRESS, _INDEX, _ADDRESS, ctypes.c_double),
    "end_step": (_ADDRESS,),
}


def table_address() -> int:
    """Return the address of the table of functions, for ``gdfast_use`` in gdfast.h."""
    return api_addresses()[0]


def _function(name: str) -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int, *_ARGUMENTS[name])(api_addresses()[1][name])


#: ``gdfast_step`` and its siblings for ctypes and numba: all addresses and handles are integers
step, step_one, step_rows, end_step = map(_function, _ARGUMENTS)


def error(code: int) -> str:
    """Return what a code means, in a sentence.

    Examples
    --------
    >>> import gdfast.native
    >>> gdfast.native.error(gdfast.native.CODES["BUSY"])
    'another thread is stepping this plan'
    """
    text = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_int)(api_addresses()[1]["error"])(code)
    return str(text, "ascii")


class NativeLoop(NamedTuple):
    """A rule's loop: ``void loop(void *param, const void *grad, void **state, const void *scalars, ptrdiff_t n)``.

    Attributes
    ----------
    address : int
    states, scalars : tuple of str
        The names of the arrays in ``state`` and of the numbers in ``scalars``, in this order; all are of the element's
        type. A number named ``_`` is not read.
    """

    address: int
    states: tuple[str, ...]
    scalars: tuple[str, ...]


def loop(rule: str, dtype: Any) -> NativeLoop:
    """Return the loop of an elementwise rule, for native code that computes the rule's numbers by itself.

    Parameters
    ----------
    rule : str
        ``"adam"``, say: one of `loops`.
    dtype : dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If there is no such rule, or no loop of this dtype.

    Examples
    --------
    >>> import gdfast.native
    >>> gdfast.native.loop("momentum", "float32").scalars
    ('decay', 'l1', 'lr', 'mu', 'damp')
    """
    scalars = scalar_names(rule)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {np.dtype(dtype)}")
    return NativeLoop(isa.rules.TABLE[rule][np.dtype(dtype).itemsize == 8], _names()[rule][0], scalars)


def loops() -> tuple[str, ...]:
    """Return the names of the elementwise rules."""
    return tuple(_names())


def scalar_names(rule: str) -> tuple[str, ...]:
    """Return the names of the scalars of a rule's loop.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    if rule not in _names():
        raise ValueError(f"rule must be one of {', '.join(_names())}; got {rule!r}")
    return _names()[rule][1]


@cache
def _names() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the names of states and scalars of every rule: those of its function in gdfast.reference."""
    from gdfast import reference  # imported late, to keep `import gdfast` fast

    found = {}
    for rule, function in {**reference.RULES, **reference.FULL_UPDATE}.items():
        given = inspect.signature(function).parameters.values()
        arrays = ("p", "g") if rule in reference.FULL_UPDATE else ("g",)
        names = [p.name for p in given if p.name not in (*arrays, "decay", "l1") and p.kind is not p.VAR_POSITIONAL]
        states = isa.rules.TABLE[rule].states
        own = [*names[states:], *"_" * isa.rules.TABLE[rule].scalars][: isa.rules.TABLE[rule].scalars]
        found[rule] = tuple(names[:states]), ("decay", "l1", *own)
    return found
