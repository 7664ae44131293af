"""The schedules beside their living counterparts, where those are installed: whole runs, step by step."""

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from gdfast.schedules import (
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InvScaling,
    Join,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    ReduceOnPlateau,
    Scaled,
    Schedule,
    StepDecay,
    Warmup,
)


class TestPyTorch:
    """Schedulers driven as a training loop drives them: ``optimizer.step()``, then ``scheduler.step()``."""

    @pytest.fixture(autouse=True)
    def torch(self) -> Any:
        self.torch = pytest.importorskip("torch")
        self.lr_scheduler = self.torch.optim.lr_scheduler

    def optimizer(self, lr: float) -> Any:
        return self.torch.optim.SGD([self.torch.zeros(1, dtype=self.torch.float64)], lr=lr, momentum=0.5)

    def run(self, optimizer: Any, scheduler: Any, steps: int) -> Iterator[dict[str, Any]]:
        with warnings.catch_warnings():
            # SequentialLR itself calls its schedulers in the way that PyTorch deprecates.
            warnings.simplefilter("ignore")
            for step in range(steps):
                if step > 0:
                    optimizer.step()
                    scheduler.step()
                yield dict(optimizer.param_groups[0])

    def compare(
        self, ours: Schedule, name: str, steps: int, rtol: float = 1e-12, lr: float = 0.3, **options: Any
    ) -> None:
        optimizer = self.optimizer(lr)
        scheduler = getattr(self.lr_scheduler, name)(optimizer, **options)
        expected = [group["lr"] for group in self.run(optimizer, scheduler, steps=steps)]
        np.testing.assert_allclose([ours(step) for step in range(steps)], expected, rtol=rtol)

    @pytest.mark.parametrize(
        ("ours", "name", "steps", "options"),
        [
            (StepDecay(0.3, 13, 0.7), "StepLR", 200, {"step_size": 13, "gamma": 0.7}),
            (MultiStep(0.3, (1, 20, 90), 0.2), "MultiStepLR", 200, {"milestones": [1, 20, 90], "gamma": 0.2}),
            (Exponential(0.3, 0.98), "ExponentialLR", 500, {"gamma": 0.98}),
            (
                Linear(0.3 * 0.2, 80, end_lr=0.3 * 0.9),
                "LinearLR",
                200,
                {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 80},
            ),
            (Join((0.3 * 0.4, 0.3), (9,)), "ConstantLR", 20, {"factor": 0.4, "total_iters": 9}),
            (Polynomial(0.3, 70, power=2), "PolynomialLR", 200, {"total_iters": 70, "power": 2.0}),
            (Cosine(0.3, 90, min_lr=0.01), "CosineAnnealingLR", 91, {"T_max": 90, "eta_min": 0.01}),
            (InvScaling(0.3, 0.7), "LambdaLR", 100, {"lr_lambda": lambda step: (step + 1) ** -0.7}),
            (Scaled(lambda step: 0.9**step, 0.3), "LambdaLR", 100, {"lr_lambda": lambda step: 0.9**step}),
        ],
    )
    def test_run(self, ours: Schedule, name: str, steps: int, options: dict[str, Any]) -> None:
        # PyTorch derives each value of most of these from the one before. The rounding errors add up, hence the wider
        # tolerance: its own closed forms, which the stored vectors hold, agree to 1e-12.
        self.compare(ours, name, steps, rtol=1e-10, **options)

    @pytest.mark.parametrize("seed", range(6))
    def test_restarts(self, seed: int) -> None:
        rng = random.Random(seed)
        length, mult, floor = rng.randint(1, 30), rng.randint(1, 4), rng.uniform(0.0, 0.2)
        ours = CosineRestarts(0.3, length, cycle_mult=mult, min_lr=floor)
        self.compare(ours, "CosineAnnealingWarmRestarts", 600, T_0=length, T_mult=mult, eta_min=floor)

    @pytest.mark.parametrize("seed", range(9))
    def test_cyclic(self, seed: int) -> None:
        rng = random.Random(seed)
        mode = ("triangular", "triangular2", "exp_range")[seed % 3]
        options = {
            "step_size_up": rng.randint(1, 50),
            "step_size_down": rng.randint(1, 50),
            "mode": mode,
            "gamma": 0.995,
        }
        ours = Cyclic(0.02, 0.7, **options)
        optimizer = self.optimizer(0.3)
        scheduler = self.lr_scheduler.CyclicLR(optimizer, base_lr=0.02, max_lr=0.7, **options)
        for step, group in enumerate(self.run(optimizer, scheduler, steps=500)):
            assert ours(step) == pytest.approx(group["lr"], rel=1e-12)
            assert ours.momentum()(step) == pytest.approx(group["momentum"], rel=1e-12)

    @pytest.mark.parametrize("seed", range(8))
    def test_one_cycle(self, seed: int) -> None:
        rng = random.Random(seed)
        three_phase = seed % 2 == 1
        options = {
            "total_steps": rng.randint(20, 300),
            "pct_start": rng.uniform(0.1, 0.5 if three_phase else 0.9),
            "div_factor": rng.uniform(1.0, 50.0),
            "final_div_factor": rng.uniform(1.0, 100.0),
            "three_phase": three_phase,
        }
        ours = OneCycle(0.7, **options, anneal_strategy="cosine" if seed < 4 else "linear")
        momentum = ours.momentum(0.8, 0.99)
        optimizer = self.optimizer(0.3)
        scheduler = self.lr_scheduler.OneCycleLR(
            optimizer,
            0.7,
            **options,
            anneal_strategy="cos" if seed < 4 else "linear",
            base_momentum=0.8,
            max_momentum=0.99,
        )
        for step, group in enumerate(self.run(optimizer, scheduler, steps=options["total_steps"])):
            assert ours(step) == pytest.approx(group["lr"], rel=1e-12)
            assert momentum(step) == pytest.approx(group["momentum"], rel=1e-12)

    def test_one_cycle_after_its_end(self) -> None:
        optimizer = self.optimizer(0.3)
        scheduler = self.lr_scheduler.OneCycleLR(optimizer, 0.7, total_steps=10, final_div_factor=1.0)
        *_, last, beyond = (group["lr"] for group in self.run(optimizer, scheduler, steps=11))
        ours = OneCycle(0.7, 10, final_div_factor=1.0)
        assert ours(9) == pytest.approx(last, rel=1e-12)
        assert beyond > 1.01 * last  # PyTorch's cosine turns upwards again; the difference that the docstring names
        assert ours(10) == ours(10**6) == ours(9)

    def test_sequential(self) -> None:
        optimizer = self.optimizer(0.3)
        parts = [
            self.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=20),
            self.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100),
            self.lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler = self.lr_scheduler.SequentialLR(optimizer, parts, milestones=[20, 100])
        expected = [group["lr"] for group in self.run(optimizer, scheduler, steps=150)]
        ours = Join((Linear(0.03, 20, end_lr=0.3), Cosine(0.3, 100), Exponential(0.3, 0.9)), (20, 100))
        np.testing.assert_allclose([ours(step) for step in range(150)], expected, rtol=1e-10)
        warm = Warmup(Cosine(0.3, 100), 20, warmup_lr=0.03)
        np.testing.assert_allclose([warm(step) for step in range(100)], expected[:100], rtol=1e-10)

    def test_chained(self) -> None:
        optimizer = self.optimizer(0.3)
        parts = [
            self.lr_scheduler.ConstantLR(optimizer, factor=0.1, total_iters=20),
            self.lr_scheduler.ExponentialLR(optimizer, gamma=0.9),
        ]
        scheduler = self.lr_scheduler.ChainedScheduler(parts, optimizer=optimizer)
        expected = [group["lr"] for group in self.run(optimizer, scheduler, steps=60)]
        ours = Scaled(Exponential(0.3, 0.9), Piecewise((0.1, 1.0), (20,)))
        np.testing.assert_allclose([ours(step) for step in range(60)], expected, rtol=1e-10)

    @pytest.mark.parametrize("seed", range(40))
    def test_plateau(self, seed: int) -> None:
        rng = random.Random(seed)
        options = {
            "mode": rng.choice(["min", "max"]),
            "factor": rng.choice([0.0, 0.1, 0.5, 0.9]),
            "patience": rng.randint(0, 4),
            "threshold": rng.choice([0.0, 1e-4, 0.1]),
            "threshold_mode": rng.choice(["rel", "abs"]),
            "cooldown": rng.randint(0, 3),
            "min_lr": rng.choice([0.0, 0.01]),
            "eps": rng.choice([1e-8, 0.02]),
        }
        ours = ReduceOnPlateau(0.3, **options)
        optimizer = self.optimizer(0.3)
        scheduler = self.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
        metric = 1.0
        for _ in range(150):
            metric += rng.gauss(-0.01 if options["mode"] == "min" else 0.01, 0.1)
            given = rng.choice([metric, metric, metric, float("nan")])
            scheduler.step(given)
            assert ours.update(given) == optimizer.param_groups[0]["lr"]
            assert ours.best == scheduler.best
            assert ours.num_bad == scheduler.num_bad_epochs
            assert ours.cooldown_counter == scheduler.cooldown_counter


