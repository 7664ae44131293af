"""Hyperparameters as data, never as code.

A schedule of :mod:`gdfast.schedules` is ``{"schedule": class name, "arguments": {...}}``, with ``"state"`` if it has
state. Any other callable is ``{"callable": its name}``: a file without code cannot hold a function, so loading keeps
the function that the optimizer has for this hyperparameter, as PyTorch's LambdaLR does. It must have one.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from gdfast import schedules
from gdfast.checkpoint.data import pack, unpack
from gdfast.checkpoint.errors import MismatchError

#: the classes that a file may name; no other name is ever looked up
CLASSES: dict[str, Any] = {
    name: kind
    for name in schedules.__all__
    if isinstance(kind := getattr(schedules, name), type) and is_dataclass(kind)
}


def to_data(value: Any) -> Any:
    """Return a hyperparameter as JSON data."""
    if isinstance(value, tuple):
        return [to_data(item) for item in value]
    if not callable(value):
        return pack(value, "hyperparameter", {})
    if not _is_data(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return {"callable": f"{named.__module__}.{named.__qualname__}"}
    found = {
        "schedule": type(value).__name__,
        "arguments": {field.name: to_data(getattr(value, field.name)) for field in fields(value) if field.init},
    }
    if hasattr(value, "state_dict"):
        found["state"] = pack(value.state_dict(), "state", {})
    return found


def from_data(data: Any, own: Any, path: str) -> Any:
    """Return the hyperparameter that `to_data` converted to this data; `own` is the optimizer's present one.

    Raises
    ------
    MismatchError
        If a schedule is unknown or does not accept its arguments, or the optimizer has no function to keep.
    """
    if isinstance(data, list):
        owns = own if isinstance(own, tuple) and len(own) == len(data) else [None] * len(data)
        return tuple(from_data(item, its, f"{path}[{i}]") for i, (item, its) in enumerate(zip(data, owns, strict=True)))
    if not isinstance(data, dict):
        return data
    if "callable" in data:
        if not callable(own):
            raise MismatchError(
                f"{path} was a function of your own when saved, {data['callable']}, which cannot be stored in the "
                f"file: create the optimizer with it before loading; got {own!r}"
            )
        return own
    return _make(data, path)


def _make(data: dict[str, Any], path: str) -> Any:
    name = data.get("schedule")
    if not isinstance(name, str) or name not in CLASSES:
        raise MismatchError(f"{path} must be a schedule known to this version of gdfast; got {name!r}")
    try:
        arguments = {key: from_data(item, None, f"{path}.{key}") for key, item in data["arguments"].items()}
        schedule = CLASSES[name](**arguments)
        if hasattr(schedule, "load_state_dict"):
            schedule.load_state_dict(unpack(data["state"], {}))
    except MismatchError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MismatchError(f"{path} must be a {name} as gdfast writes it: {error}") from None
    return schedule


def _is_data(value: Any) -> bool:
    """Whether a schedule and all schedules within it are of classes in the table."""
    if isinstance(value, tuple):
        return all(map(_is_data, value))
    if not callable(value):
        return True
    return CLASSES.get(type(value).__name__) is type(value) and all(
        _is_data(getattr(value, field.name)) for field in fields(value)
    )
