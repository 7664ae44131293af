"""The Python program that does what a race does, with the same bits."""

import textwrap
from dataclasses import replace

from gdfast.checkpoint.settings import CLASSES
from gdfast.lab.race import Race
from gdfast.lab.rules import SHAPES, made_with
from gdfast.lab.settings import Change, Settings

__all__ = ["imports", "of_race", "program"]

HEAD = '''\
"""{title}, {steps} steps: as seen in gdfast's lab."""

{formats}import numpy as np

import gdfast
{imports}

def loss(x, y):
    return {value}


def gradient(x, y):
    return np.array([{dx}, {dy}], "{dtype}")


def run(kind, changes=(), dtype="{dtype}", {lookahead}**options):
    point = np.array({start}, dtype)
    {make}
    {around}{rng}for step in range({steps}):
        for _, name, value in (change for change in changes if change[0] == step):
            opt.param_groups[0][name] = value
        {step}
        if not np.isfinite(point).all():
            break
    x, y = point.astype(float)
    print(f"{{kind.__name__:20}} {{opt.step_count:5}} steps   x {{x:.6g}}   y {{y:.6g}}   loss {{loss(x, y):.6g}}")
    return point


with np.errstate(all="ignore"):
    points = [
{runs}
    ]
'''


def program(settings: Settings) -> str:
    """Return the source of a program that makes the same steps, prints where they end, and keeps it in `points`."""
    formula = settings.surface.formula
    matrix = next((rule for rule in SHAPES if any(racer.rule == rule for racer in settings.racers)), None)
    runs = [_run(settings, i) for i in range(len(settings.racers))]
    slope = "gradient(*point.astype(float))"
    if settings.noise:
        slope += f' + ({settings.noise!r} * rng.standard_normal(2)).astype("{settings.dtype}")'
    shaped = f"({slope}).reshape(params.shape)" if matrix else slope
    ahead = any(racer.values.get("lookahead_k") for racer in settings.racers)
    make = "opt = kind(point, **options)"
    if matrix:
        make = f"params = point.reshape({SHAPES[matrix]}) if kind is gdfast.{matrix} else point\n    "
        make += "opt = kind(params, **options)"
    return HEAD.format(
        title=settings.surface.title,
        steps=settings.steps,
        imports=imports(runs),
        formats="import ml_dtypes  # from here on NumPy knows bfloat16\n"
        if any("dtype='bfloat16'" in run for run in runs)
        else "",
        value=formula.source,
        dx=formula.dx,
        dy=formula.dy,
        dtype=settings.dtype,
        start=tuple(settings.start),
        make=make,
        rng=f"rng = np.random.default_rng({settings.seed})\n    " if settings.noise else "",
        around="stepper = gdfast.Lookahead(opt, k=lookahead_k) if lookahead_k else opt\n    " if ahead else "",
        lookahead="lookahead_k=None, " if ahead else "",
        step=f"{'stepper' if ahead else 'opt'}.step({shaped})",
        runs=textwrap.indent("\n".join(runs), " " * 8),
    )


def of_race(race: Race) -> str:
    """Return the program of a race as far as it has come, or, at its start, of all of it."""
    steps = race.step_count or race.settings.steps
    changes = tuple(change for change in race.settings.changes if change.step < steps)
    return program(replace(race.settings, steps=steps, changes=changes))


def _run(settings: Settings, index: int) -> str:
    racer = settings.racers[index]
    own = [_change(change) for change in settings.changes if change.racer == index]
    values = made_with(racer.values)
    if racer.values.get("dtype"):
        values = {"dtype": racer.values["dtype"], **values}
    if racer.values.get("lookahead_k"):
        values = {"lookahead_k": racer.values["lookahead_k"], **values}
    options = [f"{name}={value!r}" for name, value in values.items()]
    changes = [f"changes=[{', '.join(own)}]"] if own else []
    return f"run({', '.join([f'gdfast.{racer.rule}', *changes, *options])}),"


def _change(change: Change) -> str:
    return f"({change.step}, {change.name!r}, {change.value!r})"


def imports(runs: list[str]) -> str:
    """Return the line that imports the schedules of pieces of a program; an empty one if there are none."""
    names = sorted(name for name in CLASSES if any(f"{name}(" in run for run in runs))
    return f"from gdfast.schedules import {', '.join(names)}\n" if names else ""
