"""A short look at an installed gdfast: a step, a fit, the command line, imports beside others in every order.

Runs away from the source tree, with the Python whose gdfast is meant: `python tools/smoke.py`. What is not installed is
named and left out; `--need torch,sklearn` makes that an error. Each part is a process of its own, and one that hangs is
a failure with a name: it uses no CPU for long, or far too much. Time alone says nothing on a busy machine.
"""

import argparse
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Seconds of a part: of CPU time in all, where a part takes about 10; and of time in which it neither uses nor wants it.
MOST_CPU = 300
MOST_IDLE = 120

STEP = """
import numpy as np
import gdfast
assert "site-packages" in gdfast.__file__, gdfast.__file__
for optimizer in (gdfast.SGD, gdfast.Adagrad, gdfast.RMSprop, gdfast.Adam, gdfast.AdamW):
    native, reference = np.ones(400_000, np.float32), np.ones(400_000, np.float32)
    one, other = optimizer(native, n_threads=2), optimizer(reference, engine="numpy")
    for step in range(5):
        grad = np.sin(native + step)
        one.step(grad)
        other.step(grad)
    assert native.tobytes() == reference.tobytes() and native[0] != 1.0, optimizer
assert (gdfast.get_include() and gdfast.native.CODES)["OK"] == 0
gdfast.show_config()
"""

# Two optimizers in two threads at once, without the interpreter's lock where there is none.
THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import gdfast
def train(optimizer, engine):
    w = np.ones(50_000, np.float32)
    opt = optimizer(w, n_threads=2, engine=engine)
    for step in range(100):
        opt.step(np.cos(w + np.float32(step)))
    return w.tobytes()
kinds = [gdfast.Adam, gdfast.SGD]
with ThreadPoolExecutor(2) as threads:
    native = list(threads.map(train, kinds, ["native"] * 2))
assert native == [train(kind, "numpy") for kind in kinds]
if "t" in sys.abiflags:
    assert not sys._is_gil_enabled(), "gdfast has turned the interpreter's lock on"
"""

FIT = """
import numpy as np
from gdfast.sklearn import GDClassifier, MLPRegressor
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 20))
assert GDClassifier(random_state=0, max_iter=20).fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0) > 0.9
assert MLPRegressor(random_state=0, max_iter=20).fit(X, X[:, 0]).score(X, X[:, 0]) > 0.5
"""

# After the imports, in the order given: every library works, again and again, and the process gets no more threads.
ORDER = """
import os
import numpy as np
def work():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 30))
    w = np.ones(1_000_000, np.float32)
    opt = gdfast.Adam(w, n_threads=2)
    for _ in range(3):
        opt.step(np.ones_like(w))
    if "torch" in NAMES:
        layer = torch.nn.Linear(300, 300)
        torch_opt = torch.optim.Adam(layer.parameters())
        layer(torch.ones(500, 300)).square().mean().backward()
        torch_opt.step()
        from gdfast.torch import Adam
        Adam(layer.parameters()).step()
    if "sklearn" in NAMES:
        from sklearn.cluster import KMeans
        from gdfast.sklearn import GDClassifier
        GDClassifier(random_state=0, max_iter=3).fit(X, X[:, 0] > 0)
        KMeans(3, n_init=1, random_state=0).fit(X)
    if "pyarrow" in NAMES:
        from pyarrow.compute import sum as total
        assert total(pyarrow.array(np.arange(1000))).as_py() == 499500
def threads():
    return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
for _ in range(3):
    work()
before = threads()
for _ in range(10):
    work()
assert threads() <= before, (before, threads())
"""


def cpu_time(pid: int) -> float:
    """Return the seconds of CPU time that a process has used; the clock's where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return time.monotonic()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wants_cpu(pid: int) -> bool:
    """Return whether a thread of a process runs, or would if it got a CPU or its disk."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread has ended meanwhile
        return True
    return any(stat.rpartition(")")[2].split()[0] in "RD" for stat in stats)


def hangs(process: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a process; return in which way it hangs, empty if it has ended."""
    start = seen = cpu_time(process.pid)
    since = time.monotonic()
    while True:
        try:
            process.wait(0.2)
            return ""
        except subprocess.TimeoutExpired:
            used = cpu_time(process.pid)
        if used > seen or wants_cpu(process.pid):
            seen, since = used, time.monotonic()
        if used - start > MOST_CPU:
            return f"has used {MOST_CPU} s of CPU time"
        if time.monotonic() - since > MOST_IDLE:
            return f"has used no CPU time for {MOST_IDLE} s"


def run(name: str, arguments: list[str], folder: str) -> None:
    """Run a part with this Python; end with its output if it fails or hangs, and then with where each thread is."""
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-X", "faulthandler", *arguments]
        with subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT) as process:
            how = hangs(process)
            if how:
                process.send_signal(signal.SIGABRT)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if how:
        sys.exit(f"smoke: {name} hangs: it {how}\n{said}")
    if process.returncode:
        sys.exit(f"smoke: {name} failed ({process.returncode})\n{said}")
    print("smoke: ok:", name, flush=True)


def main() -> None:
    """Run every part that the installed libraries allow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--need", default="", help="libraries that must be installed, with commas between them")
    need = [name for name in parser.parse_args().need.split(",") if name]
    found = [name for name in ("torch", "sklearn", "pyarrow") if importlib.util.find_spec(name)]
    missing = [name for name in need if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"smoke: not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        run("a step", ["-c", STEP], folder)
        run("two threads", ["-c", THREADS], folder)
        if "sklearn" in found:
            run("a fit", ["-c", FIT], folder)
        if importlib.util.find_spec("typer") and "sklearn" in found:
            run("gdfast train digits", ["-m", "gdfast", "train", "digits"], folder)
            assert any(Path(folder).iterdir()), "gdfast train digits wrote no model"
        for order in itertools.permutations(("gdfast", *found)):
            imports = "".join(f"import {name}\n" for name in order)
            run(", ".join(order), ["-c", f"NAMES = {found!r}\n{imports}{ORDER}"], folder)
    print("smoke: all passed; not installed:", ", ".join({"torch", "sklearn", "pyarrow"} - set(found)) or "nothing")


if __name__ == "__main__":
    main()
