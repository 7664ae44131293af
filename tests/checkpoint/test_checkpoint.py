"""Checkpoints: what is saved comes back, and a resumed run goes on bit for bit, in a process of its own."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cases import CASES
from checkpoints import EXTRA, contents, full, grads_of, manifest_of, split

import gdfast
from arrays import assert_same_bits
from gdfast import schedules

STEPS = 4
SHAPES = {"a": ((7,), np.float32), "b.c": ((2, 3), np.float64)}
ROOT = Path(__file__).parents[2]

RESUME = """
import sys; sys.path[:0] = {tests!r}
from test_checkpoint import CASES, STEPS, finish, fresh
import gdfast
for case in CASES:
    for stopped in range(STEPS + 1):
        params = fresh()
        opt = case.make(params, engine="numpy", ema_decay=0.5, n_threads=1)
        assert gdfast.load(f"{folder}/{{case}}-{{stopped}}", opt) == {{"stopped": stopped}}
        assert opt.step_count == stopped
        finish(opt, params, stopped)
        gdfast.save(f"{folder}/{{case}}-{{stopped}}", opt)
"""


def fresh():
    return {
        name: np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype(t) for name, (shape, t) in SHAPES.items()
    }


def finish(opt, params, step):
    for later in range(step, STEPS):
        opt.step(grads_of(params, later))


def test_resumed_at_any_step_in_another_process_it_ends_in_the_same_bits(tmp_path):
    ends = {}
    for case in CASES:
        params = fresh()
        opt = case.make(params, ema_decay=0.9, lr=schedules.Cosine(0.05, total_steps=STEPS))
        for step in range(STEPS + 1):
            gdfast.save(tmp_path / f"{case}-{step}", opt, extra={"stopped": step})
            if step < STEPS:
                opt.step(grads_of(params, step))
        ends[str(case)] = (params, opt)
    code = RESUME.format(tests=[str(ROOT / "tests" / "helpers"), str(Path(__file__).parent)], folder=str(tmp_path))
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    for case in CASES:
        params, opt = ends[str(case)]
        for step in range(STEPS + 1):
            again = fresh()
            resumed = case.make(again, ema_decay=0.1)
            gdfast.load(tmp_path / f"{case}-{step}", resumed)
            assert_same_bits(again, params, f"{case} from {step}")
            assert_same_bits(resumed.state, opt.state, f"{case} from {step}")
            assert contents(again, resumed)[3] == contents(params, opt)[3]


def test_everything_comes_back(tmp_path):
    params, opt = full()
    opt.accumulate(grads_of(params, 9))
    gdfast.save(tmp_path / "c", opt, extra=EXTRA)
    again, resumed = full(7.0, lr=0.5, clip_norm=None, accumulation="sum")
    assert gdfast.load(tmp_path / "c", resumed) == EXTRA
    assert contents(again, resumed) == contents(params, opt)
    for each in ((params, opt), (again, resumed)):
        each[1].step(grads_of(each[0], 3))
    assert contents(again, resumed) == contents(params, opt)


def test_without_parameters(tmp_path):
    params, opt = full()
    gdfast.save(tmp_path / "c", opt, params=False)
    again, resumed = full(7.0)
    before = contents(again, resumed)[0]
    assert gdfast.load(tmp_path / "c", resumed) is None
    assert contents(again, resumed)[0] == before
    assert contents(again, resumed)[1:] == contents(params, opt)[1:]


def test_groups_and_memory(tmp_path):
    def make():
        params = [np.ones(2), np.ones(3)]
        return params, gdfast.NAdam([{"params": params[0], "lr": 0.1}, {"params": params[1], "l1": 0.01}])

    _, opt = make()
    opt.step([np.ones(2), np.ones(3)])
    opt.add_param_group({"params": {"late": np.ones(1)}})
    opt.step([np.ones(2), np.ones(3), {"late": np.ones(1)}])
    gdfast.save(tmp_path / "c", opt)
    _, resumed = make()
    resumed.add_param_group({"params": {"late": np.zeros(1)}})
    gdfast.load(tmp_path / "c", resumed)
    assert resumed.state_dict()["memory"] == opt.state_dict()["memory"]
    assert [group.start_step for group in resumed.param_groups] == [0, 0, 1]
    assert repr(resumed) == repr(opt)
    assert_same_bits([*resumed.param_groups[2]["params"]], [*opt.param_groups[2]["params"]])


def test_state_in_files(tmp_path):
    params, opt = full()
    gdfast.save(tmp_path / "c", opt)
    again, resumed = full(7.0, state_dir=tmp_path / "state")
    gdfast.load(tmp_path / "c", resumed)
    assert contents(again, resumed) == contents(params, opt)
    gdfast.save(tmp_path / "d", resumed)
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()


def test_the_optimizer_and_the_file_share_nothing(tmp_path):
    params, opt = full()
    gdfast.save(tmp_path / "c", opt)
    data = (tmp_path / "c").read_bytes()
    opt.step(grads_of(params, 2))
    assert (tmp_path / "c").read_bytes() == data
    gdfast.load(tmp_path / "c", opt)
    opt.step(grads_of(params, 2))
    assert (tmp_path / "c").read_bytes() == data


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        gdfast.save(tmp_path / name, full()[1], extra=EXTRA)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_library_reads_it(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    params, opt = full()
    gdfast.save(tmp_path / "c", opt, extra={"x": np.arange(3)})
    found = safetensors.load_file(tmp_path / "c")
    expected = {f"params/{name}": array for name, array in params.items()}
    expected |= {f"state/{name}/{key}": array for name, states in opt.state.items() for key, array in states.items()}
    assert found.pop("extra/x").tolist() == [0, 1, 2]
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.tobytes() == expected[name].tobytes()
        assert (array.shape, array.dtype) == (expected[name].shape, expected[name].dtype)


EXTRAS = {
    "none": None,
    "words": {"a": [1, 2.5, "x", None, True, {"b": []}], "": 2**80, "ü": -0.0},
    "rng": {"mt": np.random.MT19937(1).state, "philox": np.random.Philox(1).state},
    "infinite": [float("inf"), float("-inf"), 1e308, 5e-324],
    "arrays": {"0d": np.array(3), "empty": np.zeros((2, 0), np.int8), "list": [np.arange(3, dtype=">i4"), np.eye(2).T]},
    "paths": {"a/b": np.zeros(1), "a": {"b": np.ones(1)}, "a~1b": np.full(1, 2.0)},
    "alone": np.arange(4, dtype=np.uint8),
    "kinds": [np.zeros(1, t) for t in ("f2", "f4", "f8", "c8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")],
    "scalars": [np.float64(2.5), np.int32(7), np.bool_(True), np.float32(0.1)],
    "large": np.arange(600_000.0),
}


def assert_equal(left, right):
    if isinstance(right, dict):
        assert left.keys() == right.keys()
        for key in right:
            assert_equal(left[key], right[key])
    elif isinstance(right, list):
        assert len(left) == len(right)
        for pair in zip(left, right, strict=True):
            assert_equal(*pair)
    elif isinstance(right, np.ndarray):
        assert left.dtype == right.dtype.newbyteorder("=")
        np.testing.assert_array_equal(left, right, strict=False)
        assert left.shape == right.shape
    else:
        assert left == right
        assert isinstance(left, type(right)) or isinstance(right, np.generic)


@pytest.mark.parametrize("name", EXTRAS)
def test_extra_comes_back(tmp_path, name):
    opt = gdfast.SGD(np.zeros(2))
    gdfast.save(tmp_path / "c", opt, extra=EXTRAS[name])
    assert_equal(gdfast.load(tmp_path / "c", opt), EXTRAS[name])


def test_nan_and_tuples_in_extra(tmp_path):
    opt = gdfast.SGD(np.zeros(2))
    gdfast.save(tmp_path / "c", opt, extra=(float("nan"), (1, 2)))
    nan, pair = gdfast.load(tmp_path / "c", opt)
    assert np.isnan(nan)
    assert pair == [1, 2]


def nested(levels):
    found = 0
    for _ in range(levels):
        found = [found]
    return found


REFUSED = {
    "object": ({"a": [object()]}, TypeError, "extra/a/0 must be None, a bool, .*; got object"),
    "key": ({"a": {1: 2}}, TypeError, "the keys of extra/a must be strings; got 1"),
    "reserved": ({"$float": 2}, ValueError, r"the keys of extra must not be '\$float'"),
    "complex": ({"z": 1j}, TypeError, "extra/z must be None"),
    "dtype": ({"z": np.zeros(1, "M8[s]")}, TypeError, "extra/z must be an array of float64, .*; got datetime64"),
    "objects": ({"z": np.array([None])}, TypeError, "extra/z must be an array of float64, .*; got object"),
    "masked": ({"z": np.ma.zeros(1)}, TypeError, "extra/z must be a plain array; got a masked array"),
    "deep": (nested(101), ValueError, "is nested too deeply: more than 100 levels"),
    "unicode": ({"\udc80": np.zeros(1)}, ValueError, "must be valid Unicode to be written"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_named(tmp_path, name):
    extra, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        gdfast.save(tmp_path / "c", gdfast.SGD(np.zeros(2)), extra=extra)
    assert os.listdir(tmp_path) == []


def test_as_deep_as_is_allowed(tmp_path):
    opt = gdfast.SGD(np.zeros(2))
    gdfast.save(tmp_path / "c", opt, extra=nested(100))
    assert gdfast.load(tmp_path / "c", opt) == nested(100)


def test_more_than_the_format_allows(tmp_path, monkeypatch):
    from gdfast.checkpoint import saving

    monkeypatch.setattr(saving, "MAX_HEADER", 2000)
    opt = gdfast.SGD(np.zeros(2))
    gdfast.save(tmp_path / "c", opt)
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(ValueError, match="more than the 2000 that the safetensors format allows"):
        gdfast.save(tmp_path / "c", opt, extra="x" * 2000)
    assert (tmp_path / "c").read_bytes() == before


def test_arguments():
    with pytest.raises(TypeError, match="opt must be a gdfast optimizer; got dict"):
        gdfast.save("c", {})
    with pytest.raises(TypeError, match="opt must be a gdfast optimizer; got str"):
        gdfast.load(gdfast.SGD(np.zeros(1)), "c")
    with pytest.raises(TypeError):
        gdfast.save(3, gdfast.SGD(np.zeros(1)))
    with pytest.raises(FileNotFoundError):
        gdfast.load("no such file", gdfast.SGD(np.zeros(1)))


def test_not_in_the_middle_of_something(tmp_path):
    params, opt = full()
    gdfast.save(tmp_path / "c", opt)
    with opt.averaged():
        for call in (gdfast.save, gdfast.load):
            with pytest.raises(RuntimeError, match=r"first leave averaged\(\)"):
                call(tmp_path / "c", opt)
    opt = gdfast.SGD(params)
    opt.step_one("W", params["W"] * 0)
    for call in (gdfast.save, gdfast.load):
        with pytest.raises(RuntimeError, match=r"first close it with end_step\(\)"):
            call(tmp_path / "c", opt)


def test_mode_and_links(tmp_path):
    opt = gdfast.SGD(np.zeros(2))
    usual = os.umask(0o027)
    try:
        gdfast.save(tmp_path / "new", opt)
    finally:
        os.umask(usual)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o444)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("../new")
    gdfast.save(tmp_path / "folder" / "link", opt, extra="again")
    assert (tmp_path / "folder" / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o444
    assert gdfast.load(tmp_path / "new", opt) == "again"
    assert sorted(os.listdir(tmp_path)) == ["folder", "new"]
    assert os.listdir(tmp_path / "folder") == ["link"]
    (tmp_path / "dangling").symlink_to("made")
    gdfast.save(os.fsencode(tmp_path / "dangling"), opt)
    assert (tmp_path / "made").is_file()


def test_only_regular_files_are_replaced(tmp_path):
    opt = gdfast.SGD(np.zeros(2))
    with pytest.raises(IsADirectoryError):
        gdfast.save(tmp_path, opt)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="is not a regular file, and would be replaced by one"):
        gdfast.save(tmp_path / "fifo", opt)
    with pytest.raises(FileNotFoundError, match="no/c"):
        gdfast.save(tmp_path / "no" / "c", opt)


def test_ctrl_c_takes_effect_when_all_is_loaded(tmp_path, monkeypatch, ctrl_c):
    from gdfast.checkpoint import loading

    params, opt = full()
    gdfast.save(tmp_path / "c", opt)
    again, resumed = full(7.0)
    usual = loading.fill

    def interrupted(file, memory):
        if threading.current_thread() is not threading.main_thread():
            signal.raise_signal(signal.SIGINT)
        usual(file, memory)

    monkeypatch.setattr(loading, "fill", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gdfast.load(tmp_path / "c", resumed)
    assert contents(again, resumed) == contents(params, opt)
    resumed.step(grads_of(again, 2))


def test_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECTORY")
    gdfast.save(tmp_path / "c", gdfast.SGD(np.zeros(2)))
    assert os.listdir(tmp_path) == ["c"]


MEMORY = """
import sys
import numpy as np
import gdfast

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

