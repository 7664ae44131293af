"""A training of one's own, live in the browser."""

import asyncio
import copy
import json
import math
import os
import queue
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from gdfast.checkpoint.settings import to_data
from gdfast.lab import rules
from gdfast.lab.errors import LabError
from gdfast.lab.recorder import COLUMNS, OF_ARRAY, Recorder, packed
from gdfast.lab.server import in_thread, messages, together
from gdfast.lab.sources import Source, source_of

if TYPE_CHECKING:
    from gdfast.lab.notebook import Training

__all__ = ["Watch", "watch"]

MOST_ARRAYS = 8
MOST_WAITING = 64
MOST_NEWS = 200  # that a page which comes later is told
MOST_WORDS = 600  # of one, which may quote what came
LOOKS_A_SECOND = 5
BETWEEN_SAMPLES = 0.05  # seconds, at least


def watch(
    opt: Any = None,
    *,
    names: Sequence[str] | None = None,
    control: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    port: int = 0,
    browser: bool = True,
) -> "Watch":
    """Show a training in the browser while it runs.

    Parameters
    ----------
    opt : Optimizer, optional
        Of gdfast, gdfast.torch or PyTorch. Without one, as for the callback of an estimator, there is the loss, the
        score and the time a turn.
    names : sequence of str, optional
        The arrays with curves of their own (keys of ``opt.state``); by default the first eight.
    control : bool
        Whether the page may change hyperparameters, pause and stop.
    checkpoint : path, optional
        With `control`, where the page may save the optimizer with its parameters (:func:`gdfast.save`).
    port : int
        Where to listen on 127.0.0.1; 0 for any free one.
    browser : bool
        Whether to open the page when the block begins; its address is printed in any case.

    Returns
    -------
    Watch
        For a ``with`` block; call its `log` after each step.

    Raises
    ------
    TypeError, ValueError
        If `opt` cannot be watched, or has no array of a name.
    ImportError
        If the websockets package is not there: ``pip install "gdfast[lab]"``.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> from gdfast.lab import watch
    >>> w = np.array([4.0, -2.0])
    >>> opt = gdfast.SGD(w, lr=0.1)
    >>> with watch(opt, browser=False) as page:  # doctest: +ELLIPSIS
    ...     for _ in range(100):
    ...         grads = w.copy()
    ...         opt.step(grads)
    ...         if page.log(loss=w @ w / 2, grads=grads):
    ...             break
    The training is shown at http://127.0.0.1:...
    """
    return Watch(opt, names, control, checkpoint, port, browser)


