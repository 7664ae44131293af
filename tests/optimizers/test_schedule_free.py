"""Schedule-free optimizers: what the parameters hold in training and in evaluation."""

import copy

import numpy as np
import pytest
from cases import CASES

import gdfast
from arrays import assert_same_bits, snapshot

ENGINES = ["native", "numpy"]
FREE = [case for case in CASES if case.name.startswith("schedule_free")]


def gradients(count, size=6):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, size))


@pytest.mark.parametrize("engine", ENGINES)
def test_eval_switches_to_the_average_of_the_iterates(engine):
    """With equal weights x is the mean of all z, whatever y."""
    w = np.linspace(-1.0, 1.0, 6)
    z, path = w.copy(), []
    opt = gdfast.ScheduleFreeSGD(w, lr=0.1, momentum=0.8, engine=engine)
    for grad in gradients(50):
        opt.step(grad)
        z = z - 0.1 * grad
        path.append(z)
    y = w.copy()
    np.testing.assert_allclose(opt.state["0"]["z"], z, rtol=1e-12)
    opt.eval()
    np.testing.assert_allclose(w, np.mean(path, axis=0), rtol=1e-11)
    opt.eval()
    np.testing.assert_allclose(w, np.mean(path, axis=0), rtol=1e-11)
    opt.train()
    np.testing.assert_allclose(w, y, rtol=1e-14)
    opt.train()
    np.testing.assert_allclose(w, y, rtol=1e-14)


@pytest.mark.parametrize("case", FREE, ids=str)
def test_engines_agree_over_evaluation(case):
    start = np.random.default_rng(1).standard_normal(70_000).astype(np.float32)
    results = []
    for engine in ENGINES:
        w = {"a": start.copy(), "b": start[:3].reshape(3, 1).copy()}
        opt = case.make(w, engine=engine)
        for step in range(6):
            opt.step({name: np.sin(array + step) for name, array in w.items()})
            if step % 2:
                opt.eval()
                opt.train()
        opt.eval()
        results.append((w, opt.state))
    assert_same_bits(results[0], results[1])


@pytest.mark.parametrize("case", FREE, ids=str)
def test_no_step_in_evaluation(case):
    w = np.ones(6)
    opt = case.make(w)
    opt.eval()
    before = snapshot(opt, w)
    with pytest.raises(RuntimeError, match=r": call train\(\)"):
        opt.step(np.ones(6))
    assert snapshot(opt, w) == before
    opt.train()
    opt.step(np.ones(6))


@pytest.mark.parametrize("case", FREE, ids=str)
def test_resumes_from_evaluation(case):
    w = np.ones(6)
    opt = case.make(w)
    for grad in gradients(40):
        opt.step(grad)
    opt.eval()
    again = w.copy()
    resumed = case.make(again)
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    for which in (opt, resumed):
        with pytest.raises(RuntimeError, match=r": call train\(\)"):
            which.step(np.ones(6))
        which.train()
        for grad in gradients(5):
            which.step(grad)
    assert_same_bits(w, again)
    assert_same_bits(opt.state, resumed.state)


def test_a_group_that_joins_in_evaluation():
    """Its parameters are x and y at once; the others go back to y."""
    first, second = np.ones(2), np.ones(2)
    opt = gdfast.ScheduleFreeSGD([{"params": first}], lr=0.5)
    for _ in range(2):
        opt.step([np.ones(2)])
    y = first.copy()
    opt.eval()
    opt.add_param_group({"params": second})
    with pytest.raises(RuntimeError, match=r": call train\(\)"):
        opt.step([np.ones(2), np.ones(2)])
    opt.train()
    np.testing.assert_allclose(first, y, rtol=1e-15)
    assert second.tolist() == [1.0, 1.0]
    opt.step([np.ones(2), np.ones(2)])


def test_not_in_the_middle_of_something():
    opt = gdfast.ScheduleFreeAdamW(np.ones(2), ema_decay=0.9)
    with opt.averaged(), pytest.raises(RuntimeError, match=r"first leave averaged\(\)"):
        opt.eval()
    two = gdfast.ScheduleFreeAdamW([np.ones(2), np.ones(2)])
    two.step_one("0", np.ones(2))
    with pytest.raises(RuntimeError, match="a step in pieces is open"):
        two.eval()


def test_the_weight_of_x_is_fixed():
    opt = gdfast.ScheduleFreeSGD(np.ones(2))
    with pytest.raises(ValueError, match=r"momentum is settled when ScheduleFreeSGD is made, as 0.9; got 0.5"):
        opt.param_groups[0]["momentum"] = 0.5
    opt = gdfast.ScheduleFreeAdamW(np.ones(2))
    with pytest.raises(ValueError, match=r"betas is settled .* as \(0.9, 0.999\); got \(0.9, 0.5\)"):
        opt.param_groups[0]["betas"] = (0.9, 0.5)


def test_a_learning_rate_of_zero_has_no_weight():
    """A learning rate of 0 gives its step no weight, and the first one nothing to divide by."""
    w = np.array([2.0])
    opt = gdfast.ScheduleFreeSGD(w, lr=lambda step: 0.0 if step == 0 else 0.5)
    opt.step(np.ones(1))
    assert w[0] == 2.0
    opt.step(np.ones(1))
    opt.eval()
    np.testing.assert_allclose(w, 1.5, rtol=1e-15)
