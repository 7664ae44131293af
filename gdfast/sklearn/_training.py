"""The loop over epochs that all estimators share: progress, callbacks, stopping, the best weights.

An estimator gives a function that runs one epoch, and the arrays that it trains.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, isfinite
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from gdfast.sklearn._progress import Progress

try:  # scikit-learn 1.9 brought a protocol for callbacks
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Used if scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Do nothing, if scikit-learn has no callbacks."""
        return method


__all__ = ["CallbackSupportMixin", "History", "Hooks", "checked_callbacks", "split_rows", "train", "with_callbacks"]

Array = np.ndarray[Any, Any]

FEWEST_NUMBERS = 2  # rows that R2 is defined for


@dataclass
class History:
    """The history of a training.

    Attributes
    ----------
    losses : list of float
        The training loss of every epoch.
    scores : list of float
        The validation score after every epoch; empty without early stopping.
    stopped : bool
        Whether it ended before the maximum number of epochs.
    best_epoch : int
        The epoch, from 0, whose weights were kept; without early stopping the last one.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    stopped: bool = False
    best_epoch: int = -1

    @property
    def n_iter(self) -> int:
        """Number of epochs run."""
        return len(self.losses)


def split_rows(
    n: int,
    fraction: float,
    rng: np.random.Generator,
    *,
    classes: Array | None = None,
    numbers: Array | None = None,
) -> tuple[np.ndarray[Any, np.dtype[np.intp]], np.ndarray[Any, np.dtype[np.intp]]]:
    """Split the row indices 0..n-1 into those to train on and those to validate with, both sorted.

    Parameters
    ----------
    n : int
        Number of rows.
    fraction : float
        Fraction to validate with, in (0, 1); rounded up to whole rows.
    rng : numpy.random.Generator
    classes : array of shape (n,), optional
        Class labels whose frequencies are kept; ignored if a class has a single row.
    numbers : array of shape (n, outputs), optional
        Targets that are numbers: two rows or more are then validated with, since R2 compares with their mean.

    Raises
    ------
    ValueError
        If one side would be empty, or a target that varies has one value in all rows to validate with.
    """
    if classes is not None and np.unique(classes, return_counts=True)[1].min() < 2:
        classes = None
    seed = int(rng.integers(2**31))
    held_out = n_held_out(n, fraction, 1 if numbers is None else FEWEST_NUMBERS)
    try:
        train, validate = train_test_split(np.arange(n), test_size=held_out, random_state=seed, stratify=classes)
    except ValueError as error:
        raise ValueError(
            f"early_stopping needs rows to train on and rows to validate with; {n} rows with "
            f"validation_fraction={fraction} cannot be split: {error}"
        ) from error
    if numbers is not None and ((np.ptp(numbers[validate], axis=0) == 0) & (np.ptp(numbers, axis=0) > 0)).any():
        raise ValueError(
            f"early_stopping needs targets that vary in the rows to validate with; all {len(validate)} rows have the "
            "same: raise validation_fraction, or set early_stopping=False"
        )
    return np.sort(train), np.sort(validate)


def n_held_out(n: int, fraction: float, least: int) -> int:
    """Return how many of n rows early stopping validates with."""
    return max(ceil(fraction * n), least)


def train(
    estimator: Any,
    run_epoch: Callable[[int], float],
    n_epochs: int,
    params: Sequence[Array],
    *,
    run_epochs: Callable[[], Iterable[float]] | None = None,
    score: Callable[[], float] | None = None,
    logs: Callable[[], Mapping[str, float]] = dict,
    fitted: Callable[[], Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    losses: Sequence[float] = (),
) -> History:
    """Run epochs up to the last one, until loss or score stop improving, or until a callback stops the training.

    Parameters
    ----------
    estimator : object
        Its attributes `tol`, `n_iter_no_change`, `verbose` and `callbacks` are read. With `tol` None a loss never stops
        the training, and any improvement of a score counts.
    run_epoch : callable
        Runs the epoch of this index and returns its mean training loss. It updates `params`.
    n_epochs : int
        Maximum number of epochs.
    params : sequence of arrays
        The arrays that are trained, in place. With a score, the values of the best epoch are restored at the end.
    run_epochs : callable, optional
        Runs all epochs and returns their losses, one after the other: taken where nobody looks between two epochs.
    score : callable, optional
        Returns the validation score with the present `params`, or NaN if they make no prediction; larger is better.
        Turns early stopping on.
    logs : callable, optional
        Returns more entries for the callbacks' logs, such as ``{"lr": 0.01}``.
    fitted : callable, optional
        Returns the fitted attributes of the estimator as of now. If there are callbacks, they are set before each call.
    data : mapping, optional
        ``{"X": X, "y": y}``, for scikit-learn's own callbacks.
    progress : Progress, optional
        What shows the progress; without it a bar of epochs.
    losses : sequence of float
        Of the epochs that were run before: the training goes on with the next one.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If the loss or the score becomes NaN or infinite.

    Warns
    -----
    ConvergenceWarning
        If `tol` is set, and the last epoch was reached while the loss was still decreasing.

    Notes
    -----
    A callback in ``estimator.callbacks`` is a function ``(epoch, logs)`` or an object with
    ``on_epoch_end(epoch, logs)``; returning True stops. It may also have ``on_fit_begin(estimator)`` and
    ``on_fit_end(estimator)``. `logs` holds ``loss``, ``score`` where there is one, and what `logs` returns.
    """
    history = History([*losses])
    hooks = Hooks(estimator, n_epochs, fitted, data or {})
    watch = _Watch(estimator.tol, estimator.n_iter_no_change, params, keep=score is not None)
    unseen = score is None and estimator.tol is None and not estimator.verbose and hooks.none
    if run_epochs is not None and unseen and not losses:
        history.losses += [_finite("loss", loss, epoch) for epoch, loss in enumerate(run_epochs())]
        history.best_epoch = n_epochs - 1
        return history
    for epoch, loss in enumerate(losses):
        watch.enough(epoch, loss)
    hooks.begin()
    with progress or Progress(type(estimator).__name__, n_epochs, estimator.verbose) as progress:
        for epoch in range(len(losses), n_epochs):
            hooks.begin_epoch()
            entry = {"loss": _finite("loss", run_epoch(epoch), epoch)}
            history.losses.append(entry["loss"])
            if score is not None:
                entry["score"] = _finite("validation score", score(), epoch)
                history.scores.append(entry["score"])
            entry |= logs()
            progress.show(entry)
            stop = watch.enough(epoch, entry["loss"] if score is None else -entry["score"])
            if hooks.end_epoch(epoch, entry) or stop:
                history.stopped = True
                break
    history.best_epoch = watch.restore(history.n_iter - 1)
    hooks.end()
    if estimator.tol is not None and not history.stopped and n_epochs > 1:
        warnings.warn(
            f"{type(estimator).__name__} ran all {n_epochs} epochs and was still improving by more than tol: "
            "raise max_iter to train on, or set tol=None.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return history


def _finite(name: str, value: float, epoch: int) -> float:
    if not isfinite(value):
        raise ValueError(
            f"the {name} became {value} in epoch {epoch + 1}: the training diverged. Try a smaller lr, or scale the "
            "data."
        )
    return value


class _Watch:
    """Whether the training still improves, and the best weights so far."""

    def __init__(self, tol: float | None, patience: int, params: Sequence[Array], keep: bool) -> None:
        self._tol = tol if tol is not None else (0.0 if keep else inf)
        self._watching = tol is not None or keep
        self._patience = patience
        self._params = params
        self._keep = keep
        self._best, self._best_kept, self._idle = inf, inf, 0
        self._kept: list[Array] = []
        self._kept_epoch = -1

    def enough(self, epoch: int, value: float) -> bool:
        """Record the value of an epoch, smaller is better; return whether to stop."""
        if self._keep and value < self._best_kept:
            self._best_kept, self._kept_epoch = value, epoch
            self._kept = [param.copy() for param in self._params]
        self._idle = 0 if value < self._best - self._tol or self._best == inf else self._idle + 1
        self._best = min(self._best, value)
        return self._watching and self._idle >= self._patience

    def restore(self, last_epoch: int) -> int:
        """Restore the best weights, if they are kept, and return their epoch."""
        for param, kept in zip(self._params, self._kept, strict=False):
            param[...] = kept
        return self._kept_epoch if self._kept else last_epoch


class Hooks:
    """The estimator's own callbacks, and scikit-learn's (``set_callbacks``)."""

    def __init__(
        self,
        estimator: Any,
        n_epochs: int,
        fitted: Callable[[], Mapping[str, Any]] | None,
        data: Mapping[str, Any],
    ) -> None:
        self._estimator, self._n_epochs, self._fitted, self._data = estimator, n_epochs, fitted, data
        self._own = checked_callbacks(estimator.callbacks)
        self._root: Any = None
        self._task: Any = None

    @property
    def none(self) -> bool:
        """Whether there are no callbacks."""
        return not self._own and not getattr(self._estimator, "_skl_callbacks", None)

    def begin(self) -> None:
        """Call those that want to know of the beginning."""
        if getattr(self._estimator, "_skl_callbacks", None):
            self._root = self._estimator._init_callback_context(max_subtasks=self._n_epochs)
            self._root.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        self._call_own("on_fit_begin")

    def begin_epoch(self) -> None:
        """Tell scikit-learn's callbacks of an epoch's beginning."""
        if self._root is not None:
            self._task = self._root.subcontext(task_name="epoch")
            self._task.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def end_epoch(self, epoch: int, logs: Mapping[str, float]) -> bool:
        """Call every callback; return whether one stops the training, by returning True and nothing else."""
        if self._own and self._fitted is not None:
            vars(self._estimator).update(self._fitted())
        answers = [getattr(callback, "on_epoch_end", callback)(epoch, dict(logs)) for callback in self._own]
        return any(answer is True for answer in answers) | self._end_task(self._task)

    def end(self) -> None:
        """Call those that want to know of the end."""
        self._call_own("on_fit_end")
        self._end_task(self._root)

    def _call_own(self, name: str) -> None:
        for callback in self._own:
            if hasattr(callback, name):
                getattr(callback, name)(self._estimator)

    def _end_task(self, task: Any) -> bool:
        if task is None:
            return False
        return bool(
            task.call_on_fit_task_end(estimator=self._estimator, reconstruction_attributes=self._fitted, **self._data)
        )


def checked_callbacks(callbacks: Any) -> list[Any]:
    """Return callbacks as a list.

    Raises
    ------
    TypeError
        If one cannot be called.
    """
    found = [] if callbacks is None else list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    for callback in found:
        if not callable(callback) and not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"callbacks must be functions (epoch, logs) or objects with on_epoch_end(epoch, logs); got {callback!r}"
            )
    return found
