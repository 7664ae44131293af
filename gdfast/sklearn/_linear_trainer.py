"""The training of a linear model: buffers, kernel and optimizer, bound to the data."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from gdfast.engine import _linear, isa, threads
from gdfast.reference import linear as reference
from gdfast.sklearn._batches import BatchOrder
from gdfast.sklearn._choices import go_on_from
from gdfast.sklearn._evaluation import averaging_state, evaluating
from gdfast.sklearn._held import held
from gdfast.sklearn._native_loops import blas_gemm, linear_loops
from gdfast.sklearn._scaling import Standardizer
from gdfast.sklearn._shrinkage import weight_decay
from gdfast.sklearn._sparse_center import Center
from gdfast.stepping.base import Optimizer
from gdfast.stepping.precompute import can_run_natively, commit, precompute_numbers

Array: TypeAlias = np.ndarray[Any, Any]
LinearKernel: TypeAlias = _linear.LinearKernel | reference.LinearKernel

PARTIAL_BYTES = 8 << 20  # the most that the partial gradients of all blocks take together
MOST_BLOCKS = 16
TILE_BYTES = 16 << 10  # a tile's size: half of a core's first cache, through which the rows come
ROWS_TOGETHER = 1 << 15  # of epochs that are run in one native call
VALUES_TOGETHER = 1 << 15  # features times rows of an epoch up to which that is worth it
TOGETHER = 4  # rows that are scored at a time
SPARSE_TILE = 32  # rows of CSR, which are not gathered
UNMOVED = ("sgd", "adagrad")  # rules that leave a coefficient and its state as they are where the gradient is zero


class LinearTrainer:
    """A linear model in training, in standard units: its data, parameters and optimizer.

    Parameters
    ----------
    table : C-contiguous array of shape (n, columns), or (data, indices, indptr) of CSR; float32 or float64
    targets : int32 array of shape (n,) of class indices, or float64 array of shape (n, outputs)
    weights : float64 array of shape (n,), or None
    standardizer : Standardizer
    loss : (name of the native loop, its parameter)
    start : (coef, intercept), arrays of shape (columns, outputs) and (outputs,)
    optimizer : (class, options)
    penalty : (l2, l1)
        Weights of the penalties of `coef`; the intercept is not penalised.
    fit_intercept : bool
    batch_size : int
    n_threads : int or None
    indices_sorted : bool
        Whether every row of CSR has its columns in order.
    state : mapping, optional
        The `state_dict` of the optimizer to go on from; its hyperparameters are those of `optimizer`.

    Raises
    ------
    TypeError, ValueError
        If the optimizer refuses its options or the state.

    Attributes
    ----------
    penalty_weights, start
        `penalty` and `start` as given.
    zeros : bool array of the shape of `coef`, or None
        Coefficients that `raw` sets to zero.
    """

    zeros: Array | None = None

    def __init__(
        self,
        table: Any,
        targets: Array,
        weights: Array | None,
        standardizer: Standardizer,
        loss: tuple[str, float],
        start: tuple[Array, Array],
        optimizer: tuple[type[Optimizer], Mapping[str, Any]],
        *,
        penalty: tuple[float, float],
        fit_intercept: bool,
        batch_size: int,
        n_threads: int | None,
        indices_sorted: bool = True,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        columns, self._outputs = start[0].shape
        self._sparse, self._standardizer, self.start = isinstance(table, tuple), standardizer, start
        values = table[0] if self._sparse else table
        self.penalty_weights, self.batch_size = penalty, batch_size
        shape = (columns,) if self._outputs == 1 else (columns, self._outputs)
        self.coef = _padded(shape, values.dtype, start[0].reshape(shape))
        self.intercept = np.asarray(start[1]).astype(values.dtype)
        self._center = Center(standardizer, self.intercept) if self._sparse and standardizer.mean is not None else None
        self._coef_grad, self._intercept_grad = _padded(shape, values.dtype, 0.0), np.zeros_like(self.intercept)
        self.optimizer = self._make_optimizer(optimizer[0], {"n_threads": n_threads, **optimizer[1]}, fit_intercept)
        if state is not None:
            go_on_from(self.optimizer, state)
        self._engine, self._loss = optimizer[1].get("engine", "native"), loss
        self.bind(table, targets, weights, indices_sorted=indices_sorted)
        self._threads = threads.resolve(n_threads)  # once per fit: a small epoch takes no longer than the question

    @property
    def solver(self) -> str:
        """The name of the optimizer's class."""
        return type(self.optimizer).__name__

    @property
    def needs_blas(self) -> bool:
        """Whether matrix products are BLAS's."""
        return not self._sparse and self._outputs > 1

    def epoch(self, order: BatchOrder) -> float:
        """Run an epoch; return its mean loss, each row's before its batch's step, plus the penalty."""
        return self.run(order.epoch()) + self.penalty()

    def run_epochs(self, order: BatchOrder, n_epochs: int) -> Iterator[float]:
        """Run epochs, many in one native call where they are small; yield each one's mean loss, plus the penalty."""
        together = self._epochs_together(order.n_rows)
        for at in range(0, n_epochs, together):
            now = min(together, n_epochs - at)
            if now == 1:
                yield self.epoch(order)
            else:
                yield from self._run_together(np.stack([order.epoch().copy() for _ in range(now)])).tolist()

    def _epochs_together(self, n_rows: int) -> int:
        """Return how many epochs to run in one call: few enough that a person can interrupt them at any moment."""
        if not self._runs_natively:
            return 1
        return max(1, ROWS_TOGETHER // n_rows) if n_rows * self.coef.size <= VALUES_TOGETHER else 1

    def _run_together(self, orders: Array) -> Array:
        assert isinstance(self._kernel, _linear.LinearKernel)
        losses, steps = np.empty(len(orders)), len(orders) * -(-orders.shape[1] // self.batch_size)
        numbers, averages, carried = precompute_numbers(self.optimizer, steps, _linear.WIDTH)
        self._kernel.run_epochs(orders, numbers, averages, *self.penalty_weights, losses, self._threads)
        commit(self.optimizer, steps, carried)
        return losses

    def bind(self, table: Any, targets: Array, weights: Array | None, *, indices_sorted: bool = True) -> None:
        """Go on with other rows, of the same columns and dtype."""
        self._held = held(table[0] if self._sparse else table, targets)
        self._kernel = self._make_kernel(
            self._engine, indices_sorted, data=table, targets=targets, weights=weights, loss=self._loss
        )

    def run(self, order: Array) -> float:
        """Run an epoch over these rows, in this order; return the mean loss, each row's before its batch's step."""
        return self.run_rows(order) / len(order)

    def run_rows(self, order: Array) -> float:
        """Do the same, and return the sum of the losses."""
        if isinstance(self._kernel, _linear.LinearKernel) and self._runs_natively:
            steps = -(-len(order) // self.batch_size)
            numbers, averages, carried = precompute_numbers(self.optimizer, steps, _linear.WIDTH)
            loss = self._kernel.run(order, numbers, averages, self._threads, self._lazy)
            commit(self.optimizer, steps, carried)
        else:
            loss = 0.0
            for at in range(0, len(order), self.batch_size):
                loss += self._gradient(order[at : at + self.batch_size])
                self.optimizer.step(self._grads)
        return loss

    def gradient(self, rows: Array) -> tuple[float, Array, Array]:
        """Return sums over these rows, at most a mini-batch: loss, gradients (columns, outputs) and (outputs,)."""
        loss = self._gradient(rows)
        coef_grad, intercept_grad = (grad * float(len(rows)) for grad in (self._coef_grad, self._intercept_grad))
        return loss, coef_grad.reshape(-1, self._outputs), intercept_grad

    def _gradient(self, rows: Array) -> float:
        """Write the gradient of a mini-batch; return the sum of the losses."""
        if self._center is None:
            return self._kernel.gradient(rows, self._threads)
        self._center.set_intercept(self.coef, self.intercept)
        loss = self._kernel.gradient(rows, self._threads)
        self._center.finish_gradient(self._coef_grad, self._intercept_grad)
        return loss

    @property
    def _runs_natively(self) -> bool:
        """Whether whole epochs run in one native call."""
        native = isinstance(self._kernel, _linear.LinearKernel) and self._center is None
        return native and can_run_natively(self.optimizer)

    @property
    def _lazy(self) -> bool:
        """Whether a step of CSR needs only the columns of its rows: nothing moves a coefficient without a gradient."""
        penalised = self.penalty_weights != (0.0, 0.0)
        if not self._sparse or penalised or self.optimizer._layout.entries[0].rule not in UNMOVED:
            return False
        eps = self.optimizer.param_groups[0].get("eps", 1.0)  # of Adagrad, whose 0 / 0 is NaN
        return not callable(eps) and eps > 0.0

    def scores(self, rows: Array) -> Array:
        """Return the scores of these rows, (rows, outputs), in the units of the targets; averages are evaluated."""
        out = np.empty((len(rows), self._outputs))
        with evaluating(self.optimizer):
            if self._center is not None:
                self._center.set_intercept(self.coef, self.intercept)
            self._kernel.scores(rows, out, self._threads)
        return out * self._standardizer.target_scale + self._standardizer.target_mean

    def weights(self) -> list[Array]:
        """Return the arrays that the best epoch is kept with: the parameters, and the state of their averages."""
        return [self.coef, self.intercept, *averaging_state(self.optimizer)]

    def penalty(self) -> float:
        """Return the penalty of the present coefficients."""
        return self._kernel.penalty(*self.penalty_weights)

    def raw(self) -> tuple[Array, Array]:
        """Return coefficients of shape (outputs, columns) and intercepts in the units of the data."""
        with evaluating(self.optimizer):
            coef = self.coef if self.zeros is None else np.where(self.zeros, 0.0, self.coef)
            last = self._standardizer.targets_to_raw(coef.reshape(len(coef), -1), self.intercept)
            coef, intercept = self._standardizer.features_to_raw(*last)
        coef, intercept = self._standardizer.in_raw_dtype(self.coef.dtype, coef, intercept)
        return coef.T, intercept

    @property
    def lr(self) -> float:
        """The learning rate of the last step."""
        rate: float = self.optimizer.param_groups[0].at_step(self.optimizer.step_count - 1)["lr"]
        return rate

    def _make_optimizer(self, optimizer: type[Optimizer], options: Mapping[str, Any], fit_intercept: bool) -> Optimizer:
        """Return the optimizer over the parameters, and set `_grads`, in the same structure."""
        if owned := next((name for name in ("weight_decay", "l1") if name in options), None):
            raise ValueError(f"optimizer must not have {owned}, since alpha is the weight of a linear model's penalty")
        l2, l1 = self.penalty_weights
        decay = weight_decay(optimizer, l2, options["lr"])
        groups: list[dict[str, Any]] = [{"params": {"coef": self.coef}, "weight_decay": decay, "l1": l1}]
        self._grads = [{"coef": self._coef_grad}]
        if fit_intercept:
            groups.append({"params": {"intercept": self.intercept}, "weight_decay": 0.0, "l1": 0.0})
            self._grads.append({"intercept": self._intercept_grad})
        return optimizer(groups, **options)

    def _make_kernel(self, engine: str, indices_sorted: bool, **bound: Any) -> LinearKernel:
        """Return the kernel, bound to data, parameters and gradients, and to the step if it can take steps."""
        itemsize, columns = self.coef.itemsize, len(self.coef)
        most = SPARSE_TILE if self._sparse else _tile_rows(columns * itemsize, self._outputs)
        block, tile = _cut(self.batch_size, most, columns * self._outputs * itemsize)
        mean, inv_scale = self._scale_arrays()
        bound |= {
            "mean": mean,
            "inv_scale": inv_scale,
            "coef": self.coef,
            "intercept": self.intercept if self._center is None else self._center.intercept,
            "coef_grad": self._coef_grad,
            "intercept_grad": self._intercept_grad,
            "block_rows": block,
            "tile_rows": tile,
        }
        if engine == "numpy":
            if self._sparse or self._outputs > 1:
                raise ValueError('engine="numpy" supports linear models with one output on dense data only')
            return reference.LinearKernel(**bound)
        kernel = _linear.LinearKernel(
            isa.rules,
            linear_loops(),
            **bound,
            batch_size=self.batch_size,
            indices_sorted=indices_sorted,
            gemm=blas_gemm() if self.needs_blas else None,
        )
        if can_run_natively(self.optimizer) and self._center is None:
            grads = (self._coef_grad, self._intercept_grad)
            pieces = [
                (entry.param.array, grad, tuple(state.array for state in entry.states), entry.rule)
                for entry, grad in zip(self.optimizer._layout.entries, grads, strict=False)
            ]
            kernel.bind_step(isa.rules, pieces, self.optimizer.averaging.on)
        return kernel

    def _scale_arrays(self) -> tuple[Array | None, Array | None]:
        """Return mean and inverse scale of the columns as the kernel takes them: in the data's dtype, padded."""
        mean, inv_scale = self._standardizer.mean, self._standardizer.inv_scale
        shape, dtype = (len(self.coef),), self.coef.dtype
        if self._sparse:
            return None, None if inv_scale is None else _padded(shape, dtype, inv_scale)
        return (
            _padded(shape, dtype, 0.0 if mean is None else mean),
            _padded(shape, dtype, 1.0 if inv_scale is None else inv_scale),
        )


def _padded(shape: tuple[int, ...], dtype: Any, values: Any) -> Array:
    """Return an array with these values, followed in memory by zeros: the loops read whole lanes."""
    size = int(np.prod(shape))
    padded: Array = np.zeros(size + reference.LANES, dtype)[:size].reshape(shape)
    padded[...] = values
    return padded


def _tile_rows(row_bytes: int, outputs: int) -> int:
    """Return how many rows to gather at a time: as many as fit the L1 cache; more for BLAS, which blocks by itself."""
    room = TILE_BYTES if outputs == 1 else 16 * TILE_BYTES
    fewest = 8 if row_bytes <= room else 1
    return max(fewest, min(_linear.TILE_LIMIT, room // max(row_bytes, 1) // 8 * 8))


def _cut(batch_size: int, tile: int, gradient_bytes: int) -> tuple[int, int]:
    """Return the rows of a block, which has a partial gradient of its own, and of the tiles that it is cut into.

    Few enough blocks for their memory, all of one size, so that threads have the same to do; tiles of at most `tile`.
    """
    most = max(1, min(MOST_BLOCKS, PARTIAL_BYTES // max(gradient_bytes, 1)))
    block = max(-(-batch_size // most), min(batch_size, 64))
    tiles = -(-block // tile)
    tile = min(tile, -(-block // tiles // TOGETHER) * TOGETHER)
    return tiles * tile, tile
