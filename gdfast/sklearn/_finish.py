"""The end of a linear model's training: one that diverged is refused, and l1 gets its zeros.

Both look at the loss of all rows. That of an epoch is no substitute: it is each row's loss before the steps that
followed, and with the parameters instead of their averages.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gdfast.sklearn._evaluation import evaluating
from gdfast.sklearn._linear_trainer import LinearTrainer

Array: TypeAlias = np.ndarray[Any, Any]
#: gives the numbers of all rows in batches; the trainer is bound to a batch when its numbers come
Batches: TypeAlias = Callable[[], Iterable[Array]]

GROWTH = 1e6  # above this times the loss at the start, or times 1 where that is below 1, a training has diverged
LARGE = 1e3  # a coefficient in standard units above which the loss is looked at
STEPS = (1.0, 0.1, 1e-2, 1e-3, 1e-5)  # lengths of the proximal steps that are tried
LEAST_ROOM = 0.3  # of the penalty, which draws to zero against the gradient: that says little at a kink
RESOLVED = 1e-6  # the part of the objective that a training does not resolve


def refuse_divergence(trainer: LinearTrainer, batches: Batches, last_loss: float) -> None:
    """Refuse coefficients whose loss has grown a million times since the start.

    The rows are looked at only if a coefficient or the last epoch's loss is large.

    Raises
    ------
    ValueError
    """
    with evaluating(trainer.optimizer):
        coef, intercept = trainer.coef.copy(), trainer.intercept.copy()
        largest = max(np.abs(coef).max(initial=0.0), np.abs(intercept).max())
        if largest <= LARGE and last_loss <= GROWTH:
            return
        start = trainer.start[0].reshape(coef.shape), trainer.start[1]
        (before, after), _ = _losses(trainer, batches, [start, (coef, intercept)])
    if not after <= GROWTH * max(1.0, before):
        raise ValueError(
            f"the loss became {after:.3g}, from {before:.3g} at the start: the training diverged. Try a smaller lr, or "
            "scale the data."
        )


def find_zeros(trainer: LinearTrainer, batches: Batches) -> Array | None:
    """Return which coefficients to set to zero, of the shape of `trainer.coef`; None if that changes none.

    Steps on batches, and averages over steps, leave small numbers where the minimum has zeros.
    """
    if trainer.penalty_weights[1] == 0.0:
        return None
    with evaluating(trainer.optimizer):
        coef, intercept = trainer.coef.copy(), trainer.intercept.copy()
        (before,), gradient = _objectives(trainer, batches, [(coef, intercept)])
        patterns = zero_patterns(coef, gradient, trainer.penalty_weights[1])
        if not patterns:
            return None
        after, _ = _objectives(trainer, batches, [(np.where(zero, 0.0, coef), intercept) for zero in patterns])
    return best_pattern(patterns, before, after, coef.dtype)


def zero_patterns(coef: Array, gradient: Array, l1: float) -> list[Array]:
    """Return masks of the coefficients, not zero, that proximal steps over all rows set to zero; most come first.

    Only zeros are taken from a step: where the loss has kinks, it would lead the others away from the minimum.

    Parameters
    ----------
    coef, gradient : arrays of one shape
        The gradient is that of the mean loss.
    l1 : float
        Weight of the penalty.
    """
    room = np.maximum(l1 - np.abs(gradient), LEAST_ROOM * l1)
    with np.errstate(all="ignore"):  # zero over zero, where l1 is nearly zero
        length = np.where(coef == 0.0, np.inf, np.abs(coef) / room)  # of the step that sets it to zero
    return list({int(zero.sum()): zero for zero in (length <= step for step in STEPS) if zero.any()}.values())


def best_pattern(patterns: Sequence[Array], before: float, after: Sequence[float] | Array, dtype: Any) -> Array | None:
    """Return the first mask whose zeros worsen the objective by no more than is resolved, or None."""
    unresolved = RESOLVED * abs(before) + 8.0 * float(np.finfo(dtype).eps)
    good = np.asarray(after) <= before + unresolved
    return patterns[int(good.argmax())] if good.any() else None


def _objectives(trainer: LinearTrainer, batches: Batches, points: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the mean loss plus penalty at some points, and the gradient of the mean loss at the first."""
    losses, gradient = _losses(trainer, batches, points)
    l2, l1 = trainer.penalty_weights
    sizes = [np.abs(coef, dtype=np.float64) for coef, _ in points]
    return losses + [0.5 * l2 * np.vdot(size, size) + l1 * size.sum() for size in sizes], gradient


def _losses(trainer: LinearTrainer, batches: Batches, points: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the mean loss over all rows at some points (coef, intercept), and its gradient at the first, by coef.

    The parameters stay.
    """
    given = trainer.coef.copy(), trainer.intercept.copy()
    losses, gradient, n_rows = np.zeros(len(points)), np.zeros(trainer.coef.shape), 0
    with np.errstate(all="ignore"):  # a loss that overflows is reported in one sentence
        for rows in batches():
            n_rows += len(rows)
            for i, point in enumerate(points):
                trainer.coef[...], trainer.intercept[...] = point
                for at in range(0, len(rows), trainer.batch_size):
                    loss, coef_grad, _ = trainer.gradient(rows[at : at + trainer.batch_size])
                    losses[i] += loss
                    if i == 0:
                        gradient += coef_grad.reshape(gradient.shape)
    trainer.coef[...], trainer.intercept[...] = given
    return losses / n_rows, gradient / n_rows
