"""What a native call costs, and matrix factorisation in Cython beside NumPy: `python -m benchmarks.native_call`.

The Cython module is that of the tests (tests/helpers/native), built in a temporary folder. Times are those of the
thread's CPU, so that other programs on the machine count less.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import gdfast
import gdfast.native

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
CALLS, ROUNDS = 200_000, 7
USERS, ITEMS, WIDTH, RATINGS, FEW = 50_000, 5_000, 32, 200_000, 2_000


def built() -> tuple[Any, Any]:
    """Return the example in Cython and in NumPy."""
    sys.path += [str(HELPERS), str(HELPERS / "native")]
    import factorize_numpy
    from native_build import SOURCES, build_cython

    with tempfile.TemporaryDirectory() as folder:
        return build_cython(SOURCES / "factorize.pyx", Path(folder)), factorize_numpy


def calls(module: Any) -> None:
    """Print what a whole step of four numbers costs, of which almost all is the call."""
    for optimizer in (gdfast.SGD, gdfast.Adam):
        param, grad = np.ones(4, np.float32), np.ones(4, np.float32)
        grads = np.array([grad.ctypes.data], np.uintp)
        times = []
        with gdfast.native.Plan(optimizer(param)) as plan:
            for _ in range(ROUNDS):
                start = time.thread_time()
                code = module.empty_calls(plan, CALLS, grads.ctypes.data)
                times.append((time.thread_time() - start) / CALLS)
                assert code == 0, gdfast.native.error(code)
        print(f"{optimizer.__name__:5} step of 4 numbers: {min(times) * 1e9:6.0f} ns at best, "
              f"{np.median(times) * 1e9:.0f} ns in the median of {ROUNDS} rounds")  # fmt: skip


def factorization(module: Any, in_numpy: Any) -> None:
    """Print the time of a rating in Cython and in NumPy."""
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(n, WIDTH), scale=0.1).astype(np.float32) for n in (USERS, ITEMS))
    data = rng.integers(0, USERS, RATINGS), rng.integers(0, ITEMS, RATINGS), rng.normal(size=RATINGS).astype(np.float32)
    opt = gdfast.Adam({"users": users, "items": items}, lr=0.01)
    with gdfast.native.Plan(opt) as plan:
        start = time.thread_time()
        module.epoch(plan, users, items, *data, 0.02)
        native = (time.thread_time() - start) / RATINGS
    start = time.thread_time()
    in_numpy.epoch(opt, users, items, *(array[:FEW] for array in data), np.float32(0.02))
    numpy = (time.thread_time() - start) / FEW
    print(f"a rating ({USERS} users, {ITEMS} items, {WIDTH} factors): Cython {native * 1e9:.0f} ns, "
          f"NumPy {numpy * 1e9:.0f} ns: {numpy / native:.0f} times faster")  # fmt: skip


if __name__ == "__main__":
    example, twin = built()
    calls(example)
    factorization(example, twin)
