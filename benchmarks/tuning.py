"""Measure what the engine's constants were chosen by: `python -m benchmarks.tuning`.

The tile and whether to fetch ahead (src/engine/plan.pyx: TILE_BYTES, TILES_FROM, PREFETCH_FROM), and from how many
elements on a second thread is worth waking (GRAIN_BYTES). All settings of a table are run on the same arrays, in turns.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer

import gdfast
from benchmarks.peers.base import Run
from benchmarks.tables import table
from benchmarks.timing import interleave
from benchmarks.workloads import ALL, RULES, SIZES, thread_counts, threads_text

TILES = (256, 512, 1024, 2048, 4096, 8192, 1 << 40)  # bytes of one array; the last is all of it
SHAPES = ("1k", "10k", "100k", "1M", "16.8M")
GRAIN_SIZES = tuple(2_048 << k for k in range(8))


def main(
    rounds: Annotated[int, typer.Option(help="Rounds of each table.")] = 15,
    rules: Annotated[str, typer.Option(help="Rules, with commas between.")] = "adam,sgd",
) -> None:
    """Print the tables of the engine's constants."""
    for rule in rules.split(","):
        for threads in thread_counts():
            print(f"\n{rule}, {threads_text(threads)}: ns a parameter, by tile bytes; +f fetches ahead\n")
            print(tile_table(rule, threads, rounds))
        if ALL > 1:
            print(f"\n{rule}: µs per step on 1 thread and on 2\n")
            print(grain_table(rule, rounds))


def tile_table(rule: str, threads: int, rounds: int) -> str:
    """Return the time per parameter for every tile, with and without fetching, by size."""
    settings = [(tile, fetch) for fetch in (False, True) for tile in TILES]
    columns = {shape: tile_times(rule, shape, threads, rounds, settings) for shape in SHAPES}
    rows = [
        [f"{tile}{' +f' if fetch else ''}", *(_cell(times, (tile, fetch)) for times in columns.values())]
        for tile, fetch in settings
    ]
    return table(["tile", *columns], rows)


def _cell(times: dict[tuple[int, bool], float], setting: tuple[int, bool]) -> str:
    return f"{times[setting]:.3f}{' <' if times[setting] == min(times.values()) else ''}"


def tile_times(
    rule: str, shape: str, threads: int, rounds: int, settings: list[tuple[int, bool]]
) -> dict[tuple[int, bool], float]:
    """Return nanoseconds a parameter for each setting of one plan."""
    plan = bound_plan(rule, SIZES[shape])

    def use(tile: int, fetch: bool) -> None:
        plan.tile_bytes, plan.prefetch = tile, fetch

    runs = {str(setting): _run(plan, threads, partial(use, *setting)) for setting in settings}
    times = interleave(runs, rounds)
    return {setting: times[str(setting)].median / SIZES[shape] * 1e9 for setting in settings}


def grain_table(rule: str, rounds: int) -> str:
    """Return the time of a step on one thread and on two, by size."""
    rows = []
    for size in GRAIN_SIZES:
        plan = bound_plan(rule, size)

        def use(parts: int, plan: Any = plan) -> None:
            plan.most_parts = parts

        times = interleave({str(parts): _run(plan, parts, partial(use, parts)) for parts in (1, 2)}, rounds)
        one, two = times["1"], times["2"]
        micro = [f"{t.median * 1e6:.2f}" for t in (one, two)]
        rows.append([str(size), f"{plan.n_bytes >> 10} KiB", *micro, f"{one.over(two):.2f}"])
    return table(["elements", "all arrays", "1 thread", "2 threads", "times faster"], rows)


def bound_plan(rule: str, size: int) -> Any:
    """Return the native plan of an optimizer that has made a step, so that its numbers and gradients are set."""
    rng = np.random.default_rng(20)
    param, grad = (rng.standard_normal(size, np.float32) for _ in range(2))
    opt = getattr(gdfast, RULES[rule].optimizer)(param, **RULES[rule].options)
    opt.step(grad)
    opt._engine.bound_grad = grad  # a plan keeps its parameters and state alive, not the gradients
    return opt._engine


def _run(plan: Any, threads: int, use: Callable[[], None]) -> Run:
    """Return the plan's own step, under a setting that is put in place before the clock starts."""

    @contextmanager
    def around() -> Iterator[None]:
        use()
        yield

    return Run(partial(plan.run, threads), lambda: [], lambda _: None, around)


if __name__ == "__main__":
    typer.run(main)
