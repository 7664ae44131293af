"""What this build and this machine are, for bug reports and benchmarks."""

import platform

import numpy as np

from gdfast import _engine, _native, _team, threads
from gdfast._version import __version__ as __version__


def config() -> dict[str, str]:
    """Return the build's and the machine's facts by name."""
    return {
        "gdfast": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instruction sets": ", ".join(_native.available_levels()),
        "in use": _native.level_name(_native.rules),
        "compiler": _engine.COMPILER,
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
