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

GROWTH = 1e6  # of the loss at the start, or of 1 if that is less, above which a training has diverged
LARGE = 1e3  # a coefficient in standard units above which the loss is looked at
STEPS = (1.0, 0.1, 1e-2, 1e-3, 1e-5)  # lengths of the proximal steps that are tried
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
        (before, after), _, _ = _losses(trainer, batches, [start, (coef, intercept)])
    if not after <= GROWTH * max(1.0, before):
        raise ValueError(
            f"the loss became {after:.3g}, from {before:.3g} at the start: the training diverged. Try a smaller lr, or "
            "scale the data."
        )


def find_zeros(trainer: LinearTrainer, batches: Batches) -> Array | None:
    """Return which coefficients to set to zero, of the shape of `trainer.coef`; None if the penalty has no l1.

    Steps on batches, and averages over steps, leave small numbers where the minimum has zeros. Those are set to zero
    that a proximal step over all rows would set to zero. The others stay: where a loss has kinks, the step would lead
    away from the minimum. It is the longest step whose zeros do not worsen the objective, as far as that is resolved.
    """
    l1 = trainer.penalty_weights[1]
    if l1 == 0.0:
        return None
    with evaluating(trainer.optimizer):
        coef, intercept = trainer.coef.copy(), trainer.intercept.copy()
        (loss,), (penalty,), gradient = _losses(trainer, batches, [(coef, intercept)])
        room = np.maximum(l1 - np.abs(gradient), 1e-3 * l1)  # at a kink the gradient jumps
        zeroing = np.where(coef == 0.0, np.inf, np.abs(coef) / room)  # the length of the step that sets it to zero
        patterns = {int(zero.sum()): zero for zero in (zeroing <= step for step in STEPS) if zero.any()}
        if not patterns:
            return None
        points = [(np.where(zero, 0.0, coef), intercept) for zero in patterns.values()]
        losses, penalties, _ = _losses(trainer, batches, points)
    unresolved = RESOLVED * abs(loss + penalty) + 8.0 * np.finfo(coef.dtype).eps * max(1.0, abs(loss))
    good = losses + penalties <= loss + penalty + unresolved
    return list(patterns.values())[int(good.argmax())] if good.any() else None


def _losses(
    trainer: LinearTrainer, batches: Batches, points: Sequence[tuple[Array, Array]]
) -> tuple[Array, Array, Array]:
    """Return mean loss over all rows and penalty at some points (coef, intercept), and the loss's gradient at the first.

    That is of the shape of `trainer.coef`. The parameters stay.
    """
    given = trainer.coef.copy(), trainer.intercept.copy()
    losses, penalties, n_rows = np.zeros(len(points)), np.zeros(len(points)), 0
    gradient = np.zeros(trainer.coef.shape)
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
        for i, (coef, _) in enumerate(points):
            trainer.coef[...] = coef
            penalties[i] = trainer.penalty()
    trainer.coef[...], trainer.intercept[...] = given
    return losses / n_rows, penalties, gradient / n_rows
