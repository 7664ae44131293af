from typing import Any

LANES: int
BLOCK: int

def square_sum(kernels: tuple[int, int], arrays: tuple[Any, ...], threads: int) -> float: ...
