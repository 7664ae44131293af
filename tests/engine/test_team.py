"""The threads that carry parts out: nobody waits for one that does not come, and none is left behind."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import gdfast
from gdfast.engine import _team, threads

ROOT = Path(__file__).parents[2]
N = 400_000

pytestmark = pytest.mark.skipif("team" not in _team.BACKENDS, reason="built without POSIX threads")


@pytest.fixture
def backend():
    yield _team.choose
    _team.choose(os.environ.get("GDFAST_THREADING"))


@pytest.fixture(autouse=True)
def many_cpus(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 4)
    monkeypatch.setattr(_team, "openmp_threads", lambda: 4)


def run(steps=4, n=N, **options):
    param = np.linspace(-1, 1, n, dtype=np.float32)
    opt = gdfast.AdamW(param, clip_norm=1.0, ema_decay=0.9, **options)
    for step in range(steps):
        opt.step(np.cos(param + step))
    return param.tobytes(), opt.ema.tobytes(), opt.last_norm


def test_work_completes_while_no_helper_comes(backend):
    """Helpers that are there but never run must not be waited for: what they would have done, the caller does."""
    backend("team")
    expected = run()
    assert _team.helpers() >= 3
    _team.hold_helpers(True)
    try:
        assert run() == expected
    finally:
        _team.hold_helpers(False)


def test_the_backends_leave_the_same_bits(backend):
    backend("team")
    expected = run()
    backend("openmp")
    assert run() == expected == run(n_threads=1)


def test_estimators_leave_the_same_bits_whoever_works(backend):
    pytest.importorskip("sklearn")
    from gdfast.sklearn import GDClassifier, MLPClassifier

    rng = np.random.default_rng(0)
    X = rng.standard_normal((4_000, 40)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)

    def fit(n_threads):
        linear = GDClassifier(max_iter=3, random_state=0, n_threads=n_threads).fit(X, y)
        network = MLPClassifier((64,), max_iter=2, tol=None, random_state=0, n_threads=n_threads).fit(X, y)
        return linear.coef_.tobytes(), *(coef.tobytes() for coef in network.coefs_)

    results = []
    for name in _team.BACKENDS:
        backend(name)
        results += [fit(4), fit(1)]
    backend("team")
    _team.hold_helpers(True)
    try:
        results.append(fit(4))
    finally:
        _team.hold_helpers(False)
    assert all(result == results[0] for result in results)


def test_more_callers_than_slots():
    """Each Python thread has an optimizer of its own; those for whom there is no slot work alone."""
    expected, results = run(2), {}

    def work(i):
        results[i] = run(2)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [results[i] for i in range(12)] == [expected] * 12


def test_no_helper_more_than_are_asked_for():
    run(2)
    before = _team.helpers()
    for _ in range(20):
        run(1)
    assert _team.helpers() == before


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "GDFAST_NUM_THREADS": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


STEP = """
import os, time
import numpy as np
import gdfast
from gdfast.engine import _team, threads
threads.available_cpus = lambda: 3
param = np.zeros(2_000_000, np.float32)
opt = gdfast.Adam(param, n_threads=3)
opt.step(np.ones_like(param))
"""


def test_helpers_sleep_when_there_is_nothing_to_do():
    code = "assert _team.helpers() == 2\ntime.sleep(0.2)\nbefore = time.process_time()\ntime.sleep(0.5)\n"
    result = python(STEP + code + "print(time.process_time() - before)", GDFAST_THREADING="team")
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.1  # of CPU time, in half a second


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux's /proc")
def test_helpers_take_no_signals():
    code = """
import signal
masks = []
for task in os.listdir("/proc/self/task"):
    status = open(f"/proc/self/task/{task}/status").read()
    masks.append(int(status.split("SigBlk:")[1].split()[0], 16))
interrupt = 1 << signal.SIGINT - 1
print(sum(bool(mask & interrupt) for mask in masks))
"""
    result = python(STEP + code, GDFAST_THREADING="team")
    assert result.stdout == "2\n", result.stderr


def test_choosing_a_backend_by_environment():
    ask = "import gdfast; from gdfast.engine import _team; print(_team.backend())"
    assert python(ask, GDFAST_THREADING="openmp").stdout == "openmp\n"
    assert python(ask, GDFAST_THREADING="").stdout == "team\n"
    result = python(ask, GDFAST_THREADING="tbb")
    assert "ImportError: GDFAST_THREADING=tbb cannot be used: this build has team, openmp" in result.stderr


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_under_a_sanitizer(sanitizer, tmp_path):
    compiler, program = shutil.which("cc"), tmp_path / "stress"
    source = ROOT / "tests" / "helpers" / "team_stress.c"
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    if compiler is None or not source.exists():
        pytest.skip("needs the source tree and a C compiler")
    made = subprocess.run(
        [compiler, "-O1", "-g", *flags, f"-I{ROOT / 'src'}", str(source), "-o", str(program), "-lpthread"],
        capture_output=True,
        text=True,
    )
    if made.returncode and "sanitize" in made.stderr + made.stdout:
        pytest.skip("the compiler has no such sanitizer")
    assert made.returncode == 0, made.stderr
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "helpers did" in result.stdout


def test_a_late_helper_takes_no_part_of_the_next_job(tmp_path):
    """Looks after every store of the publisher, between which the system may well suspend it."""
    compiler, program = shutil.which("cc"), tmp_path / "late"
    source = ROOT / "tests" / "helpers" / "team_late.c"
    if compiler is None or not source.exists():
        pytest.skip("needs the source tree and a C compiler")
    header = (ROOT / "src" / "engine" / "team.h").read_text()
    stores = r"(#define gdfast_(?:set|release)\(place, value\)) (.*)"
    watched, found = re.subn(stores, r"\1 (\2, late())", header)
    assert found == 2
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "watched_team.h").write_text(watched)
    include = [f"-I{tmp_path}", f"-I{ROOT / 'src'}"]
    subprocess.run([compiler, "-O1", *include, str(source), "-o", str(program), "-lpthread"], check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout
    assert " 0 parts taken" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="needs CPU affinity")
def test_a_helper_on_its_callers_cpu_leaves_short_jobs_alone(tmp_path):
    """It would have only the time that it takes from the caller, and then spin on its CPU."""
    compiler, program = shutil.which("cc"), tmp_path / "one_cpu"
    source = ROOT / "tests" / "helpers" / "team_one_cpu.c"
    if compiler is None or not source.exists():
        pytest.skip("needs the source tree and a C compiler")
    subprocess.run([compiler, "-O1", f"-I{ROOT / 'src'}", str(source), "-o", str(program), "-lpthread"], check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout) == (0, "1 helpers, 0 parts of short jobs, paused 1\n")
