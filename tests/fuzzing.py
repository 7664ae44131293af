"""Seeded cases in child processes: one that ends its process, or never ends, is a failure with its number.

A case is a call of a function of a test module with a number, from which it makes up everything. It may raise
ValueError or TypeError, which is how bad input is refused; everything else is a failure. By hand:
`python fuzzing.py MODULE FUNCTION FIRST LAST`.
"""

import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

CLEAN = (ValueError, TypeError)
SECONDS = 600  # that all cases of a child may take together


def number_of_cases(default: int) -> int:
    """How many cases a test runs: more or fewer by GDFAST_FUZZ_CASES."""
    return int(os.environ.get("GDFAST_FUZZ_CASES", default))


def run_cases(function: Callable[[int], object], n: int, first: int = 0) -> None:
    """Run the cases first, ..., first + n - 1 of a module's function; assert that each ends well, or is refused."""
    failures, at, last = [], first, first + n
    while at < last:
        lines, fate = _child(function, at, last)
        failures += [line for line in lines if not line.isdigit()]
        reached = [int(line) for line in lines if line.isdigit()]
        if fate is not None:
            failures.append(f"case {reached[-1] if reached else at} {fate}")
            at = reached[-1] + 1 if reached else last
        else:
            at = last
    assert not failures, f"{len(failures)} of {n} cases of {function.__name__} failed:\n" + "\n".join(failures[:10])


def _child(function: Callable[[int], object], first: int, last: int) -> tuple[list[str], str | None]:
    """Return the lines that a child wrote, and what ended it early, if something did."""
    command = [sys.executable, "-W", "ignore", __file__, function.__module__, function.__name__, str(first), str(last)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode().splitlines(), f"did not end within {SECONDS} s"
    fate = f"ended its process with code {done.returncode}: {done.stderr[-500:]}" if done.returncode else None
    return done.stdout.splitlines(), fate


def _run(function: Callable[[int], object], first: int, last: int) -> None:
    """Run cases here: a line with each one's number before it begins, and one line about each that fails."""
    for case in range(first, last):
        print(case, flush=True)
        try:
            function(case)
        except CLEAN:
            pass
        except Exception:
            print(f"case {case} raised {' | '.join(traceback.format_exc().splitlines()[-6:])}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    module, name, *borders = sys.argv[1:]
    _run(getattr(importlib.import_module(module), name), *map(int, borders))
