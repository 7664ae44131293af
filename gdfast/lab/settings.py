"""All that makes a race what it is, as plain data: what a link holds, a program says and a page sends.

The data comes from a page, or from an address that somebody sent: everything is checked before anything is made of it.

>>> race = read({"surface": "ravine", "racers": [{"rule": "SGD", "values": {"lr": 0.04}}]})
>>> race.racers[0].values, race.steps, write(race)["start"]
({'lr': 0.04}, 400, [-9.0, 1.4])
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gdfast.checkpoint.settings import to_data
from gdfast.lab import rules
from gdfast.lab.errors import LabError
from gdfast.lab.surfaces import FARTHEST, SURFACES, Pair, Surface, of_formula

__all__ = ["Change", "Racer", "Settings", "read", "write"]

MOST_RACERS = 8
MOST_STEPS = 20_000
MOST_CHANGES = 500
MOST_NOISE = 1e3
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Racer:
    """An optimizer, and the hyperparameters that are not its defaults."""

    rule: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """A hyperparameter that is set before a step, counted from 0."""

    step: int
    racer: int
    name: str
    value: Any


@dataclass(frozen=True)
class Settings:
    """A race: where, who, from which point, how long, and what was changed on the way.

    Attributes
    ----------
    surface : Surface
    key : str or None
        Its name in `SURFACES`; None for a formula of one's own.
    racers : tuple of Racer
    start : pair of float
    noise : float
        Standard deviation of what is added to each element of a gradient.
    seed : int
        Of the noise; the same for each racer.
    steps : int
        How long the race is.
    dtype : {"float64", "float32"}
        Of the point that is optimized.
    changes : tuple of Change
        In the order of their steps.
    """

    surface: Surface
    key: str | None
    racers: tuple[Racer, ...]
    start: Pair
    noise: float
    seed: int
    steps: int
    dtype: str
    changes: tuple[Change, ...]


def read(data: Any) -> Settings:
    """Return the settings that JSON data says.

    Raises
    ------
    LabError
        Naming what is wrong in it.
    """
    if not isinstance(data, dict):
        raise LabError(f"a race must be an object with surface and racers; got {type(data).__name__}")
    unknown = data.keys() - {"surface", "racers", "start", "noise", "seed", "steps", "dtype", "changes"}
    if unknown:
        raise LabError(f"a race has no {', '.join(map(repr, sorted(unknown)))}")
    surface, key = _surface(data.get("surface", "ravine"))
    racers = _list("racers", data.get("racers", []), MOST_RACERS)
    if data.get("dtype", "float64") not in DTYPES:
        raise LabError(f"dtype must be one of {', '.join(DTYPES)}; got {data['dtype']!r}")
    read_racers = tuple(map(_racer, racers))
    steps = _count("steps", data.get("steps", 400), 1, MOST_STEPS)
    changes = (_change(change, read_racers) for change in _list("changes", data.get("changes", []), MOST_CHANGES))
    return Settings(
        surface,
        key,
        read_racers,
        _start(data.get("start", surface.start)),
        number("noise", data.get("noise", surface.noise), 0.0, MOST_NOISE),
        _count("seed", data.get("seed", 0), 0, 2**32 - 1),
        steps,
        data.get("dtype", "float64"),
        tuple(sorted(changes, key=lambda change: change.step)),
    )


def write(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON data, from which `read` makes the same."""
    view = [*settings.surface.xlim, *settings.surface.ylim]
    return {
        "surface": settings.key or {"formula": settings.surface.text, "view": view},
        "racers": [
            {"rule": racer.rule, "values": {name: to_data(value) for name, value in racer.values.items()}}
            for racer in settings.racers
        ],
        "start": list(settings.start),
        "noise": settings.noise,
        "seed": settings.seed,
        "steps": settings.steps,
        "dtype": settings.dtype,
        "changes": [[change.step, change.racer, change.name, to_data(change.value)] for change in settings.changes],
    }


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number from `low` to `high` as a float.

    Raises
    ------
    LabError
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise LabError(f"{name} must be a number from {low:g} to {high:g}; got {value!r}")
    return float(value)


def _count(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise LabError(f"{name} must be a whole number from {low} to {high}; got {value!r}")
    return value


def _list(name: str, value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise LabError(f"{name} must be a list of at most {most}; got {_size(value)}")
    return value


def _size(value: Any) -> str:
    return f"{len(value)}" if isinstance(value, list) else repr(value)


def _surface(data: Any) -> tuple[Surface, str | None]:
    if isinstance(data, dict) and data.keys() == {"formula", "view"}:
        return of_formula(data["formula"], data["view"]), None
    if not isinstance(data, str) or data not in SURFACES:
        raise LabError(f"surface must be one of {', '.join(SURFACES)}, or a formula with its view; got {data!r}")
    return SURFACES[data], data


def _racer(data: Any) -> Racer:
    if not isinstance(data, dict) or data.keys() != {"rule", "values"} or not isinstance(data["values"], dict):
        raise LabError(f"a racer must be an object with its rule and its values; got {data!r}")
    rule = data["rule"]
    if not isinstance(rule, str) or rule not in rules.RULES:
        raise LabError(f"rule must be an optimizer of gdfast: {', '.join(rules.RULES)}; got {rule!r}")
    values = {name: rules.as_value(rule, name, value) for name, value in data["values"].items()}
    return Racer(rule, values)


def _start(data: Any) -> Pair:
    if not isinstance(data, list | tuple) or len(data) != 2:
        raise LabError(f"start must be a pair of numbers; got {data!r}")
    x, y = (number(f"start[{i}]", value, -FARTHEST, FARTHEST) for i, value in enumerate(data))
    return x, y


def _change(data: Any, racers: tuple[Racer, ...]) -> Change:
    if not isinstance(data, list) or len(data) != 4:
        raise LabError(f"a change must be a step, a racer, a name and a value; got {data!r}")
    step, racer, name, value = data
    _count("a change's step", step, 0, MOST_STEPS)
    if isinstance(racer, bool) or not isinstance(racer, int) or not 0 <= racer < len(racers):
        raise LabError(f"a change's racer must be one of the {len(racers)}, counted from 0; got {racer!r}")
    if not isinstance(name, str):
        raise LabError(f"a change's name must be text; got {name!r}")
    return Change(step, racer, name, rules.as_value(racers[racer].rule, name, value))
