"""A linear model bound to its data: buffers, scaling, optimizer, and one epoch at a time."""

import importlib
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from gdfast.engine import _linear, isa, threads
from gdfast.reference import linear as reference
from gdfast.sklearn._evaluation import evaluated, remembered
from gdfast.sklearn._held import held
from gdfast.sklearn._scaling import Scaling
from gdfast.stepping.base import Optimizer
from gdfast.stepping.precompute import can_run_natively, precompute_numbers, took

Array = np.ndarray[Any, Any]
Epochs = _linear.Epochs | reference.Epochs

CHUNK = 16  # rows that stay together when an order is dealt anew
CHUNKS_FROM = 1024  # rows in a mini-batch from which that does no harm
SHARE_BYTES = 8 << 20  # the most that the blocks' shares of a gradient take together
MOST_BLOCKS = 16
TILE_BYTES = 16 << 10  # a tile's size: half of a core's first cache, through which the rows come
TOGETHER = 4  # rows that are scored at a time
SPARSE_TILE = 32  # rows of CSR, which are not gathered


def loops() -> Any:
    """Return the loops of the instruction-set level in use."""
    return importlib.import_module(f"gdfast.engine._linear_loops_{isa.level_name(isa.rules)}")


def blas_gemm() -> tuple[Any, Any]:
    """Return scipy's pointers to BLAS's product of matrices, in both types."""
    from scipy.linalg import cython_blas

    return cython_blas.__pyx_capi__["sgemm"], cython_blas.__pyx_capi__["dgemm"]


