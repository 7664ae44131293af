"""The schedules that a command offers by name: each rises to `lr` and stays within a training of that many steps."""

from collections.abc import Callable

from gdfast.schedules import Constant, Cosine, Linear, OneCycle, Schedule, StepDecay, Warmup


def _cosine(lr: float, steps: int, warmup: int) -> Schedule:
    return Cosine(lr, steps, warmup_steps=warmup, min_lr=lr / 100)


def _linear(lr: float, steps: int, warmup: int) -> Schedule:
    return Linear(lr, steps, warmup_steps=warmup)


def _constant(lr: float, steps: int, warmup: int) -> Schedule:
    return Warmup(Constant(lr), warmup)


def _step(lr: float, steps: int, warmup: int) -> Schedule:
    thirds = StepDecay(lr, step_size=-(-(steps - warmup) // 3), gamma=0.1)
    return Warmup(thirds, warmup)


def _onecycle(lr: float, steps: int, warmup: int) -> Schedule:
    return OneCycle(lr, steps, pct_start=warmup / steps)


#: by name: a function of the highest rate, the number of steps, and the number of steps that the warm-up takes
SCHEDULES: dict[str, Callable[[float, int, int], Schedule]] = {
    "cosine": _cosine,
    "linear": _linear,
    "constant": _constant,
    "step": _step,
    "onecycle": _onecycle,
}
