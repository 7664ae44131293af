"""Callbacks: a CSV log, early stopping, a checkpoint of the best epoch.

Each is called as ``callback(epoch, logs)`` after an epoch, with the epoch's number from 0 and a dict of numbers; early
stopping returns True when training should stop. Use them in your own training loop, or as the ``callbacks`` of the
estimators in `gdfast.sklearn`, whose logs hold ``loss``, ``lr`` and, with their own early stopping, ``score``.

>>> import gdfast
>>> stop = gdfast.callbacks.EarlyStopping(patience=2)
>>> [stop(epoch, {"loss": loss}) for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.25])]
[False, False, False, True]
>>> stop.best, stop.best_epoch
(2.0, 1)
"""

import csv
import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdfast.checkpoint.lookahead import unwrap
from gdfast.optimizers.lookahead import Lookahead
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Count, Range

__all__ = ["CSVLogger", "Checkpoint", "EarlyStopping"]

PATIENCE = Count(1)
MODES = ("min", "max")
#: the fitted attributes of an estimator that a checkpoint stores: arrays, or lists of arrays
WEIGHTS = ("coef_", "intercept_", "coefs_", "intercepts_")


class Monitor:
    """One number in the logs, and its best value so far.

    Parameters
    ----------
    monitor : str, optional
        Its name in the logs; by default ``"score"`` if the logs have it, else ``"loss"``.
    mode : {"min", "max"}, optional
        Whether lower or higher is better; by default "max" for ``"score"`` and "min" for any other.
    min_delta : float
        Minimum improvement that counts.

    Attributes
    ----------
    best : float
        NaN before the first epoch. NaN is never the best value.
    best_epoch : int
        -1 before the first epoch.
    """

    def __init__(self, monitor: str | None = None, mode: str | None = None, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str | None):
            raise TypeError(f"monitor must be a name in the logs; got {monitor!r}")
        if mode is not None and mode not in MODES:
            raise ValueError(f'mode must be "min" or "max"; got {mode!r}')
        self.monitor, self.mode = monitor, mode
        self.min_delta = Range(fixed=True).number("min_delta", min_delta, is_float32=False)
        self._forget()

    def _forget(self) -> None:
        self.best, self.best_epoch = math.nan, -1

    def _improved(self, epoch: int, logs: Mapping[str, Any]) -> bool:
        """Process an epoch; return whether it is the best so far."""
        name = self.monitor or ("score" if "score" in logs else "loss")
        if name not in logs:
            raise ValueError(f"monitor must be a name in the logs ({', '.join(logs) or 'empty'}); got {name!r}")
        value, mode = float(logs[name]), self.mode or ("max" if name == "score" else "min")
        gain = self.best - value if mode == "min" else value - self.best
        if not (gain > self.min_delta or (math.isnan(self.best) and not math.isnan(value))):
            return False
        self.best, self.best_epoch = value, epoch
        return True


