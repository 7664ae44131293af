"""Facts about this build and this machine, for bug reports and benchmarks."""

import platform

import numpy as np

from gdfast._version import __version__ as __version__
from gdfast.engine import _plan, _team, isa, threads


def config() -> dict[str, str]:
    """Return facts about the build and the machine by name."""
    return {
        "gdfast": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instruction sets": ", ".join(isa.available_levels()),
        "in use": isa.level_name(isa.rules),
        "compiler": _plan.COMPILER,
        "openmp": "yes" if _team.HAS_OPENMP else "no: every step runs on one thread",
        "threading": _team.backend(),
        "cpus for this process": str(threads.available_cpus()),
        "threads": str(threads.get_num_threads()) + (" (forked: one)" if _team.forked() else ""),
    }


def show_config() -> None:
    """Print versions, the instruction set in use, the compiler, and the threads.

    Examples
    --------
    >>> import gdfast
    >>> gdfast.show_config()  # doctest: +ELLIPSIS
    gdfast ...
    """
    facts = config()
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
