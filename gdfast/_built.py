"""Imported first of all: where the native modules cannot be, it says what to do."""

import importlib

try:
    importlib.import_module("gdfast.arrays._bound")
except ModuleNotFoundError as error:  # pragma: no cover - seen by a test in a process of its own
    if error.name != "gdfast.arrays._bound":
        raise
    raise ImportError(
        "gdfast's native modules are not built here. Install the package (`pip install .`), or build them where they "
        "stand: `python setup.py build_ext --inplace`."
    ) from error
except ImportError as error:  # pragma: no cover - seen by a test in an interpreter of its own
    raise ImportError(
        "gdfast's native modules are built, but cannot be loaded here. They do not support subinterpreters: one "
        f"interpreter of a process can import them, as with NumPy. Use processes or threads. What Python says: {error}"
    ) from error
