"""Copies of an optimizer: they go on with the same bits, and share nothing with it."""

import copy
import pickle

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import assert_same_bits
from gdfast import schedules

COPIES = {"pickle": lambda opt: pickle.loads(pickle.dumps(opt)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_a_copy_goes_on_alone(case, how, engine):
    params = {"a": np.ones(70), "b": np.ones((2, 3), np.float32)}
    grads = {"a": np.sin(np.arange(70.0)), "b": np.ones((2, 3), np.float32)}
    lr = schedules.Cosine(0.1, total_steps=20)
    opt = case.make(params, lr=lr, engine=engine, clip_norm=3.0, ema_decay=0.9)
    opt.step(grads)
    twin = COPIES[how](opt)
    theirs = dict(zip(opt.state, twin.param_groups[0]["params"], strict=True))
    assert_same_bits(theirs, params)
    for mine, its in zip(params.values(), theirs.values(), strict=True):
        assert not np.shares_memory(mine, its)
    before = copy.deepcopy(params)
    twin.step(grads)
    assert_same_bits(params, before)
    opt.step(grads)
    assert_same_bits(theirs, params)
    assert_same_bits(twin.state, opt.state)
    assert (twin.step_count, twin.last_norm, twin.lr) == (opt.step_count, opt.last_norm, opt.lr)


def test_bound_buffers_are_not_copied():
    opt = gdfast.SGD(np.zeros(2), grads=np.ones(2))
    twin = copy.deepcopy(opt)
    with pytest.raises(TypeError, match="step needs grads"):
        twin.step()
    twin.step(np.ones(2))


def test_not_while_averaged():
    opt = gdfast.SGD(np.zeros(2), ema_decay=0.5)
    with opt.averaged(), pytest.raises(RuntimeError, match=r"first leave averaged\(\)"):
        copy.deepcopy(opt)
