"""The library of faults.c, which makes system calls fail on demand, for a process that starts with LD_PRELOAD."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KINDS = ["open", "write", "fsync", "rename", "truncate", "mkdir", "chmod", "read"]  # as faults.c counts them


def library(folder: Path) -> Path:
    """Compile it into a folder; without a compiler, or elsewhere than on Linux, the test is skipped."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, on Linux")
    made = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"], check=True, timeout=60)
    return made
