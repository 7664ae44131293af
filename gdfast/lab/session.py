"""A page of the lab that is open: its race, and what it asks for.

A page sends JSON objects with ``do``, and gets JSON objects with ``kind`` and float32 numbers, little endian: a map
``[0, points, heights...]`` or frames ``[1, first step, steps, racers, numbers...]``.
"""

import asyncio
import importlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from gdfast._version import __version__
from gdfast.lab import program, rules, settings
from gdfast.lab.errors import LabError
from gdfast.lab.experiments import EXPERIMENTS
from gdfast.lab.export import recording
from gdfast.lab.race import FIELDS, Race
from gdfast.lab.server import messages, together
from gdfast.lab.surfaces import GRID, SURFACES, described, grid

__all__ = ["Session", "serve_lab"]

Send: TypeAlias = Callable[[str | bytes], Awaitable[None]]

PICTURES_A_SECOND = 32
FASTEST = 3000  # steps a second
MAP, FRAMES = 0, 1
MOST_WORDS = 600  # of an error, which may quote what came


async def serve_lab(connection: Any) -> None:
    """Serve one page of the lab until it is closed: that of races, or that of data."""
    if connection.request.path.endswith("?data"):
        await _serve_data(connection)
    else:
        await serve_races(connection)


async def _serve_data(connection: Any) -> None:
    try:  # the estimators' libraries take a second to import, in which other pages go on
        teaching = await asyncio.to_thread(importlib.import_module, "gdfast.lab.teaching")
    except ImportError as error:
        await connection.close(1011, f'data needs more packages ({error.name}): pip install "gdfast[lab,sklearn]"')
    else:
        await teaching.serve_data(connection)


async def serve_races(connection: Any) -> None:
    """Serve one page of races until it is closed."""
    session = Session(connection.send)
    await session.say("hello", **hello())
    await together(session.run(), session.read(connection))


def hello() -> dict[str, Any]:
    """Return all that a page must know to offer: optimizers, schedules, surfaces, experiments."""
    return {
        "version": __version__,
        "fields": FIELDS,
        "rules": rules.catalogue(),
        "schedules": rules.schedule_catalogue(),
        "surfaces": [{"key": key, "title": one.title, "about": one.about} for key, one in SURFACES.items()],
        "experiments": [
            {"key": key, "title": one.title, "text": one.text, "race": one.race, "speed": one.speed}
            for key, one in EXPERIMENTS.items()
        ],
        "limits": {
            "racers": settings.MOST_RACERS,
            "steps": settings.MOST_STEPS,
            "noise": settings.MOST_NOISE,
            "speed": FASTEST,
        },
    }


def packed(kind: int, head: tuple[int, ...], numbers: Any) -> bytes:
    """Return numbers as a binary message."""
    return np.concatenate([[kind, *head], np.ravel(numbers)]).astype("<f4").tobytes()


class Session:
    """The race of one page.

    Parameters
    ----------
    send : coroutine function
        Sends the page a text or bytes.
    """

    def __init__(self, send: Send) -> None:
        self.send = send
        self.race = Race(settings.read({"racers": []}))
        self.speed = 30.0
        self._due = 0.0
        self._playing = asyncio.Event()
        self._told: set[int] = set()
        self._turn = asyncio.Lock()
        self._commands: Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]] = {
            "start": self._start,
            "set": self._set,
            "play": self._play,
            "pause": self._pause,
            "step": self._step,
            "back": self._back,
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
        """Play, a picture at a time, whenever the page wants to."""
        clock = asyncio.get_running_loop().time
        next_at = clock()
        while True:
            await self._playing.wait()
            async with self._turn:
                if self._playing.is_set():
                    self._due = min(self._due + self.speed / PICTURES_A_SECOND, FASTEST)
                    steps = int(self._due)
                    self._due -= steps
                    await self._advance(steps)
            next_at = max(next_at + 1.0 / PICTURES_A_SECOND, clock())  # a picture that was late makes the next no later
            await asyncio.sleep(next_at - clock())

    async def _advance(self, steps: int) -> None:
        if steps:
            first = self.race.step_count + 1
            frames = self.race.advance(steps)
            await self.send(packed(FRAMES, (first, *frames.shape[:2]), frames))
            await self._tell()
        if self.race.over:
            self._playing.clear()
            await self.say("over", step=self.race.step_count)

    async def _tell(self) -> None:
        for i, lane in enumerate(self.race.lanes):
            if lane.ended is not None and i not in self._told:
                self._told.add(i)
                await self.say("ended", racer=i, step=self.race.step_count, text=lane.ended)

    async def _begin(self, chosen: settings.Settings) -> None:
        self._playing.clear()
        race = Race(chosen)  # raises before anything is replaced
        self.race, self._told, self._due = race, set(), 0.0
        await self.say("race", race=settings.write(chosen), surface=described(chosen.surface))
        await self.send(packed(MAP, (GRID,), grid(chosen.surface)))
        frame = race.frame()
        await self.send(packed(FRAMES, (0, 1, len(frame)), frame))

    async def _start(self, message: dict[str, Any]) -> None:
        await self._begin(settings.read(message.get("race")))
        if message.get("play") is True:
            self._playing.set()

    async def _set(self, message: dict[str, Any]) -> None:
        racer, name, value = message.get("racer"), str(message.get("name")), message.get("value")
        if self.race.change(racer, name, value):
            changed = settings.write(self.race.settings)["changes"]
            await self.say("changed", step=self.race.step_count, racer=racer, name=name, changes=changed)
            return
        playing = self._playing.is_set()
        await self._begin(self.race.with_value(racer, name, value))
        if playing:
            self._playing.set()

    async def _play(self, message: dict[str, Any]) -> None:
        self.speed = settings.number("speed", message.get("speed", self.speed), 0.1, FASTEST)
        if not self.race.over:
            self._playing.set()

    async def _pause(self, message: dict[str, Any]) -> None:
        self._playing.clear()
        await self.say("paused", step=self.race.step_count)

    async def _step(self, message: dict[str, Any]) -> None:
        self._playing.clear()
        await self._advance(1)

    async def _back(self, message: dict[str, Any]) -> None:
        await self._begin(self.race.from_here())

    async def _program(self, message: dict[str, Any]) -> None:
        await self.say("program", text=program.of_race(self.race))

    async def _export(self, message: dict[str, Any]) -> None:
        text = await asyncio.to_thread(recording, self.race)  # half a second, in which other pages go on
        await self.say("file", name="gdfast-lab.html", text=text)
