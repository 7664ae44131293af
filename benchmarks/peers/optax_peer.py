"""optax: the update and its application in one jitted function, with the old buffers donated."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.base import Contender, Run
from benchmarks.workloads import ALL, RULES, Workload

TASKS = Path("/proc/self/task")


class Optax(Contender):
    """`optax.adam` under `jax.jit`; every step waits for its result."""

    needs = "optax"
    name = "optax"

    def setup(self, work: Workload) -> Run:
        """Put the arrays on the CPU device and compile one step."""
        import jax
        import optax

        if work.threads != ALL and not TASKS.exists():
            raise RuntimeError("XLA can be kept to fewer threads only on Linux")
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", work.dtype == "float64")
        # A step that is waited for has nothing to gain from another thread that dispatches it, and is slower for it.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        first_params, first_grads = work.arrays()
        params, grads = _on_device(first_params), _on_device(first_grads)
        transform = transformation(work.rule)
        state = transform.init(params)

        @partial(jax.jit, donate_argnums=(0, 1))
        def update(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
            moves, state = transform.update(grads, state, params)
            return optax.apply_updates(params, moves), state

        def step() -> None:
            nonlocal params, state
            params, state = update(params, state, grads)
            jax.block_until_ready(params)

        def set_grads(new: Sequence[np.ndarray]) -> None:
            nonlocal grads
            grads = _on_device(new)

        around = nullcontext if work.threads == ALL else partial(_on_few_cpus, work.threads)
        return Run(step, lambda: [np.array(p) for p in params], set_grads, around)


def _on_device(arrays: Sequence[np.ndarray]) -> list[Any]:
    import jax.numpy as jnp

    return [jnp.array(array) for array in arrays]


@contextmanager
def _on_few_cpus(count: int) -> Iterator[None]:
    """Restrict every thread of this process to `count` CPUs: XLA has no other way to use fewer threads once started."""
    before = {int(task.name): os.sched_getaffinity(int(task.name)) for task in TASKS.iterdir()}
    few = sorted(os.sched_getaffinity(0))[:count]
    try:
        for thread in before:
            os.sched_setaffinity(thread, few)
        yield
    finally:
        for thread, cpus in before.items():
            os.sched_setaffinity(thread, cpus)


def transformation(rule: str) -> Any:
    """Return the transformation that does what PyTorch does.

    Only Adagrad keeps a difference, too small to see: optax adds eps inside its root, so it gets the square of ours.
    """
    import optax

    options = dict(RULES[rule].options)
    lr = options.pop("lr")
    match RULES[rule].optimizer:
        case "SGD":
            return optax.sgd(lr, **options)
        case "Adagrad":
            return optax.adagrad(lr, initial_accumulator_value=0.0, eps=options["eps"] ** 2)
        case "RMSprop":
            return optax.rmsprop(lr, decay=options.pop("alpha"), eps_in_sqrt=False, **options)
    b1, b2 = options.pop("betas")
    eps = options["eps"]
    if rule == "adam":
        return optax.adam(lr, b1, b2, eps)
    if rule == "adamw":
        return optax.adamw(lr, b1, b2, eps, weight_decay=options["weight_decay"])
    # PyTorch keeps the largest v before its correction; optax's own amsgrad the largest after it. So v's correction
    # goes into the rate.
    largest = optax.scale_by_amsgrad(b1, b2, eps, bias_correction_nu=False)
    return optax.chain(largest, optax.scale_by_learning_rate(lambda count: lr * (1 - b2 ** (count + 1)) ** 0.5))
