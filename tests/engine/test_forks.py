"""Processes that were forked while threads were running, or in the midst of a step."""

import os
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

import gdfast

FORK = """
import multiprocessing
import numpy as np
import gdfast

def big_run():
    param = np.linspace(-1, 1, 1_000_000, dtype=np.float32)
    opt = gdfast.Adam(param)
    for _ in range(3):
        opt.step(np.cos(param))
    return param.tobytes()

def child(connection):
    connection.send(big_run())
    connection.send(gdfast.get_num_threads())

expected = big_run()  # OpenMP's threads are running now
here, there = multiprocessing.Pipe()
process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
process.start()
try:
    assert here.poll(60), "the child hangs"
    assert here.recv() == expected, "other bits"
    assert here.recv() == 1, "threads"
finally:
    process.kill()
    process.join()
"""


FORK_IN_A_STEP = """
import os, pickle, sys, tempfile, threading, time
import numpy as np
import gdfast

engine = sys.argv[1]
N = 200_000
param, grad = np.zeros(N, np.float32), np.ones(N, np.float32)
opt = gdfast.Adam(param, n_threads=1, engine=engine)
ahead = gdfast.Lookahead(gdfast.SGD(np.zeros(4)), k=1)
good, saved = opt.state_dict(), os.path.join(tempfile.mkdtemp(), "c")
gdfast.save(saved, opt)
done = threading.Event()

def steps():
    while not done.is_set():
        opt.step(grad)
        ahead.step(np.ones(4))

def refused(call):
    try:
        call()
    except RuntimeError as error:
        return "was in use by another thread when this process was forked" in str(error)
    return False

def child():
    # Forked while the other thread holds the lock, or between two steps, where nothing is amiss.
    torn = refused(lambda: opt.step(grad))
    assert torn == refused(lambda: opt.state_dict()) == refused(lambda: gdfast.save(saved + "2", opt)), "twice"
    assert torn == refused(lambda: pickle.dumps(opt)), "a copy"
    try:
        opt.load_state_dict({**good, "step_count": -1})
        raise AssertionError("a state that does not fit")
    except ValueError:
        assert torn == refused(lambda: opt.step(grad)), "mended by a load that failed"
    if os.getpid() % 2:
        gdfast.load(saved, opt)
    else:
        opt.load_state_dict(good)
        param[:] = 0
    assert opt.step_count == 0 and not opt.state["0"]["exp_avg"].any()
    opt.step(grad)
    alone = np.zeros(N, np.float32)
    gdfast.Adam(alone).step(grad)
    assert np.array_equal(alone, param), "other bits"
    ahead.load_state_dict(gdfast.Lookahead(gdfast.SGD(np.zeros(4)), k=1).state_dict())
    ahead.step(np.ones(4))
    # A lock that is held in the child itself is held.
    inside, leave = threading.Event(), threading.Event()
    def hold():
        with opt._stepping:
            inside.set()
            leave.wait()

    slow = threading.Thread(target=hold)
    slow.start()
    inside.wait()
    try:
        opt.step(grad)
        raise AssertionError("two at a time")
    except RuntimeError as error:
        assert "another thread is stepping" in str(error)
    leave.set()
    slow.join()
    opt.step(grad)
    return 10 + torn

worker = threading.Thread(target=steps)
worker.start()
codes = []
try:
    for _ in range(20):
        time.sleep(0.002)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = child()
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
finally:
    done.set()
    worker.join()
print(*codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_child_of_a_fork_in_the_midst_of_a_step(engine):
    """The lock is not held for ever: the child is told what it has, and goes on once it has loaded a checkpoint."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_IN_A_STEP, engine]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    codes = result.stdout.split()
    assert len(codes) == 20
    assert set(codes) <= {"10", "11"}, result.stderr
    assert "11" in codes  # at least one was forked in a step


FORK_BY_THE_HOLDER = """
import os, threading
import numpy as np
import gdfast

opt = gdfast.SGD(np.zeros(4))


def said():
    try:
        opt.step(np.ones(4))
    except RuntimeError as error:
        return str(error)
    return "stepped"


def asked(ask):
    answers = []
    other = threading.Thread(target=lambda: answers.append(ask()))
    other.start()
    other.join()
    return answers[0]


def forked(child):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if child() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


with opt._stepping:
    there = forked(lambda: "another thread" in asked(said) and asked(lambda: forked(lambda: "was forked" in said())))
    again = forked(lambda: forked(lambda: "another thread" in asked(said)))
assert there, "a thread that forks holds on; whom another thread forks away is told"
assert again, "two forks by the holder"
assert said() == "stepped"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_by_the_thread_that_holds_the_lock():
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_BY_THE_HOLDER]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr


def test_a_piece_left_open_by_a_fork_is_forgotten_with_the_rest(monkeypatch):
    """The tests above ask `NonBlockingLock` itself about other threads; here it says what it would after a fork."""
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    opt = gdfast.SGD(params, lr=1.0)
    good = opt.state_dict()
    opt.step_one("a", np.ones(2))

    class Torn:
        mending = staticmethod(lambda: nullcontext(True))

    monkeypatch.setattr(opt, "_stepping", Torn)
    opt.load_state_dict(good)
    monkeypatch.undo()
    opt.step({"a": np.ones(2), "b": np.ones(2)})
    assert params["b"].tolist() == [-1.0, -1.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_child_of_a_fork_works_without_hanging():
    result = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
