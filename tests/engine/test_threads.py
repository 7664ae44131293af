"""The thread policy, and steps from several threads and processes."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import gdfast
from gdfast.engine import _team, threads

BIG = 1_000_000


@pytest.fixture(autouse=True)
def fresh_policy(monkeypatch):
    monkeypatch.delenv("GDFAST_NUM_THREADS", raising=False)
    threads._from_environment.cache_clear()
    yield
    gdfast.set_num_threads(None)
    threads._from_environment.cache_clear()


@pytest.fixture
def cpus(monkeypatch):
    def have(n, openmp=None):
        monkeypatch.setattr(threads, "available_cpus", lambda: n)
        monkeypatch.setattr(_team, "openmp_threads", lambda: openmp or n)

    return have


def test_order_of_precedence(cpus, monkeypatch):
    cpus(8, openmp=5)
    assert threads.resolve(None) == 5
    monkeypatch.setenv("GDFAST_NUM_THREADS", "4")
    threads._from_environment.cache_clear()
    assert threads.resolve(None) == 4
    gdfast.set_num_threads(3)
    assert threads.resolve(None) == gdfast.get_num_threads() == 3
    assert threads.resolve(2) == 2


def test_never_more_than_the_cpus(cpus):
    cpus(2, openmp=64)
    assert threads.resolve(None) == 2
    assert threads.resolve(100) == 2
    gdfast.set_num_threads(100)
    assert gdfast.get_num_threads() == 2


def test_negative_counts_from_the_cpus(cpus):
    cpus(8)
    assert [threads.resolve(n) for n in (-1, -2, -8, -9, -100)] == [8, 7, 1, 1, 1]


@pytest.mark.parametrize(("bad", "error"), [(0, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_bad_counts(bad, error):
    with pytest.raises(error, match="n must"):
        gdfast.set_num_threads(bad)
    with pytest.raises(error, match="n_threads must"):
        gdfast.SGD(np.zeros(1), n_threads=bad)
    gdfast.SGD(np.zeros(1), n_threads=np.int64(2))


@pytest.mark.parametrize("bad", ["0", "two", "1.5"])
def test_bad_environment(bad, monkeypatch):
    monkeypatch.setenv("GDFAST_NUM_THREADS", bad)
    threads._from_environment.cache_clear()
    with pytest.raises(ValueError, match=f"GDFAST_NUM_THREADS must be an int and not 0; got '{bad}'"):
        gdfast.get_num_threads()


@pytest.mark.skipif(not _team.HAS_OPENMP, reason="needs OpenMP's own limit")
def test_threadpoolctl_and_omp_num_threads(monkeypatch):
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)
    with threadpool_limits(limits=3, user_api="openmp"):
        assert gdfast.get_num_threads() == 3
    ask = "from gdfast.engine import threads; threads.available_cpus = lambda: 8; print(threads.get_num_threads())"
    out = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, "OMP_NUM_THREADS": "6"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "6"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_affinity():
    ask = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]);"
        "import gdfast; print(gdfast.get_num_threads())"
    )
    out = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_affinity_that_is_changed_after_the_import_is_noticed():
    ask = (
        "import os, gdfast; all = os.sched_getaffinity(0); seen = [gdfast.get_num_threads()];"
        "os.sched_setaffinity(0, [min(all)]); seen.append(gdfast.get_num_threads());"
        "os.sched_setaffinity(0, all); seen.append(gdfast.get_num_threads()); print(*seen)"
    )
    out = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    before, narrow, after = map(int, out.stdout.split())
    assert (narrow, after) == (1, before)


@pytest.mark.parametrize(
    ("files", "group", "expected"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", np.inf),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, "0::/a/b", 0.5),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/", 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu:/", np.inf),
        ({}, None, np.inf),
    ],
)
def test_cgroup_quota(tmp_path, files, group, expected):
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    membership = tmp_path / "membership"
    if group is not None:
        membership.write_text(group + "\n")
    assert threads._cgroup_quota(str(tmp_path / "root"), str(membership)) == expected


def big_run(steps=3, n=BIG):
    param = np.linspace(-1, 1, n, dtype=np.float32)
    grad = np.cos(param)
    opt = gdfast.Adam(param)
    for _ in range(steps):
        opt.step(grad)
    return param


def test_a_forked_process_uses_one_thread(monkeypatch):
    monkeypatch.setattr(_team, "forked", lambda: True)
    assert threads.resolve(8) == gdfast.get_num_threads() == 1


def test_two_threads_with_two_optimizers():
    expected = big_run(20, 200_000).tobytes()
    results = {}

    def work(name):
        results[name] = big_run(20, 200_000).tobytes()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == {0: expected, 1: expected}


def test_second_thread_on_the_same_optimizer_gets_an_error():
    param, grad = np.zeros(BIG, np.float32), np.ones(BIG, np.float32)
    inside, leave = threading.Event(), threading.Event()

    def lr(step):
        inside.set()
        leave.wait(30)
        return 1.0

    opt = gdfast.SGD(param, lr=lr)
    worker = threading.Thread(target=opt.step, args=(grad,))
    worker.start()
    assert inside.wait(30)
    try:
        with pytest.raises(RuntimeError, match="another thread is stepping this SGD; one at a time"):
            opt.step(grad)
    finally:
        leave.set()
        worker.join()
    assert param[0] == -1.0
    assert opt.step_count == 1
    opt.step(grad)


def test_gil_is_free_while_a_step_runs():
    """A Python thread goes on counting while another is inside one long step."""
    param, grad = np.zeros(30_000_000, np.float32), np.zeros(30_000_000, np.float32)
    opt = gdfast.Adam(param, n_threads=1)
    opt.step(grad)
    stamps, done = [], threading.Event()

    def tick():
        while not done.is_set():
            stamps.append(time.perf_counter())
            time.sleep(0.0005)

    ticker = threading.Thread(target=tick)
    ticker.start()
    inside = 0
    for _ in range(20):
        start = time.perf_counter()
        opt.step(grad)
        end = time.perf_counter()
        inside += sum(start < stamp < end for stamp in stamps)
    done.set()
    ticker.join()
    # With the GIL held, a tick can only fall between two steps.
    assert inside >= 5
