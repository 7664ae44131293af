"""Schedules in checkpoints: ours come back as they were, a function of one's own stays where it is."""

import numpy as np
import pytest

import gdfast
from gdfast import schedules
from gdfast.checkpoint import MismatchError


def own_rate(step):
    return 0.5**step


class OwnSchedule:
    def __call__(self, step):
        return 0.25


@pytest.mark.parametrize("rate", [own_rate, OwnSchedule(), schedules.Warmup(own_rate, 2)])
def test_user_functions_are_kept(tmp_path, rate):
    opt = gdfast.Adam(np.zeros(1), lr=rate, betas=(own_rate, 0.5), clip_norm=own_rate)
    gdfast.save(tmp_path / "c", opt)
    again = gdfast.Adam(np.zeros(1), lr=rate, betas=(own_rate, 0.9), clip_norm=own_rate)
    gdfast.load(tmp_path / "c", again)
    assert again.param_groups[0]["lr"] is rate
    assert again.param_groups[0]["betas"] == (own_rate, 0.5)
    assert again.guard.clip_norm is own_rate
    number = gdfast.Adam(np.zeros(1), lr=0.5)
    named = "Warmup" if isinstance(rate, schedules.Warmup) else f"{__name__}\\.\\w+"
    with pytest.raises(MismatchError, match=rf"lr was a function of your own when saved, \S*{named}") as caught:
        gdfast.load(tmp_path / "c", number)
    for part in ("betas[0] was", "clip_norm was", "create the optimizer with it before loading; got 0.5"):
        assert part in str(caught.value)


def every_schedule():
    cosine, cycle = schedules.Cosine(0.1, total_steps=9, warmup_steps=2), schedules.OneCycle(0.3, total_steps=8)
    plateau = schedules.ReduceOnPlateau(0.3, mode="max", patience=0)
    plateau.update(1.0)
    plateau.update(0.5)
    yield from (cosine, cycle, cycle.momentum(), plateau, schedules.ReduceOnPlateau(1.0))
    yield schedules.Join([0.5, cosine, schedules.Scaled(plateau, 0.5)], milestones=[3, 5])
    yield schedules.Piecewise([0.5, 0.1], milestones=[4], interpolation="linear")
    yield from (schedules.Cyclic(0.1, 0.2, mode="exp_range"), schedules.Cyclic(0.1, 0.2).momentum())
    yield from (
        schedules.Scaled(0.5, cosine),
        schedules.Warmup(0.5, 3),
        schedules.Constant(0.5),
        schedules.StepDecay(0.5, 3),
    )
    yield from (schedules.MultiStep(0.5, [2, 4]), schedules.Exponential(0.5, 0.9), schedules.InverseTime(0.5, 0.1))
    yield from (schedules.InverseSqrt(0.5, warmup_steps=3), schedules.InvScaling(0.5), schedules.CosineRestarts(0.5, 4))
    yield from (schedules.Linear(0.5, total_steps=3), schedules.Polynomial(0.5, total_steps=3, power=2.0))
    yield schedules.WarmupStableDecay(0.5, total_steps=9, decay_steps=3)


def test_every_schedule_comes_back(tmp_path):
    from gdfast.checkpoint.settings import CLASSES

    seen = set()
    for schedule in every_schedule():
        opt = gdfast.SGD(np.zeros(1), lr=schedule, momentum=0.5)
        gdfast.save(tmp_path / "c", opt)
        again = gdfast.SGD(np.zeros(1), lr=0.1, momentum=0.1)
        gdfast.load(tmp_path / "c", again)
        assert again.param_groups[0]["lr"] == schedule
        assert [again.param_groups[0]["lr"](step) for step in range(12)] == [schedule(step) for step in range(12)]
        seen.add(type(schedule).__name__)
    assert seen == set(CLASSES)