param = np.ones(12_000_000, np.float32)
opt = gdfast.Adam(param)
for array in opt.state["0"].values():
    array[:] = 1
gdfast.load(sys.argv[1], gdfast.SGD(np.zeros(1)))
open("/proc/self/clear_refs", "w").write("5")  # the peak is now what there is
before = peak()
gdfast.save(sys.argv[2], opt)
gdfast.load(sys.argv[2], opt)
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="asks Linux how much memory there was")
def test_no_second_copy(tmp_path):
    gdfast.save(tmp_path / "small", gdfast.SGD(np.zeros(1)))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "small"), str(tmp_path / "c")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 15_000, "kB, for 144 MB of arrays"


def test_the_format_is_as_documented(tmp_path, monkeypatch):
    """Every key is in the docs, and their way to check a file by hand runs."""
    monkeypatch.chdir(tmp_path)
    gdfast.save("run.safetensors", full()[1], extra=EXTRA)
    header, _ = split((tmp_path / "run.safetensors").read_bytes())
    assert list(header["__metadata__"]) == ["gdfast"]
    docs = (ROOT / "docs" / "checkpoints.md").read_text()
    for key in manifest_of(header):
        assert f"`{key}`" in docs, key
    by_hand = re.findall(r"```python\n(.*?)```", docs, re.DOTALL)[-1]
    assert "hashlib" in by_hand
    exec(compile(by_hand, "checkpoints.md", "exec"), {})
