"""State in memory-mapped files: the same bits, space reserved first, and nothing left behind by a failure."""

import copy
import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import SIZES, assert_same_bits, plain
from gdfast.arrays import storage


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_same_bits_as_in_memory_all_arrays_mapped(case, engine, tmp_path):
    rng = np.random.default_rng(5)
    plain_params = {f"p/{i}": plain(rng, size, np.float32) for i, size in enumerate(SIZES) if size}
    mapped, grads = {}, {}
    for i, (name, array) in enumerate(plain_params.items()):
        mapped[name] = np.memmap(tmp_path / f"p{i}", np.float32, "w+", shape=array.shape)
        mapped[name][...] = array
        grads[name] = np.memmap(tmp_path / f"g{i}", np.float32, "w+", shape=array.shape)
    in_memory = case.make(plain_params, engine=engine, ema_decay=0.9, clip_norm=2.0)
    opt = case.make(mapped, engine=engine, ema_decay=0.9, clip_norm=2.0, state_dir=tmp_path / "new" / "state")
    for _ in range(10):
        for grad in grads.values():
            grad[...] = plain(rng, grad.size, np.float32)
        in_memory.step({name: np.array(grad) for name, grad in grads.items()})
        opt.step(grads)
    assert_same_bits(mapped, plain_params)
    assert_same_bits(opt.state, in_memory.state)
    for name, arrays in opt.state.items():
        for state, array in arrays.items():
            path = tmp_path / "new" / "state" / f"{name.replace('/', '%2F')}.{state}.npy"
            assert np.load(path, mmap_mode="r").tobytes() == array.tobytes()
            assert os.stat(path).st_blocks * 512 >= array.nbytes


def test_large_state_is_in_the_file_not_in_memory(tmp_path):
    param = np.zeros(1 << 20)
    opt = gdfast.Adam(param, state_dir=str(tmp_path))
    opt.step(np.ones(1 << 20))
    again = np.load(tmp_path / "0.exp_avg.npy", mmap_mode="r+")
    again[7] = 123.0
    assert opt.state["0"]["exp_avg"][7] == 123.0


def test_copies_are_in_memory_and_share_nothing(tmp_path):
    opt = gdfast.Adam({"a": np.ones(3)}, state_dir=tmp_path)
    opt.step({"a": np.ones(3)})
    twin = copy.deepcopy(opt)
    assert not np.shares_memory(twin.state["a"]["exp_avg"], opt.state["a"]["exp_avg"])
    for each in (opt, twin):
        each.add_param_group({"params": {"b": np.ones(2)}})
        each.step({"a": np.ones(3), "b": np.ones(2)})
    assert_same_bits(twin.state, opt.state)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{state}.npy" for name in "ab" for state in ("exp_avg", "exp_avg_sq")
    ]


def test_empty_and_0d_arrays(tmp_path):
    params = {"empty": np.zeros((0, 3)), "scalar": np.ones(())}
    opt = gdfast.Adam(params, lr=0.5, state_dir=tmp_path)
    opt.step({"empty": np.zeros((0, 3)), "scalar": np.ones(())})
    assert opt.state["empty"]["exp_avg"].shape == (0, 3)
    np.testing.assert_allclose(params["scalar"], 0.5)
    assert np.load(tmp_path / "scalar.exp_avg.npy").shape == ()


def test_state_of_another_optimizer_is_not_overwritten(tmp_path):
    opt = gdfast.Adam({"a": np.ones(3)}, state_dir=tmp_path)
    opt.step({"a": np.ones(3)})
    (tmp_path / "b.exp_avg_sq.npy").touch()
    with pytest.raises(FileExistsError, match=r"must not hold the state of another optimizer; .*b\.exp_avg_sq\.npy"):
        opt.add_param_group({"params": {"b": np.ones(3)}})
    assert not (tmp_path / "b.exp_avg.npy").exists()
    assert np.load(tmp_path / "a.exp_avg.npy").any()
    with pytest.raises(TypeError, match="state_dir must be the path of a folder; got int"):
        gdfast.Adam(np.ones(3), state_dir=3)


FULL = """
import resource, sys
import numpy as np
import gdfast
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
param = {"small": np.zeros(100), "large": np.zeros(100_000)}
try:
    gdfast.Adam(param, state_dir=sys.argv[1])
except OSError as error:
    print(error)
"""


def test_no_space_is_an_error_at_the_start(tmp_path):
    out = subprocess.run([sys.executable, "-c", FULL, tmp_path], capture_output=True, text=True, check=True).stdout
    assert f"state_dir needs 800000 bytes for {tmp_path / 'large.exp_avg.npy'}" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails_at", range(4))
def test_a_full_disk_leaves_nothing_behind(fails_at, tmp_path, monkeypatch):
    calls = iter(range(10))

    def reserve(file, n_bytes):
        if next(calls) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage, "_reserve", reserve)
    monkeypatch.setattr(np, "memmap", lambda file, dtype, mode, offset, shape: np.zeros(shape, dtype))
    with pytest.raises(OSError, match="No space left on device") as caught:
        gdfast.Adam([np.zeros(10), np.zeros(20)], state_dir=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_where_the_system_cannot_reserve_zeros_are_written(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    opt = gdfast.Adam(np.zeros(300_000), state_dir=tmp_path)
    assert not opt.state["0"]["exp_avg"].any()
    assert (tmp_path / "0.exp_avg.npy").stat().st_blocks * 512 >= 2_400_000


@pytest.mark.parametrize("offset", [0, 16, 64, 4092])
def test_large_states_lie_apart_from_the_parameter_and_from_each_other(offset):
    memory = np.zeros(70_000, np.float32)
    start = (offset - memory.ctypes.data) % 4096 // 4
    param = memory[start : start + 60_000]
    assert param.ctypes.data % 4096 == offset
    opt = gdfast.Adam({"w": param}, amsgrad=True, ema_decay=0.9)
    arrays = [param, *opt.state["w"].values()]
    places = sorted(array.ctypes.data % 4096 for array in arrays)
    assert len(arrays) == 5
    assert min(np.diff([*places, places[0] + 4096])) >= 256
    assert all(array.ctypes.data % 4 == 0 and not array.any() for array in arrays)