class EarlyStopping(Monitor):
    """Stops training when a number in the logs has stopped improving.

    Parameters
    ----------
    monitor, mode, min_delta
        The number monitored; see :class:`gdfast.callbacks.Monitor`.
    patience : int
        Number of epochs in a row without improvement after which it returns True.

    Attributes
    ----------
    best, best_epoch : float, int
        The best value and its epoch; NaN and -1 before the first.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the logs lack what is watched.

    Examples
    --------
    >>> stop = EarlyStopping("accuracy", mode="max", patience=1)
    >>> stop(0, {"accuracy": 0.5}), stop(1, {"accuracy": 0.75}), stop(2, {"accuracy": 0.75})
    (False, False, True)
    """

    def __init__(
        self, monitor: str | None = None, *, mode: str | None = None, patience: int = 5, min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = PATIENCE.check("patience", patience, is_float32=False)

    def _forget(self) -> None:
        super()._forget()
        self._idle = 0

    def on_fit_begin(self, estimator: Any) -> None:
        """Begin anew: an estimator's fit begins."""
        self._forget()

    def __call__(self, epoch: int, logs: Mapping[str, Any]) -> bool:
        """Process an epoch; return True if training should stop."""
        self._idle = 0 if self._improved(epoch, logs) else self._idle + 1
        return self._idle >= self.patience


class Checkpoint(Monitor):
    """Saves a file, atomically, whenever an epoch is the best so far.

    Parameters
    ----------
    path : str or path
        The file, in the safetensors format; an existing one is replaced.
    opt : Optimizer or Lookahead, optional
        Saved with its parameters by :func:`gdfast.save`, in your own training loop. If not given, the weights of the
        estimator that calls are saved: ``coef_`` and ``intercept_``, or ``coefs_.0``, ... and ``intercepts_.0``, ...
    monitor, mode
        The number monitored; see :class:`gdfast.callbacks.Monitor`.

    Attributes
    ----------
    best, best_epoch : float, int
        The best value and its epoch; NaN and -1 before the first.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid, or the logs lack what is watched.
    ImportError
        In the first epoch, if the safetensors package is not installed: ``pip install "gdfast[checkpoint]"``.
    OSError
        If the file cannot be written; an existing one is then left unchanged.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0])
    >>> opt = gdfast.SGD(w, lr=1.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     best = Checkpoint(os.path.join(folder, "best.safetensors"), opt)
    ...     for epoch, loss in enumerate([3.0, 1.0, 2.0]):
    ...         opt.step(np.array([1.0]))
    ...         best(epoch, {"loss": loss})
    ...     best.restore()
    {'epoch': 1, 'logs': {'loss': 1.0}}
    >>> w
    array([-1.])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        opt: Optimizer | Lookahead | None = None,
        *,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if opt is not None:
            unwrap(opt)  # checks it
        self.path, self.opt = os.fspath(path), opt
        self._estimator: Any = None  # only while it trains

    def on_fit_begin(self, estimator: Any) -> None:
        """Begin anew: an estimator's fit begins."""
        self._forget()
        self._estimator = estimator

    def on_fit_end(self, estimator: Any) -> None:
        """Release the estimator."""
        self._estimator = None

    def __call__(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Process an epoch; write the file if it is the best so far."""
        if self.opt is None and self._estimator is None:
            raise ValueError("opt must be given unless an estimator of gdfast.sklearn calls the checkpoint")
        if not self._improved(epoch, logs):
            return
        about = {"epoch": int(epoch), "logs": {name: float(value) for name, value in logs.items()}}
        if self.opt is not None:
            from gdfast.checkpoint import save

            save(self.path, self.opt, extra=about)
        else:
            _write(self.path, vars(self._estimator), about)

    def restore(self, estimator: Any = None) -> dict[str, Any]:
        """Load the weights of the best epoch into the optimizer and its parameters, or into a fitted estimator.

        Returns
        -------
        dict
            ``{"epoch": ..., "logs": {...}}`` of that epoch.

        Raises
        ------
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If the file does not fit; see :func:`gdfast.load`.
        """
        if self.opt is not None:
            from gdfast.checkpoint import load

            about: dict[str, Any] = load(self.path, self.opt)
            return about
        if estimator is None:
            raise TypeError("estimator must be given: a fitted one, for the weights to be loaded into")
        return _read_into(estimator, self.path)


class CSVLogger:
    """Writes a row to a CSV file after each epoch: ``epoch`` and the numbers in the logs.

    Parameters
    ----------
    path : str or path
        The file.
    append : bool
        Append to an existing file instead of replacing it after the first epoch (of each fit).

    Raises
    ------
    OSError
        If the file cannot be written.

    Notes
    -----
    A number that first appears later gets a new column, empty for the previous epochs. Numbers are written so that they
    read back exactly. The file is open only while a row is written, so copies of the logger share nothing but the path:
    do not give a logger to fits that run at the same time, as in a grid search.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     log = CSVLogger(path)
    ...     log(0, {"loss": 0.5})
    ...     log(1, {"loss": 0.25})
    ...     with open(path) as file:
    ...         print(file.read())
    epoch,loss
    0,0.5
    1,0.25
    <BLANKLINE>
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        self.path, self.append = os.fspath(path), bool(append)
        self._fields: list[str] | None = None  # None: no row was written yet

    def on_fit_begin(self, estimator: Any) -> None:
        """Begin anew: an estimator's fit begins."""
        self._fields = None

    def __call__(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Write the row of an epoch."""
        row = {"epoch": epoch, **logs}
        fields = self._fields
        if fields is None:
            fields = self._there()[0] if self.append else []
        self._fields = fields + [name for name in row if name not in fields]
        if self._fields == fields:
            self._put("a", [row])
        else:
            self._put("w", [*(self._there()[1] if fields else []), row])

    def _there(self) -> tuple[list[str], list[dict[str, Any]]]:
        """Return the columns and the rows of the existing file."""
        try:
            with open(self.path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                return list(reader.fieldnames or ()), list(reader)
        except FileNotFoundError:
            return [], []

    def _put(self, mode: str, rows: list[dict[str, Any]]) -> None:
        assert self._fields is not None
        with open(self.path, mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._fields, lineterminator="\n")
            if mode == "w":
                writer.writeheader()
            writer.writerows(rows)


def _write(path: str, fitted: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write an estimator's weights, with `about` in the metadata."""
    from gdfast.checkpoint.files import replacing
    from gdfast.checkpoint.saving import _library

    library = _library()
    arrays: dict[str, Any] = {}
    for name in WEIGHTS:
        if name in fitted:
            value = fitted[name]
            several = {f"{name}.{i}": array for i, array in enumerate(value)}
            arrays |= several if isinstance(value, list) else {name: value}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as temporary:
        library(arrays, temporary, {"gdfast": json.dumps(about)})


def _read_into(estimator: Any, path: str) -> dict[str, Any]:
    """Load weights into the estimator's attributes, if the shapes match."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("gdfast", "{}"))
            arrays = {name: file.get_tensor(name) for name in list(file.keys())}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or not a checkpoint: {error}") from error
    found = {name: _value(name, arrays) for name in WEIGHTS}
    shapes = {name: _shapes(value) for name, value in found.items() if value is not None}
    own = {name: _shapes(getattr(estimator, name)) for name in WEIGHTS if hasattr(estimator, name)}
    if shapes != own:
        raise ValueError(
            f"estimator must be a fitted one with weights of the shapes in {path}, {shapes}; got {own or 'none'}"
        )
    vars(estimator).update({name: found[name] for name in own})
    return about


def _value(name: str, arrays: Mapping[str, Any]) -> Any:
    """Return the array of this name, or the list of arrays `name`.0, `name`.1, ..., or None."""
    count = sum(key.startswith(f"{name}.") for key in arrays)
    return [arrays.get(f"{name}.{i}") for i in range(count)] or arrays.get(name)


def _shapes(value: Any) -> Any:
    return [np.shape(array) for array in value] if isinstance(value, list) else np.shape(value)
