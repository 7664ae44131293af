"""The progress of a training: tqdm's bar, or plain lines if tqdm is not installed."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any


class Progress:
    """Shows the progress of a training while its ``with`` block runs.

    Parameters
    ----------
    name : str
        Name of the estimator.
    total : int
        Maximum number of epochs.
    verbose : bool or int
        Whether to show anything.
    """

    def __init__(self, name: str, total: int, verbose: bool | int) -> None:
        self._name, self._total, self._verbose = name, total, bool(verbose)
        self._bar: Any = None
        self._shown = 0

    def __enter__(self) -> "Progress":
        if self._verbose:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return self
            self._bar = tqdm(total=self._total, desc=self._name, unit="epoch")
        return self

    def show(self, logs: Mapping[str, float]) -> None:
        """Show the end of an epoch, with its logs."""
        self._shown += 1
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in logs.items()}, refresh=False)
            self._bar.update()
        elif self._verbose:
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
            print(f"{self._name}: epoch {self._shown}/{self._total}, {numbers}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
