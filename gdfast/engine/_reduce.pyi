from typing import Any

LANES: int
BLOCK: int

def square_sum(kernels: tuple[int, int], arrays: tuple[Any, ...], others: tuple[Any, ...], threads: int) -> float: ...
def axpy_dot(kernels: tuple[int, int], y: Any, x: Any, z: Any, a: float, c: float, threads: int) -> float: ...