class Problem:
    """Data, parameters and optimizer of a linear model, as the training sees them.

    Parameters
    ----------
    table : C-contiguous array of shape (n, columns), or (data, indices, indptr) of CSR; float32 or float64
    targets : int32 array of shape (n,) of class numbers, or float64 array of shape (n, outputs)
    weights : float64 array of shape (n,), or None
    scaling : Scaling
    loss : (name, parameter)
    coef, intercept : arrays of shape (outputs, columns) and (outputs,)
        Where to begin, as the training sees them.
    batch_size : int
    n_threads : int or None
    indices_sorted : bool
        Whether every row of CSR has its columns in order.
    """

    def __init__(
        self,
        table: Any,
        targets: Array,
        weights: Array | None,
        scaling: Scaling,
        loss: tuple[str, float],
        coef: Array,
        intercept: Array,
        *,
        batch_size: int,
        n_threads: int | None,
        indices_sorted: bool = True,
    ) -> None:
        outputs, columns = coef.shape
        self._sparse, self._outputs = isinstance(table, tuple), outputs
        self._data, self._sorted = table, indices_sorted
        self._held = held(table[0] if self._sparse else table, targets)
        dtype = table[0].dtype if self._sparse else table.dtype
        self._targets, self._weights, self._scaling, self._loss = targets, weights, scaling, loss
        self.batch_size, self._n_threads = batch_size, n_threads
        shape = (columns,) if outputs == 1 else (columns, outputs)
        self.coef, self._coef_grad = _padded(shape, dtype, coef.T.reshape(shape)), _padded(shape, dtype, 0.0)
        self.intercept, self._intercept_grad = np.asarray(intercept).astype(dtype), np.zeros(outputs, dtype)
        self.optimizer: Optimizer
        self._epochs: Epochs

    @property
    def needs_blas(self) -> bool:
        """Whether matrix products are BLAS's."""
        return not self._sparse and self._outputs > 1

    def bind(
        self,
        optimizer: type[Optimizer],
        options: Mapping[str, Any],
        *,
        l2: float,
        l1: float,
        fit_intercept: bool,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the optimizer over the parameters; the intercept is not penalised.

        Raises
        ------
        TypeError, ValueError
            If the options are not as the optimizer wants them, or the state is not one of it.
        """
        names: list[dict[str, Any]] = [{"params": {"coef": self.coef}, "weight_decay": l2, "l1": l1}]
        if fit_intercept:
            names.append({"params": {"intercept": self.intercept}, "weight_decay": 0.0, "l1": 0.0})
        self.optimizer = optimizer(names, **{"n_threads": self._n_threads, **options})
        if state is not None:
            self.optimizer.load_state_dict(state)
        self._grads = [{"coef": self._coef_grad}, {"intercept": self._intercept_grad}][: len(names)]
        self._epochs = self._make_epochs(options.get("engine", "native"))
        self._threads = threads.resolve(self._n_threads)  # once a fit: a small epoch takes no longer than the question

    def run(self, order: Array) -> float:
        """Run an epoch over these rows, in this order; return the mean loss, each row's before its batch's step."""
        if isinstance(self._epochs, _linear.Epochs) and can_run_natively(self.optimizer):
            steps = -(-len(order) // self.batch_size)
            numbers, averages, memories = precompute_numbers(self.optimizer, steps, _linear.WIDTH)
            loss = self._epochs.run(order, numbers, averages, self._threads)
            took(self.optimizer, steps, memories)
        else:
            loss = 0.0
            for at in range(0, len(order), self.batch_size):
                loss += self._epochs.gradient(order[at : at + self.batch_size], self._threads)
                self.optimizer.step(self._grads)
        return loss / len(order)

    def scores(self, rows: Array) -> Array:
        """Return the scores of these rows with the present parameters, or their averages: (rows, outputs)."""
        out = np.empty((len(rows), self._outputs))
        with evaluated(self.optimizer):
            self._epochs.scores(rows, out, self._threads)
        return out * self._scaling.target_scale + self._scaling.target_mean

    def weights(self) -> list[Array]:
        """Return the arrays by which the best epoch is remembered: the parameters, and what their averages need."""
        return [self.coef, self.intercept, *remembered(self.optimizer)]

    def penalty(self, l2: float, l1: float) -> float:
        """Return the penalty of the present coefficients."""
        coef = self.coef.astype(np.float64, copy=False).ravel()
        with np.errstate(over="ignore"):  # a loss that overflows is reported in one sentence
            # not by BLAS, which would wake threads of its own for it, that then spin beside ours
            return float(0.5 * l2 * np.einsum("i,i", coef, coef) + l1 * np.abs(coef).sum())

    def raw(self) -> tuple[Array, Array]:
        """Return coefficients of shape (outputs, columns) and intercepts in the data's own units and type."""
        with evaluated(self.optimizer):
            coef, intercept = self._scaling.to_raw(self.coef.reshape(len(self.coef), -1).T, self.intercept)
        return coef.astype(self.coef.dtype), intercept.astype(self.coef.dtype)

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        rate: float = self.optimizer.param_groups[0].at_step(self.optimizer.step_count - 1)["lr"]
        return rate

    def _make_epochs(self, engine: str) -> Epochs:
        mean, inverse = self._scaling.mean, self._scaling.inverse
        shape, dtype = (len(self.coef),), self.coef.dtype  # an earlier call's data may have been of another type
        if not self._sparse:
            mean = _padded(shape, dtype, 0.0 if mean is None else mean)
        if not self._sparse or inverse is not None:
            inverse = _padded(shape, dtype, 1.0 if inverse is None else inverse)
        itemsize, columns = self.coef.itemsize, len(self.coef)
        most = SPARSE_TILE if self._sparse else _tile_rows(columns * itemsize, self._outputs)
        block, tile = _cut(self.batch_size, most, columns * self._outputs * itemsize)
        grads = (self._coef_grad, self._intercept_grad)
        common: dict[str, Any] = {
            "data": self._data,
            "targets": self._targets,
            "weights": self._weights,
            "mean": mean,
            "inverse": inverse,
            "loss": self._loss,
            "coef": self.coef,
            "intercept": self.intercept,
            "coef_grad": self._coef_grad,
            "intercept_grad": self._intercept_grad,
            "block_rows": block,
            "tile_rows": tile,
        }
        if engine == "numpy":
            if self._sparse or self._outputs > 1:
                raise ValueError('engine="numpy" computes linear models of one output on dense data only')
            return reference.Epochs(**common)
        epochs = _linear.Epochs(
            isa.rules,
            loops(),
            **common,
            batch_size=self.batch_size,
            indices_sorted=self._sorted,
            gemm=blas_gemm() if self.needs_blas else None,
        )
        if can_run_natively(self.optimizer):
            entries = self.optimizer._layout.entries
            pieces = [
                (entry.param.array, grad, tuple(state.array for state in entry.states), entry.rule)
                for entry, grad in zip(entries, grads, strict=False)
            ]
            epochs.bind_step(isa.rules, pieces, self.optimizer.averaging.on)
        return epochs


class Dealer:
    """Gives the order of the rows for each epoch.

    The first is drawn from all orders. With large mini-batches the next ones keep CHUNK neighbours of it together,
    which is much cheaper and leaves the batches as mixed as before.
    """

    def __init__(self, rows: Array, rng: np.random.Generator, shuffle: bool, batch_size: int) -> None:
        self._rng, self._shuffle = rng, shuffle
        self._order = rows
        self._fresh = True
        self._in_chunks = CHUNKS_FROM <= batch_size < len(rows)

    def __call__(self) -> Array:
        """Return the next epoch's order; it is good until the next call."""
        if self._shuffle:
            together = CHUNK if self._in_chunks and not self._fresh else 1
            _linear.shuffle_chunks(self._order, self._rng.bit_generator, together)
            self._fresh = False
        return self._order


def limited_blas(needed: bool) -> Any:
    """Return a context in which BLAS uses one thread a call, where our own threads call it."""
    return _thread_pools().limit(limits=1, user_api="blas") if needed else nullcontext()


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _padded(shape: tuple[int, ...], dtype: Any, values: Any) -> Array:
    """Return an array with these values, and zeros behind them: the loops read whole lanes."""
    size = int(np.prod(shape))
    padded: Array = np.zeros(size + reference.LANES, dtype)[:size].reshape(shape)
    padded[...] = values
    return padded


def _tile_rows(row_bytes: int, outputs: int) -> int:
    """Return how many rows to gather at a time: a first cache full; more for BLAS, which blocks by itself."""
    room = TILE_BYTES if outputs == 1 else 16 * TILE_BYTES
    fewest = 8 if row_bytes <= room else 1
    return max(fewest, min(_linear.TILE_LIMIT, room // max(row_bytes, 1) // 8 * 8))


def _cut(batch_size: int, tile: int, gradient_bytes: int) -> tuple[int, int]:
    """Return the rows of a block, which has a share of the gradient to itself, and of the tiles that it is cut into.

    Few enough blocks for their memory, all of one size, so that threads have the same to do; tiles of at most `tile`.
    """
    most = max(1, min(MOST_BLOCKS, SHARE_BYTES // max(gradient_bytes, 1)))
    block = max(-(-batch_size // most), min(batch_size, 64))
    tiles = -(-block // tile)
    tile = min(tile, -(-block // tiles // TOGETHER) * TOGETHER)
    return tiles * tile, tile
