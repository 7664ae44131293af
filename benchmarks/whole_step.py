"""All of a training step: clip to a norm, Adam, zero the gradients, and keep an average of the parameters.

One call of gdfast; three or four of PyTorch; one jitted function of optax, whose gradients are new ones every step and
need no zeroing; and the limit of the traffic that is left: the gradients read once for the norm, then one pass.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import gdfast
from benchmarks.peers import Optax, Run, Torch
from benchmarks.peers.base import copy_into
from benchmarks.timing import Times, interleave
from benchmarks.workloads import ALL, RULES, Workload
from gdfast.engine import _plan, _reduce, isa

CLIP = 1.0
DECAY = 0.999
OURS, THEIRS = "gdfast", "PyTorch"
Result = dict[str, Any]


def whole_step(shape: str, rounds: int, averaged: bool) -> Result:
    """Time the whole step, with the average or without."""
    work = Workload("adam", shape, threads=ALL)
    makers: dict[str, Callable[[Workload, bool], Run]] = {OURS: ours}
    if Torch("fused").available():
        makers[THEIRS] = torchs
    if Optax().available():
        makers["optax"] = optaxs
    runs = {name: make(work, averaged) for name, make in makers.items()}
    runs |= {f"limit {way}": limit(work, averaged, way) for way in ("tiles", "fetched")}
    times = interleave(runs, rounds)
    return {f"{name}_ms": t.median * 1e3 for name, t in times.items()} | ratios(times)


def ratios(times: dict[str, Times]) -> Result:
    """Return how many times faster gdfast is than each peer, and its share of the limit."""
    peers = {f"faster_than_{name}": times[name].over(times[OURS]) for name in (THEIRS, "optax") if name in times}
    best = min((name for name in times if name.startswith("limit")), key=lambda name: times[name].median)
    return {**peers, "share_of_limit": times[best].over(times[OURS])}


def ours(work: Workload, averaged: bool) -> Run:
    """One call."""
    params, grads = work.arrays()
    opt = gdfast.Adam(params, clip_norm=CLIP, ema_decay=DECAY if averaged else None, n_threads=work.threads)
    return Run(partial(opt.step, grads, zero_grad=True), lambda: params, copy_into(grads))


def torchs(work: Workload, averaged: bool) -> Run:
    """`clip_grad_norm_`, the fused step, `zero_grad`, and the averaging of `torch.optim.swa_utils`."""
    import torch

    torch.set_num_threads(work.threads)
    arrays, grads = work.arrays()
    params = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays]
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.from_numpy(grad)
    opt = torch.optim.Adam(params, fused=True)
    means = [param.detach().clone() for param in params]
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, CLIP, foreach=True)
        opt.step()
        opt.zero_grad(set_to_none=False)
        if averaged:
            average(means, params, 0)

    return Run(step, lambda: arrays, copy_into(grads))


def optaxs(work: Workload, averaged: bool) -> Run:
    """`chain(clip_by_global_norm, adam)` and `incremental_update`, jitted, everything old donated."""
    import jax
    import optax

    jax.config.update("jax_platforms", "cpu")
    first, grads = work.arrays()
    params, given = [jax.numpy.array(a) for a in first], [jax.numpy.array(a) for a in grads]
    transform = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(RULES["adam"].options["lr"]))
    state, means = transform.init(params), [param.copy() for param in params] if averaged else []

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(params: Any, state: Any, means: Any, grads: Any) -> tuple[Any, Any, Any]:
        moves, state = transform.update(grads, state, params)
        params = optax.apply_updates(params, moves)
        return params, state, optax.incremental_update(params, means, 1 - DECAY) if averaged else means

    def step() -> None:
        nonlocal params, state, means
        params, state, means = update(params, state, means, given)
        jax.block_until_ready(params)

    def set_grads(new: Any) -> None:
        nonlocal given
        given = [jax.numpy.array(a) for a in new]

    return Run(step, lambda: [np.array(p) for p in params], set_grads)


def limit(work: Workload, averaged: bool, way: str) -> Run:
    """The gradients read once; then one pass over everything, with an addition an array, and the gradients zeroed."""
    params, grads = work.arrays()
    states = 3 if averaged else 2
    entries = [(p, tuple(np.zeros_like(p) for _ in range(states)), f"limit_{states}", 0) for p in params]
    plan = _plan.Plan(isa.rules, entries, 1)
    row = tuple(grads)
    plan.take(row)
    plan.tile_bytes, plan.prefetch = 512, way == "fetched"

    def step() -> None:
        _reduce.square_sum(isa.rules.SQUARE_SUM, row, (), work.threads)
        plan.run(work.threads, True)

    return Run(step, lambda: params, copy_into(grads))
