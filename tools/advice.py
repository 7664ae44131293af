"""Whether what an error says to install is enough, for every use of gdfast that begins with its wheel alone.

`python tools/advice.py WHEEL`; `make wheels` calls it. A use that needs more must say so in a sentence with
``pip install "gdfast[EXTRAS]"``, and must work once just that was done in an empty environment without a compiler.
PyTorch is left out, being large.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT = 600  # seconds of a use
ROWS = "text,spam\n" + 'now cheap pills,yes\n"lunch, at noon",no\n' * 50
STEP = "import numpy as np, gdfast; opt = gdfast.Adam(np.ones(9)); opt.step(np.ones(9)); assert opt.step_count == 1"
FIT = "from gdfast.sklearn import GDClassifier as C; assert C().fit([[0], [1]] * 9, [0, 1] * 9).score([[1]], [1])"
SAVE = "import numpy as np, gdfast; opt = gdfast.SGD(np.ones(9)); gdfast.save('it', opt); gdfast.load('it', opt)"
SEARCH = (
    "import numpy as np, gdfast; w = np.ones(2); gdfast.LBFGS(w).step(lambda: (w @ w, 2 * w)); assert abs(w).max() < 1"
)
DRAW = "from gdfast import plot, schedules; plot.schedules({'a': schedules.Cosine(1.0, 9)}, 9)"
READ = "from gdfast.tables import CSV; CSV('messages.csv', target='spam')"
MPI = "import numpy as np, gdfast.mpi; gdfast.mpi.sharded(gdfast.SGD, np.ones(9)).step(np.ones(9))"
ONNX = "from gdfast.sklearn import register_onnx_converters; register_onnx_converters()"
# Name -> command. Those whose errors name the same extras run in one environment, in this order.
USES = {
    "a step": ["python", "-c", STEP],
    "a fit": ["python", "-c", FIT],
    "a checkpoint": ["python", "-c", SAVE],
    "L-BFGS": ["python", "-c", SEARCH],
    "a picture": ["python", "-c", DRAW],
    "a stream": ["python", "-c", READ],
    "MPI": ["python", "-c", MPI],
    "Dask": ["python", "-c", "import gdfast.dask"],
    "ONNX": ["python", "-c", ONNX],
    "a notebook": ["python", "-c", "from gdfast.lab import Surface; Surface('ravine')"],
    "gdfast --version": ["gdfast", "--version"],
    "gdfast info": ["gdfast", "info"],
    "gdfast plot": ["gdfast", "plot", "paths", "ravine", "--steps", "2", "--out", "paths.gif"],
    "gdfast lab": ["gdfast", "lab", "--no-browser"],
    "gdfast train digits": ["gdfast", "train", "digits", "--quiet"],
    "gdfast train FILE.csv": ["gdfast", "train", "messages.csv", "--target", "spam", "--text", "text", "--quiet"],
    "gdfast lr-find": ["gdfast", "lr-find", "messages.csv", "--target", "spam", "--text", "text", "--out", "lr.png"],
    "gdfast predict": ["gdfast", "predict", "messages-model", "messages.csv", "--out", "said.csv"],
    "gdfast evaluate": ["gdfast", "evaluate", "messages-model", "messages.csv"],
    "gdfast show": ["gdfast", "show", "messages-model"],
}
NEEDS_NOTHING = {"a step"}


@contextmanager
def environment(wheel: Path, extras: str = "") -> Iterator[tuple[Path, dict[str, str]]]:
    """Make an environment with the wheel; give an empty folder, and the variables to run with."""
    with tempfile.TemporaryDirectory() as folder:
        work, programs = Path(folder, "work"), Path(folder, "venv", "bin")
        venv.create(programs.parent)
        work.mkdir()
        (work / "messages.csv").write_text(ROWS)
        variables = {"PATH": str(programs), "HOME": folder}  # no compiler, nothing of this machine's settings
        variables |= {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_"))}
        assert not any(shutil.which(name, path=variables["PATH"]) for name in ("cc", "gcc", "clang"))
        wanted = f"gdfast{extras and f'[{extras}]'} @ {wheel.as_uri()}"
        command = [sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet"]
        subprocess.run(
            [*command, "--only-binary", ":all:", wanted], check=True, env=variables | {"PATH": os.environ["PATH"]}
        )
        yield work, variables


def run(words: list[str], work: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment."""
    program = shutil.which(words[0], path=variables["PATH"])
    assert program, words[0]
    if words[1] == "lab":
        return answers([program, *words[1:]], work, variables)
    return subprocess.run(
        [program, *words[1:]], cwd=work, env=variables, capture_output=True, text=True, timeout=LIMIT, check=False
    )


def answers(command: list[str], work: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a server; if it prints an address, ask for that page and end it."""
    with subprocess.Popen(
        command, cwd=work, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        try:
            for line in server.stdout:
                if line.startswith("http://127.0.0.1"):
                    with urllib.request.urlopen(line.strip(), timeout=60) as page:
                        status = 0 if b"<html" in page.read() else 1
                    return subprocess.CompletedProcess(command, status, line, "")
            return subprocess.CompletedProcess(command, server.wait(LIMIT), "", server.stderr.read())
        finally:
            server.kill()


def advice(name: str, wheel_only: tuple[Path, dict[str, str]]) -> str:
    """Return the extras that the use's error names; empty if it works without."""
    done = run(USES[name], *wheel_only)
    said = re.search(r'pip install "gdfast\[([\w,]+)\]".*\n*$', done.stderr)  # in the last line
    if (done.returncode == 0) != (name in NEEDS_NOTHING) or (done.returncode and not said):
        sys.exit(f"advice: {name} with the wheel alone ended with {done.returncode} and no advice\n{done.stderr}")
    if USES[name][0] == "gdfast" and done.stderr.count("\n") != 1:
        sys.exit(f"advice: {name} must say what it needs in one line\n{done.stderr}")
    return said[1] if said else ""


def main() -> None:
    """Ask every use what it needs, install just that, and use it."""
    wheel = Path(sys.argv[1]).resolve()
    groups: dict[str, list[str]] = {}
    with environment(wheel) as wheel_only:
        for name in USES:
            groups.setdefault(advice(name, wheel_only), []).append(name)
    for extras, names in groups.items():
        if not extras:
            continue
        with environment(wheel, extras) as made:
            for name in names:
                done = run(USES[name], *made)
                if done.returncode:
                    sys.exit(f"advice: {name} fails with gdfast[{extras}]\n{done.stdout}{done.stderr}")
        print(f"advice: gdfast[{extras}] is all that is needed for", ", ".join(names), flush=True)


if __name__ == "__main__":
    main()
