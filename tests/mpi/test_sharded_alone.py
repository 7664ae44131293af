"""One rank: what is refused, with the reason; and the small parts."""

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks

import gdfast


def refusals(folder: str) -> None:
    from mpi4py import MPI

    from gdfast.mpi import sharded

    w = np.ones(5)
    for kind, name in ((gdfast.LBFGS, "LBFGS"), (gdfast.Lookahead, "Lookahead"), (print, "print"), (int, "int")):
        with pytest.raises(TypeError, match=f"kind must be a class of optimizer .* got .*{name}"):
            sharded(kind, w)
    with pytest.raises(TypeError, match=r"message_memory must be an int; got 1\.5"):
        sharded(gdfast.SGD, w, message_memory=1.5)
    with pytest.raises(TypeError, match="message_memory must be an int; got True"):
        sharded(gdfast.SGD, w, message_memory=True)
    with pytest.raises(ValueError, match="message_memory must be at least 4096 bytes; got 10"):
        sharded(gdfast.SGD, w, message_memory=10)
    for word in ("quick", "", "Exact"):
        with pytest.raises(ValueError, match=f'reduction must be "exact" or "fast"; got {word!r}'):
            sharded(gdfast.SGD, w, reduction=word)
    for wrong, name in ((None, "NoneType"), (True, "bool"), (w, "ndarray")):
        with pytest.raises(TypeError, match=f'reduction must be "exact" or "fast"; got {name}'):
            sharded(gdfast.SGD, w, reduction=wrong)
    with pytest.raises(TypeError, match=r"comm must be an mpi4py\.MPI\.Intracomm; got str"):
        sharded(gdfast.SGD, w, comm="world")
    with pytest.raises(TypeError, match="comm must be"):
        sharded(gdfast.SGD, w, comm=MPI.COMM_NULL)
    with pytest.raises(TypeError, match=r"momentun.*did you mean 'momentum'"):
        sharded(gdfast.SGD, w, momentun=0.9)
    with pytest.raises(TypeError, match="copies must be None in a sharded optimizer: the slices of other ranks arrive"):
        sharded(gdfast.AdamW, w.astype("f4"), copies=w.astype("f2"))
    for kind in (gdfast.LAMB, gdfast.Adafactor):
        with pytest.raises(TypeError, match=f"float64 for {kind.__name__}; got float16. The rule measures whole"):
            sharded(kind, np.ones((2, 2), np.float16))
    with pytest.raises(ValueError, match=r"state_dtype must be 'float32' for LAMB: .* measures whole arrays"):
        sharded(gdfast.LAMB, w, state_dtype="8bit")
    for option in ({"centralize": True}, {"clip_adaptive": 0.1}):
        with pytest.raises(ValueError, match="centralize and clip_adaptive cannot go with parameters or state"):
            sharded(gdfast.AdamW, np.ones((70, 70), np.float32), state_dtype="8bit", **option)
    with pytest.raises(TypeError, match=r"state_dtype must be 'float32' for params, whose dtype is float64"):
        sharded(gdfast.AdamW, w, state_dtype="8bit")
    with pytest.raises(TypeError, match="grads must be float32 or float64; got float16"):
        sharded(gdfast.SGD, w).step(np.ones(5, np.float16))
    with pytest.raises(ValueError, match="must not share memory"):
        sharded(gdfast.SGD, [w, w])
    with pytest.raises(ValueError, match="must be a matrix"):
        sharded(gdfast.Muon, w)
    opt = sharded(gdfast.AdamW, w)
    assert isinstance(opt, gdfast.AdamW)
    assert repr(opt).startswith("AdamW(1 arrays")
    with pytest.raises(TypeError, match="convert must be False for an optimizer that is sharded"):
        gdfast.load(f"{folder}/none", opt, convert=True)
    with pytest.raises(TypeError, match="kind must be"):
        sharded(type(opt), w)
    for call, message in (
        (lambda: opt.step_one("0", w), "no step_one: give all gradients to step"),
        (lambda: opt.step_rows("0", np.array([1]), np.ones(1)), "no step_one"),
        (lambda: opt.add_param_group({"params": w}), "no add_param_group"),
        (opt.state_dict, "no state_dict: use gdfast.save"),
        (lambda: opt.load_state_dict({}), "no load_state_dict: use gdfast.load"),
        (lambda: pickle.dumps(opt), "cannot be copied or pickled"),
        (lambda: copy.deepcopy(opt), "cannot be copied or pickled"),
        (lambda: gdfast.Lookahead(opt), "optimizer must not be sharded"),
        (lambda: gdfast.torch_state(opt), "opt must not be sharded"),
        (lambda: gdfast.load_torch_state(opt, {}), "opt must not be sharded"),
        (lambda: gdfast.lr_find(opt, lambda: (1.0, w)), "opt must not be sharded"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(TypeError, match="needs grads"):
        opt.step()
    with pytest.raises(TypeError, match="must be a NumPy array like params"):
        opt.step([1.0] * 5)


def accepted(folder: str) -> None:
    from gdfast.mpi import sharded

    w, grads = np.ones(70_000), np.ones(70_000)
    opt = sharded(gdfast.AdamW, w, lr=0.5, grads=grads, state_dir=folder)
    opt.step(zero_grad=True)
    assert not grads.any()
    assert {path.name for path in (Path(folder) / "rank-0").iterdir()} == {"0.exp_avg.npy", "0.exp_avg_sq.npy"}
    with pytest.raises(TypeError, match="state_dir must be the path of a folder; got int"):
        sharded(gdfast.AdamW, np.ones(3), state_dir=3)
    # Two optimizers in turn, of nothing, and of empty arrays.
    empty = sharded(gdfast.AdamW, {"none": np.zeros((0, 3))}, clip_norm=1.0)
    nothing = sharded(gdfast.AdamW, {})
    for _ in range(2):
        opt.step()
        empty.step({"none": np.zeros((0, 3))})
        nothing.step({})
    assert (opt.step_count, empty.step_count, nothing.step_count) == (3, 2, 2)
    opt.lr = 0.25
    assert opt.lr == 0.25


def one_thread_at_a_time(folder: str) -> None:
    from gdfast.mpi import sharded

    w = np.ones(5)
    inside, go_on, seen = threading.Event(), threading.Event(), []

    def schedule(step: int) -> float:
        inside.set()
        assert go_on.wait(60)
        return 0.1

    opt = sharded(gdfast.SGD, w, lr=schedule)

    def step() -> None:
        opt.step(np.ones(5))

    thread = threading.Thread(target=step)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(RuntimeError, match="another thread is using this SGD"):
        opt.step(np.ones(5))
    go_on.set()
    thread.join()
    seen.append(opt.step_count)
    assert seen == [1]


def interrupted(folder: str) -> None:
    """An exchange that Ctrl-C ends half way: nothing of these ranks may go on in silence."""
    from gdfast.mpi import sharded

    opt, other = sharded(gdfast.SGD, np.ones(5)), sharded(gdfast.SGD, np.ones(5))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    opt._engine.exchange.post_params = interrupt
    with pytest.raises(KeyboardInterrupt):
        opt.step(np.ones(5))
    for each in (opt, other):
        with pytest.raises(RuntimeError, match="an exchange between the ranks was interrupted"):
            each.step(np.ones(5))
    with pytest.raises(RuntimeError, match="an exchange between the ranks was interrupted"):
        sharded(gdfast.SGD, np.ones(5))


def resized(folder: str) -> None:
    """An array of the user's that is no longer what it was: refused before anything is exchanged."""
    from gdfast.mpi import sharded

    w = np.ones(5)
    opt = sharded(gdfast.SGD, w)
    w.flags.writeable = False
    with pytest.raises(ValueError, match="params"):
        opt.step(np.ones(5))
    w.flags.writeable = True
    opt.step(np.ones(5))
    assert opt.step_count == 1


@pytest.mark.parametrize(
    "function", [refusals, accepted, one_thread_at_a_time, interrupted, resized], ids=lambda f: f.__name__
)
def test_one_rank(function: Any, tmp_path: Path) -> None:
    ranks.run(1, function, str(tmp_path))


def test_without_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("gdfast.mpi")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'gdfast.mpi needs mpi4py and an MPI: pip install "gdfast\[mpi\]"'):
        gdfast.__getattr__("mpi")
