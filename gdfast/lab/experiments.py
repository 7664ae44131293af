"""Twelve guided experiments: what to look at, and a race that shows it. A test runs each and holds it to its words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["EXPERIMENTS", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """A few sentences and a race.

    Attributes
    ----------
    title : str
    text : str
        What there is to see, and what to try.
    race : dict
        Its settings, as :func:`gdfast.lab.settings.read` takes them.
    speed : float
        Steps a second.
    """

    title: str
    text: str
    race: Mapping[str, Any]
    speed: float = 20.0


def _racer(rule: str, **values: Any) -> dict[str, Any]:
    return {"rule": rule, "values": values}


def _schedule(name: str, **arguments: Any) -> dict[str, Any]:
    return {"schedule": name, "arguments": arguments}


EXPERIMENTS: Mapping[str, Experiment] = {
    "rate": Experiment(
        "Too slow, right, too fast",
        "Gradient descent goes downhill, and the learning rate (lr) says how far with each step. The first racer's is "
        "too small: it crawls. The second's suits this ravine. The third's is a little too large: each step across "
        "lands higher on the other side than the one before, and it leaps out. Move its slider below 0.05, the "
        "limit for a slope of 40, and start again.",
        {"surface": "ravine", "racers": [_racer("SGD", lr=0.004), _racer("SGD", lr=0.04), _racer("SGD", lr=0.0515)],
         "steps": 150},
        12.0,
    ),
    "batches": Experiment(
        "Whole data, or a few rows?",
        "The gradient over all data is exact and dear; that of a small batch is cheap, and right on average only. "
        "Here every gradient has the noise of a small batch. With a large rate one gets close quickly and then "
        "keeps dancing around the minimum; with a small one it comes slowly and dances little. Set the noise to 0 "
        "for the full batch, to 6 for one row at a time. Noise helps too: see the saddle, number 8.",
        {"surface": "noisy", "racers": [_racer("SGD", lr=0.2), _racer("SGD", lr=0.02)], "steps": 300, "seed": 3},
        25.0,
    ),
    "momentum": Experiment(
        "Momentum in a ravine, and too much of it",
        "Plain descent zigzags: the rate that suits the steep walls is far too small for the gentle floor. Momentum"
        " adds up what stays the same, the way along the floor, and lets cancel what changes sign. With 0.8 it "
        "arrives first. With 0.98 it does not stop in time: it swings past the minimum and back, many times.",
        {"surface": "ravine", "racers": [_racer("SGD", lr=0.02), _racer("SGD", lr=0.02, momentum=0.8),
         _racer("SGD", lr=0.02, momentum=0.98)], "steps": 250},
    ),
    "nesterov": Experiment(
        "Nesterov: look ahead before the step",
        "Both have the same momentum and rate. Nesterov's variant takes the gradient's newest say into the step "
        "with more weight, so it brakes earlier where the slope turns, and swings less far past the minimum. Watch "
        "the loss on the logarithmic scale: its waves die out sooner.",
        {"surface": "ravine", "racers": [_racer("SGD", lr=0.01, momentum=0.95),
         _racer("SGD", lr=0.01, momentum=0.95, nesterov=True)], "steps": 250},
    ),
    "adagrad": Experiment(
        "Adagrad tires, RMSprop does not",
        "Adagrad divides by the root of the sum of all squared gradients so far. The sum only grows, so the steps "
        "only shrink: look at their length. RMSprop averages instead, and forgets: its steps keep their length as "
        "long as there is a slope. Along a valley that goes on for long, this is what counts.",
        {"surface": "rosenbrock", "racers": [_racer("Adagrad", lr=0.05), _racer("RMSprop", lr=0.005)], "steps": 1500},
        150.0,
    ),
    "bias": Experiment(
        "Adam without its bias correction",
        "Averages that start from 0 are too small at first. Adam divides that away. RMSprop with the same weights "
        "is Adam without momentum and without the correction: its average of squares is far too small in the first "
        "steps, and what is divided by it far too large. Its first step is 30 times as long as Adam's; see the "
        "lengths of the steps.",
        {"surface": "bowl", "racers": [_racer("Adam", lr=0.03, betas=[0.0, 0.999]),
         _racer("RMSprop", lr=0.03, alpha=0.999)],
         "steps": 250},
    ),
    "decay": Experiment(
        "Weight decay: L2, or decoupled",
        "Here x does not matter for the loss: only weight decay moves it. Without any, plain Adam leaves it alone. "
        "AdamW shrinks it by lr times weight_decay of its size a step, whatever the gradients do. Adam adds the "
        "decay to the gradient (L2) and then divides by the gradient's size, that is by the decay itself: it walks "
        "to 0 at full speed, and does so even with a weight_decay of 1e-6. Try it.",
        {"surface": {"formula": "0.5*y**2", "view": [-1.0, 4.0, -1.6, 2.4]}, "start": [3.2, 1.6],
         "racers": [_racer("Adam", lr=0.03), _racer("AdamW", lr=0.03, weight_decay=0.1),
                    _racer("Adam", lr=0.03, weight_decay=0.1)], "steps": 400},
        40.0,
    ),
    "saddle": Experiment(
        "Escape from a saddle",
        "At a saddle the slope is 0, but it is no minimum. All start a thousandth beside the ridge. Plain descent "
        "follows the slope to the saddle and lingers, because there is hardly any gradient to push it off. Momentum"
        " gathers what little there is. Adam divides by the gradient's own size, so that even a faint slope gives a"
        " whole step: it leaves first. Now set the noise to 0.1: noise pushes plain descent off the ridge, too.",
        {"surface": "saddle", "racers": [_racer("SGD", lr=0.05), _racer("SGD", lr=0.05, momentum=0.9),
         _racer("Adam", lr=0.05)], "steps": 300},
    ),
    "exploding": Experiment(
        "Exploding gradients, and clipping",
        "A gentle slope, and at its end a wall, as recurrent networks have them. On the wall the gradient is a "
        "hundred times as long as before: one step throws plain descent far out of the picture, and it has to walk "
        "back. The second racer clips: no gradient counts for more than clip_norm. Its steps stay small, and it "
        "stays at the foot of the wall.",
        {"surface": "cliff", "racers": [_racer("SGD", lr=1.5), _racer("SGD", lr=1.5, clip_norm=0.2)], "steps": 150},
        10.0,
    ),
    "vanishing": Experiment(
        "Vanishing gradients",
        "Far out in this valley the slope is about 0.005: plain descent slides to the floor at once and then seems "
        "to stand still. Its loss is a flat line, which is easily mistaken for the end. Momentum adds the faint "
        "slopes up, and gets away in a while. Adam and SignSGD do not ask how steep it is, only where down is, and "
        "walk on.",
        {"surface": "flat", "racers": [_racer("SGD", lr=0.3), _racer("SGD", lr=0.3, momentum=0.9),
         _racer("Adam", lr=0.05), _racer("SignSGD", lr=0.05)], "steps": 400},
        40.0,
    ),
    "schedules": Experiment(
        "Schedules: warm-up, steps, cosine, cycles",
        "All gradients are noisy here, and the first five are the same descent. A constant rate keeps dancing. A "
        "rate that falls in steps, or along a cosine after a warm-up, comes to rest: large steps first, small ones at "
        "the end. A cyclic rate goes up and down, and so does the distance from the minimum. See the rates beside "
        "the losses. The last racer needs no schedule: it keeps an average of its way, which is quieter than any "
        "point of it, and comes to rest at a constant rate.",
        {"surface": "noisy", "racers": [
            _racer("SGD", lr=0.2),
            _racer("SGD", lr=_schedule("StepDecay", lr=0.2, step_size=100, gamma=0.2)),
            _racer("SGD", lr=_schedule("Cosine", lr=0.2, total_steps=400, warmup_steps=40)),
            _racer("SGD", lr=_schedule("WarmupStableDecay", lr=0.2, total_steps=400, warmup_steps=20, decay_steps=150)),
            _racer("SGD", lr=_schedule("Cyclic", base_lr=0.01, max_lr=0.2, step_size_up=50)),
            _racer("ScheduleFreeSGD", lr=0.5)],
         "steps": 400, "seed": 1},
        40.0,
    ),
    "formats": Experiment(
        "Fewer bits: to the nearest, or at random",
        "A number in bfloat16 has two or three digits: a small step is less than the gap to the next number. The "
        "first three are one descent. The first has float32. The second is rounded to the nearest number: it loses its "
        "small steps and stands still in the middle of a slope. The third is rounded at random, up or down, the closer "
        "the likelier: small steps count on average, and it keeps up. Adam's averages change by thousandths, so in "
        "eight bits they are always rounded at random: the last racer keeps up with Adam in float32.",
        {"surface": "bowl", "racers": [
            _racer("SGD", lr=0.003), _racer("SGD", lr=0.003, dtype="bfloat16", rounding="nearest"),
            _racer("SGD", lr=0.003, dtype="bfloat16", rounding="stochastic"),
            _racer("Adam", lr=0.01), _racer("Adam", lr=0.01, state_dtype="8bit")],
         "steps": 800, "dtype": "float32"},
        80.0,
    ),
}  # fmt: skip
