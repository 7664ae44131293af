"""What a Lookahead adds to a checkpoint of the optimizer that it goes around."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from gdfast.checkpoint.data import pack
from gdfast.engine.engines import Entry
from gdfast.optimizers.lookahead import Lookahead
from gdfast.stepping import state_dict
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Count


def taken_apart(opt: Any) -> tuple[Optimizer, Lookahead | None]:
    """Return the optimizer itself, and the Lookahead around it if there is one.

    Raises
    ------
    TypeError
        If it is neither.
    """
    inner = opt.optimizer if isinstance(opt, Lookahead) else opt
    if not isinstance(inner, Optimizer):
        raise TypeError(f"opt must be a gdfast optimizer; got {type(opt).__name__}")
    return inner, opt if isinstance(opt, Lookahead) else None


def arrays_around(entries: Iterable[Entry]) -> dict[str, np.ndarray[Any, Any]]:
    """Return a Lookahead's slow parameters (no copies) by their names in a checkpoint."""
    return {f"slow/{entry.param.name}": entry.states[0].array for entry in entries}


def described(around: Lookahead | None) -> Any:
    """Return all that is no array, as JSON data; None without a Lookahead."""
    if around is None:
        return None
    slow = state_dict.described(around._slow)
    return pack({"k": around.k, "met_at": around._met_at, "slow": slow}, "lookahead", {})


def read(around: Lookahead | None, data: Any) -> tuple[Callable[[], None], list[str]]:
    """Return a call that sets what `described` says, and what is wrong with it; the call only if that is nothing."""
    if around is None:
        problems = [] if data is None else ["optimizer must be a Lookahead around it, as in the file"]
        return lambda: None, problems
    if not isinstance(data, dict) or data.keys() != {"k", "met_at", "slow"} or not isinstance(data["slow"], dict):
        return lambda: None, [f"lookahead must be k, met_at, slow, of a Lookahead; got {data!r}"]
    if not set(state_dict.KEYS) <= data["slow"].keys():
        return lambda: None, [f"slow must have {', '.join(state_dict.KEYS)}"]
    settings, problems = state_dict.read(around._slow, data["slow"])
    for key, low in (("k", 1), ("met_at", 0)):
        try:
            Count(low=low).check(key, data[key], is_float32=False)
        except (TypeError, ValueError) as error:
            problems.append(str(error))

    def adopt() -> None:
        settings.adopt(around._slow)
        around.k, around._met_at = data["k"], data["met_at"]

    return adopt, problems
