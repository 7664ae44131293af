from typing import Any

HAS_OPENMP: bool
COMPILER: str
MEMORY_TILE_BYTES: int
MEMORY_BYTES: int
GRAIN_BYTES: int

def cpu_level() -> int: ...
def openmp_threads() -> int: ...
def forked() -> bool: ...
def bias_correction(beta: float, t: int) -> float: ...

class Plan:
    n_bytes: int
    tile_bytes: int
    most_parts: int
    fetch: bool
    def __init__(
        self,
        table: dict[str, tuple[int, int]],
        prepare: tuple[int, int],
        entries: list[tuple[Any, tuple[Any, ...], str, int]],
        n_groups: int,
    ) -> None: ...
    def set_numbers(
        self, group: int, scale: float, bound: float, l2: float, decay: float, l1: float, scalars: tuple[float, ...]
    ) -> None: ...
    def take(self, grads: tuple[Any, ...]) -> None: ...
    def run(self, threads: int) -> None: ...
