from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ACTIVATIONS: dict[str, int]
LOSSES: dict[str, int]

def parts_of(rows: int) -> int: ...

class MLPKernel:
    penalty: float
    def __init__(
        self,
        coefs: Sequence[Array],
        intercepts: Sequence[Array],
        activation: str,
        capacity: int,
        gemm: tuple[Any, Any],
    ) -> None: ...
    def bind_loss(self, name: str, parameter: float, loops: Mapping[str, Any]) -> None: ...
    def bind_gradients(self, params: Array, grads: Array) -> None: ...
    def bind_dense(self, X: Array, mean: Array | None, inv_scale: Array | None) -> None: ...  # noqa: N803
    def bind_csr(self, values: Array, indices: Array, indptr: Array, inv_scale: Array | None) -> None: ...
    def bind_targets(self, targets: Array, weights: Array | None) -> None: ...
    def gradient(
        self, order: Array, start: int, stop: int, alpha: float, dropout: float, seed: int, threads: int
    ) -> float: ...
    def scores(self, order: Array | None, start: int, out: Array, threads: int) -> None: ...
