"""What a Lookahead adds to a checkpoint of the optimizer that it wraps."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gdfast.checkpoint.data import pack
from gdfast.engine.engines import Entry
from gdfast.optimizers.lookahead import Lookahead
from gdfast.stepping import state_dict
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Count


def unwrap(opt: Any) -> tuple[Optimizer, Lookahead | None]:
    """Return the optimizer, and the Lookahead that wraps it, if any.

    Raises
    ------
    TypeError
        If `opt` is neither an optimizer nor a Lookahead.
    """
    inner = opt.optimizer if isinstance(opt, Lookahead) else opt
    if not isinstance(inner, Optimizer):
        raise TypeError(f"opt must be a gdfast optimizer; got {type(opt).__name__}")
    return inner, opt if isinstance(opt, Lookahead) else None


def lookahead_arrays(entries: Iterable[Entry]) -> dict[str, np.ndarray[Any, Any]]:
    """Return a Lookahead's slow parameters (no copies) by their names in a checkpoint."""
    return {f"slow/{entry.param.name}": entry.states[0].array for entry in entries}


def described(lookahead: Lookahead | None) -> Any:
    """Return everything but the arrays, as JSON data; None without a Lookahead."""
    if lookahead is None:
        return None
    slow = state_dict.described(lookahead._slow)
    return pack({"k": lookahead.k, "met_at": lookahead._met_at, "slow": slow}, "lookahead", {})


def read(lookahead: Lookahead | None, data: Any) -> tuple[Callable[[], None], list[str]]:
    """Return a function that sets what `described` returned, and a list of problems; call it only if there are none."""
    if lookahead is None:
        problems = [] if data is None else ["opt must be a Lookahead around the optimizer, as in the file"]
        return lambda: None, problems
    if not isinstance(data, dict) or data.keys() != {"k", "met_at", "slow"} or not isinstance(data["slow"], dict):
        return lambda: None, [f"lookahead must hold k, met_at and slow, those of a Lookahead; got {data!r}"]
    if not set(state_dict.KEYS) <= data["slow"].keys():
        return lambda: None, [f"slow must have {', '.join(state_dict.KEYS)}"]
    settings, problems = state_dict.read(lookahead._slow, data["slow"])
    for key, low in (("k", 1), ("met_at", 0)):
        try:
            Count(low=low).check(key, data[key], is_float32=False)
        except (TypeError, ValueError) as error:
            problems.append(str(error))

    def adopt() -> None:
        settings.adopt(lookahead._slow)
        lookahead.k, lookahead._met_at = data["k"], data["met_at"]

    return adopt, problems
