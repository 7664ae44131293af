"""Checkpoints of arrays in fewer bits: they stand in the file as they are, and any reader can tell what they are."""

import importlib.util
import json

import numpy as np
import pytest

import gdfast

pytest.importorskip("safetensors")


def header_of(path):
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def stepped(params, **options):
    opt = gdfast.Adam(params, state_dtype_min_size=0, **options)
    opt.step([np.linspace(-1, 1, param.size, dtype=np.float32) for param in opt.param_groups[0]["params"]])
    return opt


@pytest.mark.parametrize("installed", [True, False])
def test_the_file_says_what_lies_in_it(installed, tmp_path, monkeypatch):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find_spec(name) if installed else None)
    params = [np.ones(300, np.float32), np.ones(200, ml_dtypes.bfloat16), np.ones(100, np.float16)]
    opt = stepped(params, state_dtype={"exp_avg": "bfloat16", "exp_avg_sq": "8bit"})
    path = tmp_path / "run.safetensors"
    gdfast.save(path, opt)
    header = header_of(path)
    about = json.loads(header["__metadata__"]["gdfast"].split(" ", 2)[2])
    kinds = {name: header[name]["dtype"] for name in header if name != "__metadata__"}
    assert (kinds["params/0"], kinds["params/1"]) == ("F32", "BF16")
    assert kinds["params/2"] == "F16"
    assert kinds["state/0/exp_avg"] == ("BF16" if installed else "U16")
    assert kinds["state/0/exp_avg_sq"] == kinds["state/0/exp_avg_sq.scales"] == "U8"
    assert (kinds["state/1/remainder"], kinds["state/2/master"]) == ("I16", "F32")
    assert about["formats"]["state/1/exp_avg"] == "bfloat16"
    assert about["formats"]["state/1/exp_avg_sq"] == "8bit_non_negative"
    again = stepped(
        [np.zeros_like(param) for param in params], state_dtype={"exp_avg": "bfloat16", "exp_avg_sq": "8bit"}
    )
    gdfast.load(path, again)
    assert [a.tobytes() for a in again.param_groups[0]["params"]] == [a.tobytes() for a in params]
    for name, states in opt.state.items():
        assert {key: a.tobytes() for key, a in states.items()} == {
            key: a.tobytes() for key, a in again.state[name].items()
        }


def test_copies_hold_what_was_loaded(tmp_path):
    """Or else the model that reads them would go on with the weights that it had before."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    w, exact = [[rng.standard_normal(size).astype(np.float32) for size in (70_000, 3)] for _ in range(2)]
    kinds = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
    copies = [np.zeros(array.shape, kind) for array, kind in zip(w, kinds, strict=True)]
    gdfast.save(tmp_path / "run.safetensors", gdfast.SGD(exact))
    gdfast.load(tmp_path / "run.safetensors", gdfast.SGD(w, copies=copies))
    for copy, array in zip(copies, exact, strict=True):
        assert copy.tobytes() == array.astype(copy.dtype).tobytes()


@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
def test_other_formats_do_not_fit(form, tmp_path):
    gdfast.save(tmp_path / "short.safetensors", stepped([np.ones(300, np.float32)], state_dtype=form))
    gdfast.save(tmp_path / "whole.safetensors", stepped([np.ones(300, np.float32)]))
    with pytest.raises(gdfast.CheckpointError, match="exp_avg must have dtype float32; got uint"):
        gdfast.load(tmp_path / "short.safetensors", stepped([np.ones(300, np.float32)]))
    with pytest.raises(gdfast.CheckpointError, match=r"exp_avg must have dtype uint.*; got float32"):
        gdfast.load(tmp_path / "whole.safetensors", stepped([np.ones(300, np.float32)], state_dtype=form))


@pytest.mark.parametrize("saved_state", [{}, {"step": 3, "exp_avg": np.ones(2, np.float32), "exp_avg_sq": np.ones(2)}])
@pytest.mark.parametrize(
    ("dtype", "options", "state"),
    [
        (np.float32, {"state_dtype": "8bit"}, "exp_avg_sq"),
        (np.float32, {"state_dtype": {"exp_avg_sq": "bfloat16"}}, "exp_avg_sq"),
        (np.float16, {}, "master"),
        ("bfloat16", {}, "remainder"),
    ],
)
def test_pytorch_knows_no_short_state(dtype, options, state, saved_state):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    opt = gdfast.Adam(np.ones(2, dtype), state_dtype_min_size=0, **options)
    group = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "params": [0]}
    message = f'"{state}"\\]: PyTorch has no such state'
    with pytest.raises(ValueError, match=message):
        gdfast.load_torch_state(opt, {"state": {0: saved_state}, "param_groups": [group]})
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=message):
        gdfast.torch_state(opt)
