"""A race as one HTML file that plays without a server."""

import base64
import importlib.resources
import json
import re

import numpy as np

from gdfast.lab.race import Race
from gdfast.lab.settings import write
from gdfast.lab.surfaces import described, grid

__all__ = ["player", "recording", "script"]

MOST_FRAMES = 3000
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.MULTILINE)


def recording(race: Race) -> str:
    """Return an HTML page that plays a race as far as it has come, or, at its start, all of it.

    Parameters
    ----------
    race : Race
        It is left alone: the same steps are made again, from its settings.
    """
    steps = min(race.step_count or race.settings.steps, MOST_FRAMES)
    again = Race(race.settings)
    frames = [again.frame()[None], again.advance(steps)]
    data = {
        "race": {**write(race.settings), "steps": again.step_count},
        "surface": described(race.settings.surface),
        "heights": _encoded(grid(race.settings.surface)),
        "frames": _encoded(np.concatenate(frames)),
        "ended": {i: lane.ended for i, lane in enumerate(again.lanes) if lane.ended is not None},
    }
    # "<" as an escape, so that no text in the data can end the script
    return player("player.html", "player.js").replace("/* data */", json.dumps(data).replace("<", "\\u003c"))


def player(page: str, module: str) -> str:
    """Return a page that plays without a server, its style and module within, still without its data."""
    return _file(page).replace("/* style */", _file("lab.css")).replace("/* script */", script(module))


def script(name: str) -> str:
    """Return a module of the page with what it imports from others of the page, as one."""
    *imported, own = (IMPORT.sub("", _file(one)) for one in _with_imports(name))
    return "\n".join([*(re.sub(r"^export ", "", text, flags=re.M) for text in imported), own])


def _with_imports(name: str) -> list[str]:
    """Return the names of a module and of all that it imports, each behind those that it needs."""
    needed = [one for other in IMPORT.findall(_file(name)) for one in _with_imports(other)]
    return [*dict.fromkeys(needed), name]


def _file(name: str) -> str:
    return (importlib.resources.files("gdfast.lab") / "page" / name).read_text(encoding="utf-8")


def _encoded(numbers: object) -> str:
    return base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()
