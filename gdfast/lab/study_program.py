"""The Python program that does what a study does, with the same bits."""

from typing import Any

from gdfast.lab.program import imports
from gdfast.lab.study import HELD, Settings, Study, estimator_of, optimizer_of

__all__ = ["of_study"]

USUAL = 400  # steps of a program of a study that has not begun

HEAD = '''\
"""{title}, {steps} steps: as seen in gdfast's lab."""

import numpy as np
{modules}
import gdfast
{ours}

{data}
{every}
rng = np.random.default_rng({seed})
order = rng.permutation(len(X))
kept = len(X) - int({held} * len(X))
held_X, held_y = X[order[kept:]], y[order[kept:]]
X, y = X[order[:kept]], y[order[:kept]]
{noise}
model = {make}
changes = {{{changes}}}
left = np.empty(0, int)
with np.errstate(all="ignore"):
    for step in range({steps}):
        if not len(left):
            left = rng.permutation(len(X))
        for change in changes.get(step, []):
            model.set_params(**change)
        rows, left = left[:{batch}], left[{batch}:]
        model.partial_fit(X[rows], y[rows]{classes})
print(f"loss of the last batch {{model.loss_curve_[-1]:.6g}}")
if len(held_X):
    print(f"score of {{len(held_X)}} held-out rows {{model.score(held_X, held_y):.6g}}")
'''
POINTS = """\
points = np.array([
{rows}
])
"""
DATA = {
    "line": POINTS + "X, y = points[:, :1], points[:, 1]",
    "classes": POINTS + "X, y = points[:, :2], points[:, 2].astype(int)",
    "words": """\
words = [word for text, _ in MESSAGES for word in set(text.split())]
known = sorted(word for word in set(words) if words.count(word) > 1)
X = np.array([[float(word in text.split()) for word in known] for text, _ in MESSAGES])
y = np.array([label for _, label in MESSAGES])""",
    "digits": """\
digits = load_digits()
X = digits.data[::3] / 16
X, y = X - X.mean(0), digits.target[::3]""",
}
MODULES = {"digits": "from sklearn.datasets import load_digits\n"}
OURS = {"words": "from gdfast.lab.texts import MESSAGES\n"}
NOISE = "y = y + {noise!r} * rng.standard_normal(len(y))\n"
WRONG = "wrong = rng.random(len(y)) < {noise!r}\ny = np.where(wrong, rng.integers(0, int(y.max()) + 1, len(y)), y)\n"


def of_study(study: Study) -> str:
    """Return the source of a program that makes the same steps, and keeps the estimator in `model`.

    Parameters
    ----------
    study : Study
        As far as it has come, or, at its start, the first 400 steps of it.
    """
    chosen, steps = study.settings, study.step_count or USUAL
    kind, arguments = estimator_of(chosen, len(study.X))
    changes = _changes(chosen, steps)
    make = f"{kind.__name__}({', '.join(f'{name}={_said(value)}' for name, value in arguments.items())})"
    noise = (NOISE if chosen.task == "line" else WRONG).format(noise=chosen.noise) if chosen.noise else ""
    ours = [*OURS.get(chosen.task, "").splitlines(), *imports([make, changes]).splitlines()]
    return HEAD.format(
        title={"line": "A line", "classes": "Two classes", "words": "Words", "digits": "Digits"}[chosen.task],
        steps=steps,
        modules=MODULES.get(chosen.task, ""),
        ours="\n".join([*ours, f"from gdfast.sklearn import {kind.__name__}"]),
        data=DATA[chosen.task].format(rows="\n".join(f"    {list(point)}," for point in chosen.points)),
        seed=chosen.seed,
        held=HELD,
        noise=noise,
        make=make,
        changes=changes,
        batch=chosen.batch,
        every="" if chosen.task == "line" else "classes = np.unique(y)\n",
        classes="" if chosen.task == "line" else ", classes=classes",
    )


def _changes(settings: Settings, steps: int) -> str:
    """Return the parameters that are set before a step, by the step."""
    found: dict[int, list[str]] = {}
    values = dict(settings.values)
    for change in settings.changes:
        if change.step < steps:
            values[change.name] = change.value
            parameters = optimizer_of(settings.rule, values)
            found.setdefault(change.step, []).append(_said(parameters))
    return ", ".join(f"{step}: [{', '.join(each)}]" for step, each in found.items())


def _said(value: Any) -> str:
    """Return a value as it is written in Python, optimizers by their name in gdfast."""
    if isinstance(value, type):
        return f"gdfast.{value.__name__}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_said, value))}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_said(one)}' for key, one in value.items())}}}"
    return repr(value)
