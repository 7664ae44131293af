"""The keyword arguments that every optimizer takes."""

import os
from collections.abc import Mapping
from math import inf
from typing import Any, TypedDict

from gdfast.stepping.hyperparameters import Hyperparameter


class Common(TypedDict, total=False):
    """As :class:`gdfast.Optimizer` describes them."""

    maximize: bool
    l1: Hyperparameter
    centralize: bool
    clip_adaptive: float
    n_threads: int | None
    engine: str
    grads: Any
    clip_norm: Hyperparameter | None
    clip_value: Hyperparameter | None
    nonfinite: str
    ema_decay: Hyperparameter | str | None
    ema_start: int
    accumulation: str
    state_dtype: str | Mapping[str, str]
    state_dtype_min_size: int
    seed: int
    master: str | None
    rounding: str
    copies: Any
    state_dir: str | os.PathLike[str] | None


def power(base: float, exponent: float) -> float:
    """Return base**exponent for a base of at least 0: infinity on overflow, where Python would raise."""
    try:
        raised: float = float(base) ** exponent
    except OverflowError:
        return inf
    return raised


def is_on(value: Any) -> bool:
    """Whether a hyperparameter that is off at zero is on; a schedule counts as on."""
    return callable(value) or value != 0
