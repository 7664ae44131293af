from collections.abc import Callable
from typing import Any

from gdfast.arrays._bound import Bound

MAX_NUMBERS: int

def run(
    run_dense: Callable[[int, bool, bool], None],
    tables: list[tuple[Any, ...]],
    threads: int,
    zero_grad: bool,
    add_accumulated: bool,
    bounds: list[Bound] = ...,
) -> None: ...
def sum_repeated(values: Any, order: Any, starts: Any, totals: Any, threads: int) -> None: ...