class Watch:
    """A training that is shown; made by :func:`watch`.

    Attributes
    ----------
    address : str
        Of the page, while the block runs.
    due : bool
        Whether `log` has anything to do now. A loop whose turns take a few microseconds asks this first, which costs
        less than the call and spares it the loss: ``if page.due and page.log(loss(), grads): break``.
    stopped : bool
        Whether the page has asked for the end of the training.
    """

    def __init__(
        self,
        opt: Any,
        names: Sequence[str] | None,
        control: bool,
        checkpoint: str | os.PathLike[str] | None,
        port: int,
        browser: bool,
    ) -> None:
        self._opt = opt
        self._source: Source | None = None if opt is None else source_of(opt)
        known = [] if self._source is None else self._source.names
        chosen = known[:MOST_ARRAYS] if names is None else list(names)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise ValueError(f"names must be names of the optimizer's arrays, {', '.join(known)}; got {unknown[0]!r}")
        self._control = bool(control)
        self._checkpoint = None if checkpoint is None else os.fspath(checkpoint)
        self._port, self._browser = port, browser
        self._recorder = Recorder(self._source, chosen)
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._news: tuple[tuple[int, str, str], ...] = ()  # number, kind and text of the last that happened
        self._stack = ExitStack()
        self._paused = False
        self._turns = 0  # calls of `log`
        self._widgets: list[Training] = []
        self._ended = threading.Event()
        self.due = True
        self.stopped = False
        self.address = ""

    def __enter__(self) -> Self:
        door = self._stack.enter_context(in_thread(self._serve, "watch.html", self._port))
        self.address = door.address
        self._ended.clear()
        threading.Thread(target=self._remind, daemon=True).start()
        self._stack.callback(self._ended.set)
        print(f"The training is shown at {self.address}", flush=True)
        if self._browser:
            webbrowser.open(self.address)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        for widget in self._widgets:
            widget.finish()

    def widget(self) -> "Training":
        """Return the curves as a widget for a notebook, which shows what `log` is told while its cell runs.

        Returns
        -------
        Training
            Display it before the loop. It only shows: what changes a training is in the page.

        Raises
        ------
        ImportError
            If the anywidget package is not there: ``pip install "gdfast[notebook]"``.
        """
        from gdfast.lab.notebook import Training

        made = Training(self._described(), self._recorder)
        self._widgets.append(made)
        return made

    def __deepcopy__(self, memo: Any) -> Self:
        """Return the same: scikit-learn copies an estimator's callbacks, and there is one page."""
        return self

    # What the loop calls.

    def log(self, loss: Any = None, grads: Any = None, *, score: Any = None) -> bool:
        """Note a turn of the loop, after its step.

        Parameters
        ----------
        loss, score : float, or what becomes one, optional
            Of this turn; read only when a sample is taken.
        grads : optional
            The gradients that the step took, in the structure of the parameters. Not needed where the optimizer knows
            them: bound buffers, PyTorch's tensors.

        Returns
        -------
        bool
            Whether the page asks for the end of the training.
        """
        self._turns += 1
        if self.due:
            if not self._requests.empty():
                self._answer()
            again = self._recorder.turn(self._turns, loss, grads, score)
            for widget in self._widgets:
                widget.show()
            self.due = again or self.stopped
        return self.stopped

    def __call__(self, epoch: int, logs: Mapping[str, Any]) -> bool:
        """Note an epoch, as a callback of an estimator; return True to stop its training."""
        return self.log(logs.get("loss"), score=logs.get("score"))

    def _remind(self) -> None:
        """Make the loop look now and then, in a thread of its own: the loop need not read a clock."""
        while not self._ended.wait(BETWEEN_SAMPLES):
            self.due = True

    def _answer(self) -> None:
        """Do what the pages have asked for, in the thread of the loop; wait while it is paused."""
        while self._paused or not self._requests.empty():
            request = self._requests.get()
            try:
                self._commands()[request["do"]](request)
            except (LabError, TypeError, ValueError, KeyError, IndexError, OSError, ImportError) as error:
                self._tell("error", str(error))

    def _commands(self) -> Mapping[str, Callable[[dict[str, Any]], None]]:
        return {"set": self._set, "pause": self._pause, "resume": self._resume, "stop": self._stop, "save": self._save}

    def _set(self, request: dict[str, Any]) -> None:
        source, name, group = self._source, str(request.get("name")), request.get("group", 0)
        if source is None or not source.rule:
            raise LabError("there is no optimizer of gdfast whose hyperparameters could be changed")
        groups = range(len(source.groups()))
        if isinstance(group, bool) or not isinstance(group, int) or group not in groups:
            raise LabError(f"group must be one of the {len(groups)}, counted from 0; got {group!r}")
        value = rules.as_value(source.rule, name, request.get("value"))
        source.set(group, name, value)
        of_group = f" of group {group}" if len(groups) > 1 else ""
        self._tell("set", f"{name}{of_group} = {value!r}")

    def _pause(self, request: dict[str, Any]) -> None:
        self._paused = True
        self._tell("pause", "paused")

    def _resume(self, request: dict[str, Any]) -> None:
        self._paused = False
        self._recorder.rest()
        self._tell("resume", "goes on")

    def _stop(self, request: dict[str, Any]) -> None:
        self.stopped, self._paused = True, False
        self._tell("stop", "asked to stop")

    def _save(self, request: dict[str, Any]) -> None:
        if self._checkpoint is None or self._opt is None:
            raise LabError("this training has no checkpoint to save; give watch its path")
        from gdfast.checkpoint import save

        save(self._checkpoint, self._opt)
        self._tell("save", f"saved {self._checkpoint}")

    def _tell(self, kind: str, text: str) -> None:
        number = self._news[-1][0] + 1 if self._news else 1
        self._news = (*self._news[1 - MOST_NEWS :], (number, kind, text[:MOST_WORDS]))

    # What a page is served by, in the server's thread.

    async def _serve(self, connection: Any) -> None:
        await connection.send(json.dumps({"kind": "watch", **self._described()}))
        await together(self._show(connection), self._read(connection))

    async def _read(self, connection: Any) -> None:
        async for message in messages(connection):
            refusal = self._refusal(message)
            if refusal:
                await connection.send(json.dumps({"kind": "error", "text": refusal[:MOST_WORDS]}))
            else:
                self._requests.put(message)
                self.due = True

    def _refusal(self, message: Mapping[str, Any]) -> str:
        if not self._control:
            return "this page may only watch: the program has to say watch(opt, control=True)"
        if str(message.get("do")) not in self._commands():
            return f"do must be one of {', '.join(self._commands())}; got {message.get('do')!r}"
        if self._requests.qsize() >= MOST_WAITING:
            return "too many requests wait for the next step of the training"
        return ""

    async def _show(self, connection: Any) -> None:
        """Send what is new, a few times a second."""
        count, version, told = 0, 0, 0
        while True:
            now, first, rows = self._recorder.rows(count, version)
            version = now
            if len(rows):
                await connection.send(packed(first, rows))
                count = first + len(rows)
            news = [one for one in self._news if one[0] > told]
            for number, kind, text in news:
                told = number
                await connection.send(
                    json.dumps({"kind": "news", "what": kind, "text": text, "groups": self._groups()})
                )
            await asyncio.sleep(1 / LOOKS_A_SECOND)

    def _described(self) -> dict[str, Any]:
        rule = "" if self._source is None else self._source.rule
        entry = next((one for one in rules.catalogue() if one["rule"] == rule), None)
        if entry is not None:
            entry = copy.copy(entry)
            entry["controls"] = [one for one in entry["controls"] if not one["fixed"] and one["name"] in self._known()]
        return {
            "columns": COLUMNS,
            "of_array": OF_ARRAY,
            "names": self._recorder.names,
            "title": "Training" if self._opt is None else type(self._opt).__name__,
            "control": self._control,
            "checkpoint": self._checkpoint is not None,
            "paused": self._paused,
            "rule": entry if self._control else None,
            "schedules": rules.schedule_catalogue(),
            "groups": self._groups(),
        }

    def _known(self) -> set[str]:
        """Return the hyperparameters that every group has and whose values can be sent."""
        groups = self._groups()
        return set.intersection(*(set(group) for group in groups)) if groups else set()

    def _groups(self) -> list[dict[str, Any]]:
        if self._source is None:
            return []
        found = []
        for group in self._source.groups():
            values = {name: _plain(value) for name, value in group.items()}
            found.append({name: value for name, value in values.items() if value is not ...})
        return found


def _plain(value: Any) -> Any:
    """Return a hyperparameter as JSON data; ... for what has none."""
    try:
        data = to_data(tuple(value) if isinstance(value, list) else value)
        text = json.dumps(data, allow_nan=False)
    except (TypeError, ValueError):
        return ...
    return ... if '"callable"' in text or (isinstance(value, float) and not math.isfinite(value)) else data
