"""Schedules: the learning rate, or any other hyperparameter, as a pure function of the step.

Every schedule is a frozen dataclass that is called with a step, counted from 0, and returns a float. Its value depends
on the step only, never on earlier calls: a run that resumes at a step has the right value there, with nothing to save.
A schedule can be compared, hashed, pickled and printed (``eval(repr(schedule)) == schedule``), and so can the schedules
within it. `ReduceOnPlateau`, which follows a metric, is the one exception: it keeps state.

After its end a schedule keeps its last value. Lengths are in steps; ``total_steps`` includes the warm-up.

It uses no other room.
"""

from gdfast.schedules._base import Schedule, value_at
from gdfast.schedules._checks import ScheduleLike
from gdfast.schedules.basic import Constant, Exponential, InverseSqrt, InverseTime, InvScaling, MultiStep, StepDecay
from gdfast.schedules.compose import Join, Piecewise, Scaled, Warmup
from gdfast.schedules.cyclic import CosineRestarts, Cyclic, CyclicMomentum
from gdfast.schedules.decay import Cosine, Linear, Polynomial, WarmupStableDecay
from gdfast.schedules.onecycle import OneCycle, OneCycleMomentum
from gdfast.schedules.plateau import ReduceOnPlateau

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "CyclicMomentum",
    "Exponential",
    "InvScaling",
    "InverseSqrt",
    "InverseTime",
    "Join",
    "Linear",
    "MultiStep",
    "OneCycle",
    "OneCycleMomentum",
    "Piecewise",
    "Polynomial",
    "ReduceOnPlateau",
    "Scaled",
    "Schedule",
    "ScheduleLike",
    "StepDecay",
    "Warmup",
    "WarmupStableDecay",
    "value_at",
]
