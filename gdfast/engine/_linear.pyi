from types import ModuleType
from typing import Any

WIDTH: int
PIECES: int
TILE_LIMIT: int
LANE_COUNT: int

def shuffle_chunks(order: Any, bit_generator: Any, chunk: int) -> None: ...
def stored_columns(indices: Any, columns: int, threads: int) -> Any: ...
def repeats(indices: Any, pointers: Any, columns: int) -> bool: ...
def renumbered(indices: Any, numbers: Any, threads: int) -> Any: ...
def largest_of_columns(data: Any, indices: Any, pointers: Any, rows: Any, columns: int, threads: int) -> Any: ...
def moments_of_columns(data: Any, indices: Any, pointers: Any, weights: Any, inv_largest: Any) -> Any: ...
def column_moments(
    loops: ModuleType, data: Any, rows: Any, weights: Any, shift: Any, threads: int
) -> tuple[Any, Any]: ...

class LinearKernel:
    def __init__(
        self,
        rules: ModuleType,
        loops: ModuleType,
        data: Any,
        targets: Any,
        weights: Any,
        mean: Any,
        inv_scale: Any,
        loss: tuple[str, float],
        coef: Any,
        intercept: Any,
        coef_grad: Any,
        intercept_grad: Any,
        batch_size: int,
        block_rows: int,
        tile_rows: int,
        indices_sorted: bool = True,
        gemm: tuple[Any, Any] | None = None,
    ) -> None: ...
    def bind_step(
        self, rules: ModuleType, pieces: list[tuple[Any, Any, tuple[Any, ...], str]], averaged: bool
    ) -> None: ...
    def run_epochs(
        self, orders: Any, numbers: Any, averages: Any, l2: float, l1: float, losses: Any, threads: int
    ) -> None: ...
    def penalty(self, l2: float, l1: float) -> float: ...
    def run(self, order: Any, numbers: Any, averages: Any, threads: int, lazy: bool = False) -> float: ...
    def gradient(self, rows: Any, threads: int) -> float: ...
    def scores(self, rows: Any, out: Any, threads: int) -> None: ...
