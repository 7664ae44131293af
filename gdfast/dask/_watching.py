"""Who looks at a training on a cluster: a bar of progress, and callbacks."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from gdfast.sklearn._progress import Progress
from gdfast.sklearn._training import Hooks


class Watching:
    """Shows a training, and asks the callbacks whether it is to go on.

    Parameters
    ----------
    estimator : object
        Its attributes `verbose` and `callbacks` are read.
    total : int
        Rounds of averaged epochs, and steps of L-BFGS, at most.
    fitted : callable
        Returns the fitted attributes as of now, which the estimator gets before each call, and at the end.

    Attributes
    ----------
    looks : bool
        Whether anybody looks.
    stopped : bool
        Whether a callback has stopped the training.
    """

    def __init__(self, estimator: Any, total: int, fitted: Callable[[], Mapping[str, Any]]) -> None:
        self._estimator, self._fitted, self._epoch = estimator, fitted, 0
        self._hooks = Hooks(estimator, total, fitted, {})
        self._progress = Progress(type(estimator).__name__, total, estimator.verbose)
        self.looks = bool(estimator.verbose) or not self._hooks.none
        self.stopped = False

    def __enter__(self) -> Self:
        self._hooks.begin()
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    def saw(self, loss: float) -> bool:
        """Tell of a round or a step; return whether a callback stops the training."""
        logs = {"loss": loss}
        self._progress.show(logs)
        self.stopped = self._hooks.end_epoch(self._epoch, logs)
        self._epoch += 1
        return self.stopped

    def end(self) -> None:
        """Set the fitted attributes, and tell the callbacks of the end."""
        vars(self._estimator).update(self._fitted())
        self._hooks.end()
