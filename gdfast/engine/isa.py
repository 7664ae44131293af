"""Choosing the native loops: the best instruction-set level that both this machine and this build support."""

import importlib
import os
from types import ModuleType

from gdfast.engine import _plan

LEVELS = {"baseline": 0, "v3": 3, "v4": 4}


def _load(level: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"gdfast.engine._rules_{level}")
    except ModuleNotFoundError:
        return None


def available_levels() -> list[str]:
    """Return the levels that both this machine and this build support, the lowest first."""
    cpu = _plan.cpu_level()
    return [level for level, least in LEVELS.items() if least <= cpu and _load(level) is not None]


def choose(wanted: str | None) -> ModuleType:
    """Return the rules of the wanted level, or of the best one when none is named.

    Raises
    ------
    ImportError
        If the wanted level has no such name, or the machine or the build lacks it.
    """
    usable = available_levels()
    level = wanted or usable[-1]
    if level not in usable:
        raise ImportError(f"GDFAST_ISA={level} cannot be used: this machine and build have {', '.join(usable)}")
    rules = _load(level)
    assert rules is not None
    return rules


rules = choose(os.environ.get("GDFAST_ISA"))


def level_name(module: ModuleType) -> str:
    """Return the level a rules module was built for."""
    return module.__name__.rpartition("_rules_")[2]
