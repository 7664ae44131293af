"""Peak memory and time of a training step with and without `step_in_backward`: `python -m benchmarks.step_in_backward`.

A stack of linear layers on a small batch, so that parameters, gradients and state are most of the memory, each of more
than 32 MB, which glibc returns to the system when it is freed. Each way runs in a process of its own, whose peak
resident memory is read after the last step.
"""

import multiprocessing
import resource
import statistics
import time
from contextlib import nullcontext
from typing import Annotated, NamedTuple

import typer

from benchmarks import tables

WAYS = {
    "torch.optim.AdamW, float32": ("float32", False, None),
    "AdamW, float32": ("float32", False, {}),
    "AdamW, float32, in backward": ("float32", True, {}),
    "AdamW, float32, 8bit state, in backward": ("float32", True, {"state_dtype": "8bit"}),
    "AdamW, bfloat16, split": ("bfloat16", False, {}),
    "AdamW, bfloat16, split, in backward": ("bfloat16", True, {}),
    "AdamW, bfloat16, no master, 8bit state, in backward": ("bfloat16", True, {"master": None, "state_dtype": "8bit"}),
}


class Found(NamedTuple):
    """What a way takes: bytes before the first step and at the peak, and the median time of a step in seconds."""

    start: int
    peak: int
    seconds: float


def peak_bytes() -> int:
    """Return the most resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(way: str, width: int, depth: int, steps: int) -> Found:
    """Train in one way."""
    import torch

    import gdfast.torch

    dtype, in_backward, options = WAYS[way]
    model = torch.nn.Sequential(
        *(torch.nn.Linear(width, width, bias=False, dtype=getattr(torch, dtype)) for _ in range(depth))
    )
    if options is None:
        opt = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    else:
        opt = gdfast.torch.AdamW(model.parameters(), lr=1e-5, **options)
    x = torch.randn(8, width, dtype=getattr(torch, dtype))
    start, times = peak_bytes(), []
    with gdfast.torch.step_in_backward(model, opt) if in_backward else nullcontext():
        for _ in range(steps):
            begun = time.perf_counter()
            (model(x) ** 2).mean().backward()
            opt.step()
            opt.zero_grad()
            times.append(time.perf_counter() - begun)
    return Found(start, peak_bytes(), statistics.median(times[1:]))


def main(
    width: Annotated[int, typer.Option(help="Width of a layer.")] = 4096,
    depth: Annotated[int, typer.Option(help="Number of layers.")] = 12,
    steps: Annotated[int, typer.Option(help="Steps of each way; the first is not timed.")] = 6,
) -> None:
    """Measure the ways one after the other."""
    params = width * width * depth
    rows = []
    for way in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found = pool.apply(measure, (way, width, depth, steps))
        grown = found.peak - found.start
        rows.append([way, f"{found.peak / 2**20:,.0f}", f"{grown / params:.1f}", f"{found.seconds * 1e3:,.0f}"])
    print(f"{params:,} parameters\n")
    print(tables.table(["way", "peak MB", "bytes a parameter beyond the model", "ms a step"], rows))


if __name__ == "__main__":
    typer.run(main)
