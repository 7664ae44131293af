"""A page of data that is open: its study, and what it asks for."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

from gdfast.checkpoint.settings import to_data
from gdfast.lab import rules, study
from gdfast.lab.errors import LabError
from gdfast.lab.export import player
from gdfast.lab.server import messages, together
from gdfast.lab.session import MOST_WORDS, Send
from gdfast.lab.settings import number
from gdfast.lab.study_program import of_study

__all__ = ["serve_data"]

PICTURES_A_SECOND = 20
FASTEST = 200  # steps a second
SECONDS = 0.035  # of learning in a picture
VIEW, ROWS = 3, 2


async def serve_data(connection: Any) -> None:
    """Serve one page of data until it is closed."""
    session = Session(connection.send)
    await session.say("hello", **hello())
    await together(session.run(), session.read(connection))


def hello() -> dict[str, Any]:
    """Return all that a page must know to offer."""
    offered = [
        {**one, "controls": [control for control in one["controls"] if control["name"] not in study.NOT_OFFERED]}
        for one in rules.catalogue()
        if one["rule"] != "Muon"
    ]
    return {
        "tasks": dict(study.TASKS),
        "curves": study.CURVES,
        "rules": offered,
        "schedules": rules.schedule_catalogue(),
        "limits": {"batch": study.MOST_BATCH, "hidden": study.MOST_HIDDEN, "speed": FASTEST},
    }


class Session:
    """The study of one page.

    Parameters
    ----------
    send : coroutine function
        Sends the page a text or bytes.
    """

    def __init__(self, send: Send) -> None:
        self.send = send
        self.study = study.Study(study.read({"task": "line"}))
        self.speed = 20.0
        self._due = 0.0
        self._playing = asyncio.Event()
        self._turn = asyncio.Lock()
        self._commands: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "start": self._start,
            "set": self._set,
            "play": self._play,
            "pause": self._pause,
            "step": self._step,
            "find": self._find,
            "program": self._program,
            "export": self._export,
        }

    async def say(self, kind: str, **data: Any) -> None:
        """Send a JSON object."""
        await self.send(json.dumps({"kind": kind, **data}))

    async def read(self, connection: Any) -> None:
        """Do what the page's messages ask for, until it is closed."""
        async for message in messages(connection):
            await self.take(message)

    async def take(self, message: Mapping[str, Any]) -> None:
        """Do what a message asks for; what is wrong with it is said in words."""
        command = self._commands.get(str(message.get("do")))
        async with self._turn:
            try:
                if command is None:
                    raise LabError(f"do must be one of {', '.join(self._commands)}; got {message.get('do')!r}")
                await command(dict(message))
            except LabError as error:
                await self.say("error", text=str(error)[:MOST_WORDS])

    async def run(self) -> None:
        """Learn, a picture at a time, whenever the page wants to."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._playing.wait()
            began = clock()
            async with self._turn:
                self._due = min(self._due + self.speed / PICTURES_A_SECOND, FASTEST)
                while self._playing.is_set() and self._due >= 1.0 and clock() - began < SECONDS:
                    await self._advance(1, shown=self._due < 2.0 or clock() - began > SECONDS / 2)
                    self._due -= 1.0
            await asyncio.sleep(max(0.01, 1.0 / PICTURES_A_SECOND - (clock() - began)))

    async def _advance(self, steps: int, shown: bool = True) -> None:
        rows = self.study.advance(steps)
        if rows:
            await self._send_numbers(ROWS, rows)
        if rows and shown:
            await self._send_numbers(VIEW, self.study.view())
        if self.study.ended is not None:
            self._playing.clear()
            await self.say("ended", text=self.study.ended)

    async def _send_numbers(self, kind: int, numbers: Any) -> None:
        with np.errstate(all="ignore"):
            await self.send(np.concatenate([[kind], np.ravel(numbers)]).astype("<f4").tobytes())

    async def _begin(self, settings: study.Settings) -> None:
        made = study.Study(settings)  # raises before anything is replaced
        self._playing.clear()
        self.study, self._due = made, 0.0
        held = [[*row, label] for row, label in zip(made.held_X.tolist(), made.held_y.tolist(), strict=True)]
        rows = [[*row, label] for row, label in zip(made.X.tolist(), made.y.tolist(), strict=True)]
        drawn = settings.task in ("line", "classes")
        await self.say(
            "study",
            study=study.write(settings),
            still=made.still(),
            rows=rows if drawn else [],
            held=held if drawn else [],
            counts=[len(rows), len(held)],
        )

    async def _start(self, message: dict[str, Any]) -> None:
        await self._begin(study.read(message.get("study")))
        if message.get("play") is True:
            self._playing.set()

    async def _set(self, message: dict[str, Any]) -> None:
        name, value = str(message.get("name")), message.get("value")
        if self.study.change(name, value):
            values = {key: to_data(value) for key, value in self.study.values.items()}
            await self.say("changed", values=values, changes=study.write(self.study.settings)["changes"])
        else:
            await self._begin(self.study.with_value(name, value))

    async def _play(self, message: dict[str, Any]) -> None:
        self.speed = number("speed", message.get("speed", self.speed), 0.1, FASTEST)
        if self.study.ended is None:
            self._playing.set()

    async def _pause(self, message: dict[str, Any]) -> None:
        self._playing.clear()
        await self.say("paused", step=self.study.step_count)

    async def _step(self, message: dict[str, Any]) -> None:
        self._playing.clear()
        await self._advance(1)

    async def _find(self, message: dict[str, Any]) -> None:
        await self.say("found", **self.study.find())

    async def _program(self, message: dict[str, Any]) -> None:
        await self.say("program", text=of_study(self.study))

    async def _export(self, message: dict[str, Any]) -> None:
        """Send a page without data: what the page has seen is what it puts there."""
        await self.say("player", text=player("study.html", "studyplayer.js"))
