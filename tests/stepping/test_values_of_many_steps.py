"""Hyperparameters at many steps are those at each step, and refused alike."""

import numpy as np
import pytest

import gdfast
from gdfast.schedules import Cosine, Linear, StepDecay
from gdfast.stepping.hyperparameters import NON_NEGATIVE, at_step, at_steps

SCHEDULES = [
    0.1,
    Cosine(0.5, total_steps=10, warmup_steps=3),
    Linear(0.5, total_steps=7),  # 0 from step 7 on
    StepDecay(0.5, step_size=4, gamma=0.2),
    lambda step: step / 7,
    lambda step: np.float32(0.3) if step % 2 else 3,
]


@pytest.mark.parametrize("value", SCHEDULES)
@pytest.mark.parametrize("is_float32", [False, True])
def test_many_steps_are_each_step(value, is_float32):
    steps = range(2, 15)
    found = at_steps(NON_NEGATIVE, "lr", value, steps, is_float32)
    assert found == [at_step(NON_NEGATIVE, "lr", value, step, is_float32) for step in steps]
    if callable(value):
        assert {type(number) for number in found} == {float}


class Falling(Cosine):
    """A schedule that turns negative at step 5."""

    def _value(self, step):
        return 1.0 - step / 4


def test_the_step_of_an_invalid_value_is_named():
    with pytest.raises(ValueError, match=r"lr at step 5 must be in \[0, inf\); got -0.25"):
        at_steps(NON_NEGATIVE, "lr", Falling(0.5, total_steps=10), range(3, 9), False)


def test_groups_give_the_values_of_every_step():
    opt = gdfast.Adam([np.zeros(2)], lr=Cosine(0.5, total_steps=10), betas=(0.5, Linear(0.9, total_steps=20)), eps=1e-3)
    (group,) = opt.param_groups
    assert [dict(values) for values in group.at_steps(range(3, 9))] == [group.at_step(step) for step in range(3, 9)]
    group["lr"] = group["eps"] = 0.25
    group["betas"] = (0.5, 0.75)
    assert [dict(values) for values in group.at_steps(range(2))] == [group.at_step(0)] * 2
    assert group["lr"] == 0.25


@pytest.mark.parametrize(
    ("steps", "error", "said"),
    [
        ([1, 2], TypeError, "steps must be a range; got list"),
        (range(-1, 3), ValueError, "step must be an integer >= 0"),
        (range(3, -3, -1), ValueError, "step must be an integer >= 0"),
    ],
)
def test_steps_are_a_range_of_steps(steps, error, said):
    with pytest.raises(error, match=said):
        Linear(0.1, total_steps=5).values_at(steps)


def test_no_steps_have_no_values():
    assert Linear(0.1, total_steps=5).values_at(range(0)) == []
