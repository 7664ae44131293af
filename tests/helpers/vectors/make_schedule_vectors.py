"""Write schedules.json: what PyTorch, optax and transformers compute, each beside the schedule of ours that equals it.

    pip install torch==2.13.0 optax transformers
    python tests/helpers/vectors/make_schedule_vectors.py

Everything is float64. From PyTorch come the closed forms where a scheduler has one, since what it carries from step to
step gathers rounding errors, and runs of the schedulers that compute each value anew.
"""

import functools
import json
import math
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The peers are imported where they are used: collecting the tests imports this file, and must not need them.

Case = dict[str, Any]
FAR = (2_000, 12_345, 1_000_003)  # steps long after the end of every schedule here that has one


def steps_of(length: int, *borders: int, beyond: Iterable[int] = FAR) -> list[int]:
    """Return some sixty steps of a run of this length, every step around a border, and some beyond its end."""
    around = {border + offset for border in (0, *borders, length) for offset in (-1, 0, 1)}
    some = set(range(0, length, max(1, length // 60)))
    return sorted(step for step in around | some | set(beyond) if step >= 0)


def torch_scheduler(name: str, lr: float, **options: Any) -> Any:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=lr, momentum=0.5)
    return getattr(torch.optim.lr_scheduler, name)(optimizer, **options)


def closed_form(name: str, ours: str, steps: list[int], lr: float, **options: Any) -> Case:
    """Evaluate the closed form of a PyTorch scheduler."""
    peer = torch_scheduler(name, lr, **options)
    values = []
    for step in steps:
        peer.last_epoch = step
        values.append(float(peer._get_closed_form_lr()[0]))
    return case(ours, f"torch {name}", steps, values)


def torch_run(name: str, ours: str, steps: list[int], *, lr: float = 0.1, key: str = "lr", **options: Any) -> Case:
    """Run a PyTorch scheduler that computes each value anew, and read a value of its optimizer."""
    peer = torch_scheduler(name, lr, **options)
    values = {}
    for step in range(steps[-1] + 1):
        values[step] = float(peer.optimizer.param_groups[0][key])
        if step < steps[-1]:
            peer.optimizer.step()
            peer.step()
    return case(ours, f"torch {name} {key}", steps, [values[step] for step in steps])


def from_lambda(name: str, ours: str, steps: list[int], lr: float, **options: Any) -> Case:
    """Evaluate a schedule of transformers, which is a function that multiplies the learning rate."""
    import torch
    import transformers

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    peer = getattr(transformers, name)(optimizer, **options)
    values = [float(lr * peer.lr_lambdas[0](step)) for step in steps]
    return case(ours, f"transformers {name}", steps, values)


def from_optax(name: str, ours: str, steps: list[int], **options: Any) -> Case:
    """Evaluate a schedule of optax; an option that is a list of pairs makes the schedules within it."""
    import jax
    import optax

    with jax.enable_x64(True):
        if "schedules" in options:
            options["schedules"] = [getattr(optax, inner)(*arguments) for inner, arguments in options["schedules"]]
        schedule = getattr(optax, name)(**options)
        values = [float(schedule(step)) for step in steps]
    return case(ours, f"optax {name}", steps, values)


def case(ours: str, peer: str, steps: list[int], values: list[float]) -> Case:
    assert all(map(math.isfinite, values)), (ours, peer)
    return {"schedule": ours, "peer": peer, "steps": steps, "values": values}


def basic() -> Iterator[Case]:
    step_lr = functools.partial(closed_form, "StepLR")
    yield step_lr("StepDecay(0.1, 30)", steps_of(300, 30, 60), 0.1, step_size=30)
    yield step_lr("StepDecay(1.7, 7, 0.97)", steps_of(300, 7), 1.7, step_size=7, gamma=0.97)
    yield step_lr("StepDecay(0.3, 1, 0.0)", steps_of(3), 0.3, step_size=1, gamma=0.0)
    yield step_lr("StepDecay(1e-6, 50, 1.5)", steps_of(300, beyond=()), 1e-6, step_size=50, gamma=1.5)
    multi_step = functools.partial(closed_form, "MultiStepLR")
    yield multi_step("MultiStep(0.1, (30, 80))", steps_of(100, 30, 80), 0.1, milestones=[30, 80])
    yield multi_step("MultiStep(3e-4, (1, 2, 77), 0.3)", steps_of(100, 77), 3e-4, milestones=[1, 2, 77], gamma=0.3)
    yield multi_step("MultiStep(0.1, ())", steps_of(4), 0.1, milestones=[])
    exponential = functools.partial(closed_form, "ExponentialLR")
    yield exponential("Exponential(0.1, 0.97)", steps_of(500), 0.1, gamma=0.97)
    yield exponential("Exponential(1e-7, 1.07)", steps_of(300, beyond=()), 1e-7, gamma=1.07)
    yield from_optax(
        "exponential_decay",
        "Exponential(0.2, 0.3, step_size=70, end_lr=1e-3)",
        steps_of(500, 70),
        init_value=0.2,
        transition_steps=70,
        decay_rate=0.3,
        end_value=1e-3,
    )
    yield from_optax(
        "exponential_decay",
        "Exponential(1e-7, 1.3, step_size=3, end_lr=10.0)",
        steps_of(300),
        init_value=1e-7,
        transition_steps=3,
        decay_rate=1.3,
        end_value=10.0,
    )
    yield from_optax(
        "exponential_decay",
        "StepDecay(0.2, 70, 0.3)",
        steps_of(500, 70, 140),
        init_value=0.2,
        transition_steps=70,
        decay_rate=0.3,
        staircase=True,
    )
    yield from_optax("constant_schedule", "Constant(0.3)", steps_of(10), value=0.3)
    inverse_sqrt = functools.partial(from_lambda, "get_inverse_sqrt_schedule")
    yield inverse_sqrt("InverseSqrt(1e-3, warmup_steps=400)", steps_of(3000, 400), 1e-3, num_warmup_steps=400)
    yield inverse_sqrt("InverseSqrt(0.7)", steps_of(3000), 0.7, num_warmup_steps=0)
    yield inverse_sqrt(
        "InverseSqrt(0.7, warmup_steps=40, timescale=7)", steps_of(300, 40), 0.7, num_warmup_steps=40, timescale=7
    )


def decay() -> Iterator[Case]:
    linear = functools.partial(closed_form, "LinearLR")
    yield linear("Linear(0.3 * (1 / 3), 5, end_lr=0.3)", steps_of(5), 0.3)
    yield linear(
        "Linear(0.9, 300, end_lr=0.01)", steps_of(300), 1.0, start_factor=0.9, end_factor=0.01, total_iters=300
    )
    yield from_lambda(
        "get_linear_schedule_with_warmup",
        "Linear(5e-5, 1000, warmup_steps=100)",
        steps_of(1000, 100),
        5e-5,
        num_warmup_steps=100,
        num_training_steps=1000,
    )
    yield from_optax(
        "linear_schedule",
        "Linear(0.5, 77, end_lr=2.5)",
        steps_of(77),
        init_value=0.5,
        end_value=2.5,
        transition_steps=77,
    )
    polynomial = functools.partial(closed_form, "PolynomialLR")
    yield polynomial("Polynomial(0.1, 5)", steps_of(5), 0.1)
    yield polynomial("Polynomial(0.1, 250, power=0.9)", steps_of(250), 0.1, total_iters=250, power=0.9)
    yield polynomial("Polynomial(0.1, 1, power=3)", steps_of(1), 0.1, total_iters=1, power=3.0)
    yield from_lambda(
        "get_polynomial_decay_schedule_with_warmup",
        "Polynomial(0.01, 500, warmup_steps=30, end_lr=1e-7, power=2)",
        steps_of(500, 30),
        0.01,
        num_warmup_steps=30,
        num_training_steps=500,
        power=2.0,
    )
    yield from_optax(
        "polynomial_schedule",
        "Join((0.2, Polynomial(0.2, 90, end_lr=0.7, power=2.5)), (13,))",
        steps_of(103, 13),
        init_value=0.2,
        end_value=0.7,
        power=2.5,
        transition_steps=90,
        transition_begin=13,
    )
    cosine = functools.partial(closed_form, "CosineAnnealingLR")
    # After T_max PyTorch's values rise again, ours do not.
    yield cosine("Cosine(0.1, 1000)", steps_of(999, beyond=()), 0.1, T_max=1000)
    yield cosine("Cosine(0.3, 333, min_lr=0.013)", steps_of(332, beyond=()), 0.3, T_max=333, eta_min=0.013)
    yield cosine("Cosine(0.3, 1)", [0, 1], 0.3, T_max=1)
    yield from_optax(
        "warmup_cosine_decay_schedule",
        "Cosine(1e-3, 1000, warmup_steps=100, min_lr=1e-5)",
        steps_of(1000, 100),
        init_value=0.0,
        peak_value=1e-3,
        warmup_steps=100,
        decay_steps=1000,
        end_value=1e-5,
    )
    yield from_optax(
        "warmup_cosine_decay_schedule",
        "Cosine(0.7, 50, warmup_steps=1, warmup_lr=0.9, min_lr=0.1)",
        steps_of(50),
        init_value=0.9,
        peak_value=0.7,
        warmup_steps=1,
        decay_steps=50,
        end_value=0.1,
    )
    yield from_optax(
        "cosine_decay_schedule",
        "Cosine(0.7, 200, min_lr=0.07)",
        steps_of(200),
        init_value=0.7,
        decay_steps=200,
        alpha=0.1,
    )
    # After the end the values of transformers rise again, ours do not.
    yield from_lambda(
        "get_cosine_schedule_with_warmup",
        "Cosine(5e-5, 700, warmup_steps=70)",
        steps_of(699, 70, beyond=()),
        5e-5,
        num_warmup_steps=70,
        num_training_steps=700,
    )
    yield from_lambda(
        "get_cosine_with_min_lr_schedule_with_warmup",
        "Cosine(5e-5, 700, warmup_steps=33, min_lr=3e-6)",
        steps_of(699, 33, beyond=()),
        5e-5,
        num_warmup_steps=33,
        num_training_steps=700,
        min_lr=3e-6,
    )
    for shape in ("linear", "cosine", "1-sqrt"):
        yield from_lambda(
            "get_wsd_schedule",
            "WarmupStableDecay(0.02, 900, warmup_steps=50, warmup_lr=0.02 * 0.1, decay_steps=200, min_lr=0.02 * 0.1, "
            f"decay_type={shape!r})",
            steps_of(900, 50, 700),
            0.02,
            num_warmup_steps=50,
            num_decay_steps=200,
            num_training_steps=900,
            min_lr_ratio=0.1,
            decay_type=shape,
        )
    yield from_lambda(
        "get_wsd_schedule",
        "WarmupStableDecay(0.3, 100, warmup_steps=60, decay_steps=40, decay_type='cosine')",
        steps_of(100, 60),
        0.3,
        num_warmup_steps=60,
        num_decay_steps=40,
        num_training_steps=100,
    )


def cyclic() -> Iterator[Case]:
    restarts = functools.partial(torch_run, "CosineAnnealingWarmRestarts")
    yield restarts("CosineRestarts(0.1, 50)", steps_of(500, 50, 100, beyond=()), lr=0.1, T_0=50)
    yield restarts(
        "CosineRestarts(0.3, 7, cycle_mult=3, min_lr=0.02)",
        steps_of(900, 7, 28, 91, 280, 847, beyond=()),
        lr=0.3,
        T_0=7,
        T_mult=3,
        eta_min=0.02,
    )
    yield restarts("CosineRestarts(0.3, 1, cycle_mult=2)", steps_of(130, beyond=()), lr=0.3, T_0=1, T_mult=2)
    yield from_lambda(
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        "Warmup(Join((CosineRestarts(0.1, 100), 0.0), (400,)), 30)",
        steps_of(430, 30, 130, 230, 330),
        0.1,
        num_warmup_steps=30,
        num_training_steps=430,
        num_cycles=4,
    )
    yield from_optax(
        "sgdr_schedule",
        "Join((Cosine(0.2, 40, warmup_steps=10, warmup_lr=0.01, min_lr=1e-3), "
        "Cosine(0.1, 80, warmup_steps=20, min_lr=0.0)), (40,))",
        steps_of(120, 10, 40, 60),
        cosine_kwargs=[
            {"init_value": 0.01, "peak_value": 0.2, "warmup_steps": 10, "decay_steps": 40, "end_value": 1e-3},
            {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 20, "decay_steps": 80},
        ],
    )
    cycles = functools.partial(torch_run, "CyclicLR", base_lr=0.01, max_lr=0.3)
    for ours, options in (
        ("Cyclic(0.01, 0.3, step_size_up=50)", {"step_size_up": 50}),
        ("Cyclic(0.01, 0.3, step_size_up=20, step_size_down=47)", {"step_size_up": 20, "step_size_down": 47}),
        ("Cyclic(0.01, 0.3, step_size_up=20, mode='triangular2')", {"step_size_up": 20, "mode": "triangular2"}),
        (
            "Cyclic(0.01, 0.3, step_size_up=31, mode='exp_range', gamma=0.99)",
            {"step_size_up": 31, "mode": "exp_range", "gamma": 0.99},
        ),
        ("Cyclic(0.01, 0.3, step_size_up=1)", {"step_size_up": 1}),
    ):
        steps = steps_of(400, 20, 40, 50, 67, 100, beyond=())
        yield cycles(ours, steps, **options)
        yield cycles(f"{ours}.momentum()", steps, key="momentum", **options)


def one_cycle() -> Iterator[Case]:
    run = functools.partial(torch_run, "OneCycleLR", max_lr=0.4)
    linear = {"anneal_strategy": "linear"}
    for total_steps, arguments, options in (
        (100, "", {}),
        (333, ", pct_start=0.29", {"pct_start": 0.29}),
        (250, ", anneal_strategy='linear'", linear),
        (250, ", pct_start=0.4, three_phase=True", {"pct_start": 0.4, "three_phase": True}),
        (81, ", three_phase=True, anneal_strategy='linear'", {"three_phase": True, **linear}),
        (90, ", div_factor=3.0, final_div_factor=0.5", {"div_factor": 3.0, "final_div_factor": 0.5}),
        (50, ", pct_start=0.0", {"pct_start": 0.0}),
        (50, ", pct_start=1.0", {"pct_start": 1.0}),
        (1, "", {}),
    ):
        # The step numbered total_steps PyTorch extrapolates, later ones it refuses.
        steps = steps_of(total_steps - 1, round(0.3 * total_steps), round(0.6 * total_steps), beyond=())
        steps = [step for step in steps if step < total_steps]
        ours = f"OneCycle(0.4, {total_steps}{arguments})"
        # PyTorch's lines end a rounding error of the peak away from their end, which is 250000 times smaller.
        slack = 0.4 * 2**-52 if "linear" in options.values() else 0.0
        yield {**run(ours, steps, total_steps=total_steps, **options), "absolute_tolerance": slack}
        yield run(f"{ours}.momentum()", steps, key="momentum", total_steps=total_steps, **options)
    for pct_start, div_factor, final_div_factor in ((0.3, 25.0, 1e4), (0.5, 4.0, 10.0)):
        values = (0.4 / div_factor, 0.4, 0.4 * (1 / (div_factor * final_div_factor)))
        peak_step = int(pct_start * 100)
        yield from_optax(
            "cosine_onecycle_schedule",
            f"Piecewise({values!r}, ({peak_step}, 100), interpolation='cosine')",
            steps_of(100, peak_step),
            transition_steps=100,
            peak_value=0.4,
            pct_start=pct_start,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
        )


def compose() -> Iterator[Case]:
    borders = {10: 0.5, 90: 0.1, 300: 3.0}
    values = (0.8, 0.8 * 0.5, 0.8 * 0.5 * 0.1, 0.8 * 0.5 * 0.1 * 3.0)
    pieces = f"Piecewise({values!r}, (10, 90, 300)"
    yield from_optax(
        "piecewise_constant_schedule",
        f"{pieces})",
        steps_of(300, 10, 90),
        init_value=0.8,
        boundaries_and_scales=borders,
    )
    for shape in ("linear", "cosine"):
        yield from_optax(
            "piecewise_interpolate_schedule",
            f"{pieces}, interpolation={shape!r})",
            steps_of(300, 10, 90),
            interpolate_type=shape,
            init_value=0.8,
            boundaries_and_scales=borders,
        )
    yield from_optax(
        "warmup_constant_schedule",
        "Warmup(0.3, 17, warmup_lr=0.1)",
        steps_of(60, 17),
        init_value=0.1,
        peak_value=0.3,
        warmup_steps=17,
    )
    yield from_lambda(
        "get_constant_schedule_with_warmup", "Warmup(0.3, 17)", steps_of(60, 17), 0.3, num_warmup_steps=17
    )
    yield from_optax(
        "warmup_exponential_decay_schedule",
        "Warmup(Exponential(0.3, 0.5, step_size=20), 17, warmup_lr=0.1)",
        steps_of(200, 17, beyond=()),
        init_value=0.1,
        peak_value=0.3,
        warmup_steps=17,
        transition_steps=20,
        decay_rate=0.5,
    )
    yield from_optax(
        "join_schedules",
        "Join((Linear(0.1, 20, end_lr=0.9), 0.5, Cosine(0.7, 50)), (30, 60))",
        steps_of(130, 20, 30, 60),
        schedules=[
            ("linear_schedule", (0.1, 0.9, 20)),
            ("constant_schedule", (0.5,)),
            ("cosine_decay_schedule", (0.7, 50)),
        ],
        boundaries=[30, 60],
    )
    yield closed_form("ConstantLR", "Join((0.2 * 0.25, 0.2), (8,))", steps_of(30, 8), 0.2, factor=0.25, total_iters=8)


def plateau() -> Iterator[Case]:
    falling = [round(1.0 / (1 + t // 7) + 0.01 * math.sin(t), 6) for t in range(120)]
    flat = [0.5] * 80
    rising = [round(math.sqrt(t) + 0.3 * math.sin(3.0 * t), 6) for t in range(120)]
    negative = [-round(1.0 + 0.02 * t, 6) for t in range(60)] + [-2.0] * 40
    for options, metrics in (
        ({}, flat),
        ({"patience": 0, "factor": 0.7}, falling),
        ({"patience": 2, "factor": 0.5, "cooldown": 3, "min_lr": 0.01}, falling),
        ({"patience": 1, "factor": 0.5, "threshold": 0.3, "threshold_mode": "abs"}, falling),
        ({"patience": 3, "mode": "max", "factor": 0.9, "threshold": 0.05}, rising),
        ({"patience": 0, "mode": "max", "factor": 0.3, "threshold": 0.4, "threshold_mode": "abs"}, rising),
        ({"patience": 2, "factor": 0.5, "cooldown": 2}, negative),
        ({"patience": 0, "factor": 0.5, "eps": 0.02}, flat),
        ({"patience": 0, "factor": 0.0, "min_lr": 0.03}, flat),
    ):
        arguments = "".join(f", {name}={value!r}" for name, value in options.items())
        peer = torch_scheduler("ReduceLROnPlateau", 0.4, **options)
        values = []
        for metric in metrics:
            peer.step(metric)
            values.append(float(peer.optimizer.param_groups[0]["lr"]))
        yield {"schedule": f"ReduceOnPlateau(0.4{arguments})", "metrics": metrics, "values": values}


def main() -> None:
    warnings.simplefilter("ignore")  # PyTorch warns of the order of calls, which here nothing depends on
    vectors = {
        "versions": {name: version(name) for name in ("torch", "optax", "jax", "transformers")},
        "schedules": [*basic(), *decay(), *cyclic(), *one_cycle(), *compose()],
        "plateau": list(plateau()),
    }
    lines = [f'"versions": {json.dumps(vectors["versions"])}']
    for name in ("schedules", "plateau"):
        cases = ",\n".join(json.dumps(case, allow_nan=False) for case in vectors[name])
        lines.append(f'"{name}": [\n{cases}\n]')
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(__file__).with_name("schedules.json").write_text(text)


if __name__ == "__main__":
    main()
