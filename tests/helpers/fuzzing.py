"""Cases made up from seeds, in processes of their own: one that ends its process is a failure with its seed, and the
next are run all the same. By hand: `python tests/helpers/fuzzing.py FILE FUNCTION FIRST LAST`.
"""

import contextlib
import faulthandler
import functools
import inspect
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable

PATIENCE = 60  # seconds for a case
MEMORY = 12 << 30  # bytes of addresses for a process: what asks for more fails in its own name


def run_cases(function: Callable[[int], object], n: int, first: int = 0) -> list[str]:
    """Run ``function(seed)``, of a file of tests, for n seeds; return what went wrong, with the seed of each."""
    failures: list[str] = []
    seed, stop = first, first + n
    while seed < stop:
        command = [
            sys.executable,
            __file__,
            inspect.getfile(inspect.unwrap(function)),
            function.__name__,
            str(seed),
            str(stop),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        seed = stop
        for part in result.stdout.split("\0")[1:]:
            seed, _, error = part.partition(" ")
            seed = int(seed) + 1
            if error:
                failures.append(f"seed {seed - 1}: {error}")
        if result.returncode:
            failures.append(f"seed {seed - 1}: the process ended with {result.returncode}\n{result.stderr[-3000:]}")
        if len(failures) > 20:
            break
    return failures


def refusable(function: Callable[[int], object]) -> Callable[[int], object]:
    """Make a case of a function that may also raise ValueError or TypeError, which is how bad input is refused."""

    @functools.wraps(function)
    def case(seed: int) -> None:
        with contextlib.suppress(ValueError, TypeError):
            function(seed)

    return case


def cases_wanted(usually: int) -> int:
    """Return how many cases to run: more than usually, if the environment's GDFAST_FUZZ_CASES says so."""
    return int(os.environ.get("GDFAST_FUZZ_CASES", usually))


def _run(file: str, name: str, first: int, stop: int) -> None:
    """Be the process: say the seed of each case before it runs, and what it raised."""
    try:
        import resource

        if "asan" not in os.environ.get("LD_PRELOAD", ""):  # which asks for terabytes
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except ImportError:  # not everywhere
        pass
    function = runpy.run_path(file)[name]
    for seed in range(first, stop):
        print(f"\0{seed} ", end="", flush=True)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            function(seed)
        except BaseException:
            print(traceback.format_exc(), end="", flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    faulthandler.enable()
    _run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
