"""Saving under failing system calls, a full disk and SIGKILL: always the old file or the new one, whole."""

import os
import subprocess
import sys
from pathlib import Path

import failing
import numpy as np
import pytest

import gdfast

ROOT = Path(__file__).parents[2]
KINDS = [kind for kind in failing.KINDS if kind != "read"]

COMMON = """
import ctypes, errno, os, random, resource, signal, sys, time
import numpy as np
import gdfast

path, SIZE = sys.argv[1], int(sys.argv[2])
param = np.zeros(SIZE)
opt = gdfast.SGD(param, momentum=0.5)
again = np.zeros(SIZE)
reader = gdfast.SGD(again, momentum=0.5)

def save(version):
    param[:] = opt.state["0"]["momentum_buffer"][:] = version
    gdfast.save(path, opt, extra=version)

def stored():
    version = gdfast.load(path, reader)
    assert (again == version).all() and (reader.state["0"]["momentum_buffer"] == version).all()
    return version

def alone():
    return os.listdir(os.path.dirname(path)) == [os.path.basename(path)]

save(1)
assert stored() == 1 and alone()
"""


def run(code, tmp_path, size=10_000, **environment):
    return subprocess.run(
        [sys.executable, "-c", COMMON + code, str(tmp_path / "checkpoint"), str(size)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


FAULTS = f"""
faults = ctypes.CDLL(None)
for kind, name in enumerate({KINDS}):
    faults.faults_arm(kind, -1, 0, 0)
    save(1)
    faults.faults_disarm()
    calls = faults.faults_count(kind)
    for nth in range(calls):
        for forever in (False, True):
            number = random.choice([errno.ENOSPC, errno.EIO])
            refused, where = None, (name, nth, forever)
            faults.faults_arm(kind, nth, forever, number)
            try:
                save(2)
            except OSError as error:
                refused = error
            faults.faults_disarm()
            assert refused is not None and refused.errno == number, where
            assert refused.filename == path, where
            renamed = name in ("fsync", "open") and nth == calls - 1  # the folder, after the rename
            assert stored() == (2 if renamed else 1), where
            assert alone(), where
            save(1)
    print(name, calls)
"""


@pytest.fixture(scope="session")
def faults(tmp_path_factory):
    """The library that makes system calls fail."""
    return failing.library(tmp_path_factory.mktemp("faults"))


def test_every_call_that_fails(tmp_path, faults):
    """Each open, write, fsync, rename and so on in turn, once and for good, in Python and in the library below it."""
    result = run(FAULTS, tmp_path, size=200_000, LD_PRELOAD=str(faults))  # a write an array, at least
    assert result.returncode == 0, result.stderr
    calls = dict(line.split() for line in result.stdout.splitlines())
    expected = {"open": 4, "write": 3, "fsync": 2, "rename": 1, "mkdir": 1, "chmod": 1}
    for name, least in expected.items():
        assert int(calls[name]) >= least, name


READS = """
faults = ctypes.CDLL(None)
READ, parts = 7, 0
faults.faults_arm(READ, -1, 0, 0)
stored()
faults.faults_disarm()
calls = faults.faults_count(READ)
for nth in range(calls):
    for forever in (False, True):
        again[:] = reader.state["0"]["momentum_buffer"][:] = 7
        faults.faults_arm(READ, nth, forever, errno.EIO)
        try:
            gdfast.load(path, reader)
        except OSError as error:
            faults.faults_disarm()
            assert error.errno == errno.EIO and error.filename == path
            assert (again == 7).all() and (reader.state["0"]["momentum_buffer"] == 7).all()
        except gdfast.CheckpointError as error:
            faults.faults_disarm()
            assert "the optimizer now holds only parts of it" in str(error)
            parts += 1
        else:
            raise AssertionError(nth)
        assert stored() == 1
print(calls, parts)
"""


def test_every_read_that_fails(tmp_path, faults):
    """Each read of a load: nothing is changed, but in the second reading, where the error says so."""
    result = run(READS, tmp_path, LD_PRELOAD=str(faults))
    assert result.returncode == 0, result.stderr
    calls, parts = map(int, result.stdout.split())
    assert (calls, parts) == (2 + 2 * 2, 2 * 2)  # length and header, then two arrays, twice; each once and for good


FULL = """
size = os.path.getsize(path)
for limit in (0, 1, 7, 500, size // 2, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(2)
    except OSError as error:
        assert error.errno == errno.EFBIG and error.filename == path
    else:
        raise AssertionError(limit)
    assert stored() == 1 and alone(), limit
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
save(2)
assert stored() == 2
"""


def test_a_full_disk(tmp_path):
    result = run("signal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + FULL, tmp_path)
    assert result.returncode == 0, result.stderr


KILLED = """
import shutil
seen, moments = set(), set()
version = 1
for round in range(200):
    begun, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(begun)
        os.write(ready, b"x")
        while True:
            version += 1
            save(version)
    os.close(ready)
    assert os.read(begun, 1) == b"x"
    os.close(begun)
    time.sleep(random.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = stored()
    assert found >= version, (found, version)  # never an older one than was there
    version = found
    for name in os.listdir(os.path.dirname(path)):
        if name != os.path.basename(path):
            assert name.startswith(".gdfast-"), name
            moments.add(tuple(os.listdir(os.path.join(os.path.dirname(path), name))))
            shutil.rmtree(os.path.join(os.path.dirname(path), name))
print(version, len(moments))
"""


def test_killed_at_any_moment(tmp_path):
    """200 times; the version in the file never goes back, and what is left behind is one folder at most."""
    result = run(KILLED, tmp_path)
    assert result.returncode == 0, result.stderr
    version, moments = map(int, result.stdout.split())
    assert version > 1
    assert moments >= 1  # at least one was killed in the midst of saving


def test_an_error_that_is_not_an_oserror(tmp_path, monkeypatch):
    import safetensors.numpy

    def refuse(arrays, path, metadata):
        Path(path).with_name("left").touch()
        raise safetensors.SafetensorError("no reason")

    monkeypatch.setattr(safetensors.numpy, "save_file", refuse)
    with pytest.raises(safetensors.SafetensorError, match="no reason"):
        gdfast.save(tmp_path / "c", gdfast.SGD(np.zeros(1)))
    assert os.listdir(tmp_path) == []


def test_an_oserror_reported_by_safetensors(tmp_path, monkeypatch):
    import safetensors.numpy

    def refuse(arrays, path, metadata):
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.numpy, "save_file", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        gdfast.save(tmp_path / "c", gdfast.SGD(np.zeros(1)))
    assert (caught.value.errno, caught.value.filename) == (28, str(tmp_path / "c"))


def test_without_the_library(tmp_path, monkeypatch):
    opt = gdfast.SGD(np.zeros(1))
    gdfast.save(tmp_path / "c", opt)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        ImportError, match=r'gdfast\.save needs the safetensors package: pip install "gdfast\[checkpoint\]"'
    ):
        gdfast.save(tmp_path / "d", opt)
    gdfast.load(tmp_path / "c", opt)
    assert os.listdir(tmp_path) == ["c"]