class TestOptax:
    """optax in float64, with random arguments."""

    @pytest.fixture(autouse=True)
    def float64(self) -> Iterator[None]:
        self.optax = pytest.importorskip("optax")
        with pytest.importorskip("jax").enable_x64(True):
            yield

    def compare(self, ours: Callable[[int], float], peer: Callable[[Any], Any], end: int) -> None:
        steps = sorted({*range(0, end, max(1, end // 40)), end - 1, end, end + 1, 3 * end})
        expected = np.array([float(peer(step)) for step in steps])
        values = np.array([ours(step) for step in steps])
        # 1 + cos near pi, and the end of a line, carry a rounding error of the peak rather than of the value.
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=2**-51 * expected.max())

    @pytest.mark.parametrize("seed", range(5))
    def test_random_arguments(self, seed: int) -> None:
        rng = random.Random(seed)
        low, lr, other = (
            sorted(rng.uniform(0.0, 1.0) for _ in range(3))[0],
            rng.uniform(1.0, 2.0),
            rng.uniform(0.0, 2.0),
        )
        warmup_steps, end, power = rng.randint(1, 50), rng.randint(60, 999), rng.uniform(0.5, 3.0)
        optax = self.optax
        self.compare(
            Cosine(lr, end, warmup_steps=warmup_steps, warmup_lr=other, min_lr=low),
            optax.warmup_cosine_decay_schedule(other, lr, warmup_steps, end, low),
            end,
        )
        self.compare(Linear(lr, end, end_lr=other), optax.linear_schedule(lr, other, end), end)
        self.compare(
            Polynomial(lr, end, end_lr=other, power=power), optax.polynomial_schedule(lr, other, power, end), end
        )
        self.compare(
            Exponential(lr, 0.8, step_size=warmup_steps, end_lr=low),
            optax.exponential_decay(lr, warmup_steps, 0.8, end_value=low),
            end,
        )
        self.compare(
            StepDecay(lr, warmup_steps, 0.8), optax.exponential_decay(lr, warmup_steps, 0.8, staircase=True), end
        )
        self.compare(
            Warmup(MultiStep(lr, (7, 20), 0.3), warmup_steps, warmup_lr=low),
            optax.join_schedules(
                [
                    optax.linear_schedule(low, lr, warmup_steps),
                    optax.piecewise_constant_schedule(lr, {7: 0.3, 20: 0.3}),
                ],
                [warmup_steps],
            ),
            end,
        )
