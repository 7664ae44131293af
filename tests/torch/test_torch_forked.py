"""An optimizer in a child of a process that was forked in the middle of its step: refused until a state is loaded."""

import copy
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

torch = pytest.importorskip("torch")

import gdfast.torch  # noqa: E402 - where PyTorch is not installed, the line above ends this

FORKED = """
import copy, os, pickle, sys, threading
import torch
import gdfast.torch

in_backward = sys.argv[1] == "in backward"
inside, leave = threading.Event(), threading.Event()


class Slow(gdfast.torch.AdamW):
    def _unscale(self):
        last = self.param_groups[-1]["params"][-1]
        if threading.current_thread() is not threading.main_thread() and last is params[-1]:
            inside.set()
            leave.wait()
        return super()._unscale()


def refused(call):
    try:
        call()
    except RuntimeError as error:
        return "was in use by another thread when this process was forked" in str(error)
    return False


def made(kind):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(100, 3).bfloat16()) for _ in range(3)]
    return params, kind(params, lr=0.1, weight_decay=0.1)


def set_grads(params):
    for i, param in enumerate(params):
        param.grad = torch.full_like(param, i + 1.0)


def make_step(params, opt):
    set_grads(params)
    opt.step()


def run():
    if not in_backward:
        make_step(params, opt)
    else:
        sum(param.sum() * i for i, param in enumerate(reversed(params))).backward()
        opt.step()


params, opt = made(Slow)
make_step(params, opt)
state, values = opt.state_dict(), [param.detach().clone() for param in params]
state = copy.deepcopy(state)
if in_backward:
    opt.zero_grad()
    handle = gdfast.torch.step_in_backward(torch.nn.ParameterList(params), opt)


def child():
    assert refused(opt.step), "not refused"
    for read in (opt.state_dict, lambda: pickle.dumps(opt), lambda: copy.deepcopy(opt)):
        assert refused(read), "half a state was given away"
    try:
        opt.load_state_dict({**state, "param_groups": []})
        raise AssertionError("a state that does not fit")
    except ValueError:
        assert refused(opt.step), "mended by a load that failed"
    opt.load_state_dict(state)
    opt.state_dict()
    with torch.no_grad():
        for param, value in zip(params, values):
            param.copy_(value)
    alone, other = made(gdfast.torch.AdamW)
    for _ in range(3):
        make_step(alone, other)
    for _ in range(2):
        make_step(params, opt)
    assert all(map(torch.equal, params, alone)), "other bits"
    assert all(torch.equal(opt.state[p][k], v) for p, q in zip(params, alone) for k, v in other.state[q].items())
    return 0


worker = threading.Thread(target=run)
worker.start()
assert inside.wait(120)
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
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
leave.set()
worker.join()
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["step", "in backward"])
def test_a_loaded_state_mends_the_optimizer_of_a_child(how):
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, how]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr


def test_no_state_is_read_or_loaded_while_the_parameters_hold_their_averages():
    param = torch.nn.Parameter(torch.ones(3))
    opt = gdfast.torch.SGD([param], lr=0.5, ema_decay=0.5)
    param.grad = torch.ones(3)
    opt.step()
    state = opt.state_dict()
    with opt.averaged():
        for call in (lambda: opt.load_state_dict(state), opt.state_dict, lambda: copy.deepcopy(opt)):
            with pytest.raises(RuntimeError, match="one at a time"):
                call()
    opt.load_state_dict(state)


def test_a_step_in_the_backward_pass_is_forgotten_after_a_fork(monkeypatch):
    """The first test asks the lock itself about other threads; here it says what it would after a fork."""
    params = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    opt = gdfast.torch.SGD(params, lr=0.25)
    handle = gdfast.torch.step_in_backward(torch.nn.ParameterList(params), opt)
    params[0].sum().backward()

    class Torn:
        mending = staticmethod(lambda: nullcontext(True))

    state = opt.state_dict()
    monkeypatch.setattr(opt, "_stepping", Torn)
    opt.load_state_dict(state)
    monkeypatch.undo()
    sum(params).sum().backward()
    opt.step()
    assert [param.tolist() for param in params] == [[0.5] * 3, [0.75] * 3]
    handle.remove()
    monkeypatch.setattr(opt, "_stepping", Torn)
    opt.load_state_dict(state)
