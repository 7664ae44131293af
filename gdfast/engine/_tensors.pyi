from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from gdfast.engine._plan import Plan

NO_GRADIENT_YET: int
DUPLICATE: int
GRAD_FORMATS: tuple[str | None, ...]

class Runs(Protocol):
    def run(self, threads: int, zero_grad: bool, /) -> None: ...

def same_settings(groups: list[dict[str, Any]], settings: Sequence[tuple[Any, ...] | None]) -> bool: ...

class Tensors:
    grad_addresses: np.ndarray[Any, Any]
    slot_of: np.ndarray[Any, Any]
    n_bytes: np.ndarray[Any, Any]
    grad_kinds: np.ndarray[Any, Any]
    indirect_grads: list[int]
    stepped: list[Any]
    new_kinds: bool
    copied: list[tuple[Any, Any]]
    def __init__(
        self,
        api: object,
        walk: list[tuple[Any, int, int]],
        state: Any,
        works: list[Any],
        arrays: list[list[Any]],
        numbers: list[list[tuple[float, np.ndarray[Any, Any] | None]]],
    ) -> None: ...
    def try_take(self, groups: list[dict[str, Any]], state: Any) -> bool: ...
    def slots_now(self) -> list[tuple[int, tuple[float, ...]]]: ...
    def numbers(self, place: int) -> tuple[float, ...]: ...
    def replace(self, place: int, grad: Any) -> Any: ...
    def arrays_of_grads(self) -> dict[int, np.ndarray[Any, Any]]: ...
    def run(self, plan: Runs, numbers: list[tuple[float, ...]], threads: int, zero_grad: bool) -> None: ...
    def try_run(
        self,
        plan: Plan,
        settings: Sequence[tuple[Any, ...] | None],
        increment_version: Callable[[Iterable[Any]], None],
        threads: int,
    ) -> bool: ...
    def kinds_told(self) -> None: ...
    def release(self) -> None: ...
