"""A step of AdamW on several processes, with the exchange of gradients and parameters.

`python -m benchmarks.many_processes [N_RANKS] [--quick] [--out DIR]`: gdfast.mpi on n ranks of mpiexec (2), one thread
each; a plain loop of Alltoall, sum in the order of ranks, step and Allgather; and PyTorch's all-reduce with
ZeroRedundancyOptimizer over gloo, if PyTorch is installed. Those who take turns are compared round by round with the
first; PyTorch runs by itself, and is compared by the medians. `--quick`: arrays of a sixteenth, and 5 rounds.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import gdfast
from benchmarks import results, tables

QUICK = "--quick" in sys.argv
OURS, TORCH = "gdfast.mpi", "PyTorch, all_reduce and ZeroRedundancyOptimizer"
N_ARRAYS = 16  # several, because PyTorch gives each to one rank
SIZE, ROUNDS = (1 << 16, 5) if QUICK else (1 << 20, 15)  # 16.8 million parameters


def seconds(contenders: dict[str, Callable[[], object]], barrier: Callable[[], object]) -> dict[str, list[float]]:
    """Return the seconds of every round of contenders that take turns; a round ends when all ranks have."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, step in contenders.items():
            barrier()
            began = time.perf_counter()
            step()
            barrier()
            found[name].append(time.perf_counter() - began)
    return found


def memory(comm: Any, tree: list[np.ndarray]) -> tuple[int, int]:
    """Return the bytes of the state on this rank, and the most that its optimizer and steps take beyond that."""
    params = [np.zeros(SIZE, np.float32) for _ in range(N_ARRAYS)]
    tracemalloc.start()
    opt = gdfast.mpi.sharded(gdfast.AdamW, params, n_threads=1)
    for _ in range(2):
        opt.step(tree)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    state = sum(array.nbytes for of in opt.state.values() for array in of.values())
    return state, peak - state


def mpi(file: str) -> None:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    grads = np.random.default_rng(comm.rank).standard_normal(N_ARRAYS * SIZE).astype(np.float32)
    tree = list(grads.reshape(N_ARRAYS, SIZE))
    opt = gdfast.mpi.sharded(gdfast.AdamW, [np.zeros(SIZE, np.float32) for _ in range(N_ARRAYS)], n_threads=1)
    clipped, fast = (
        gdfast.mpi.sharded(gdfast.AdamW, [np.zeros(SIZE, np.float32) for _ in range(N_ARRAYS)], n_threads=1, **option)
        for option in ({"clip_norm": 1.0}, {"reduction": "fast"})
    )
    flat, received, share = np.zeros_like(grads), np.empty_like(grads), grads.size // comm.size
    mine = flat[comm.rank * share : (comm.rank + 1) * share]
    alone = gdfast.AdamW(mine, n_threads=1)

    def plain() -> None:
        comm.Alltoall(grads, received)
        total = received[:share]
        for rank in range(1, comm.size):
            total += received[rank * share : (rank + 1) * share]
        alone.step(total, grad_scale=1 / comm.size)
        comm.Allgather(MPI.IN_PLACE, flat)

    rounds = seconds(
        {
            OURS: lambda: opt.step(tree),
            "gdfast.mpi, clip_norm": lambda: clipped.step(tree),
            "gdfast.mpi, reduction='fast'": lambda: fast.step(tree),
            "a plain loop of mpi4py": plain,
        },
        comm.Barrier,
    )
    state, beyond = (comm.allreduce(found, op=MPI.MAX) for found in memory(comm, tree))
    if comm.rank == 0:
        Path(file).write_text(json.dumps({"rounds": rounds, "state_bytes": state, "beyond_bytes": beyond}))


def torch_rank(rank: int, n_ranks: int, address: str, file: str) -> None:
    import torch
    from torch import distributed
    from torch.distributed.optim import ZeroRedundancyOptimizer

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{address}", rank=rank, world_size=n_ranks)
    params = [torch.nn.Parameter(torch.zeros(SIZE)) for _ in range(N_ARRAYS)]
    grads = torch.randn(N_ARRAYS * SIZE, generator=torch.Generator().manual_seed(rank))
    for param, grad in zip(params, grads.view(N_ARRAYS, SIZE), strict=True):
        param.grad = grad
    opt = ZeroRedundancyOptimizer(params, torch.optim.AdamW, fused=True)

    def step() -> None:
        distributed.all_reduce(grads)
        grads.div_(n_ranks)
        opt.step()

    rounds = seconds({TORCH: step}, distributed.barrier)
    if rank == 0:
        Path(file).write_text(json.dumps(rounds))
    distributed.destroy_process_group()


def figures_of(n_ranks: int, found: dict[str, Any]) -> results.Figures:
    """Return the medians in milliseconds, the ratios to gdfast.mpi, and the memory of a rank."""
    rounds = found["rounds"]
    ours = statistics.median(rounds[OURS])
    ratios = {
        name: statistics.median(times) / ours
        if name == TORCH
        else statistics.median(a / b for a, b in zip(times, rounds[OURS], strict=True))
        for name, times in rounds.items()
    }
    share = 2 * 4 * N_ARRAYS * SIZE / n_ranks  # of AdamW's state, in float32
    figures = {
        "ranks": n_ranks,
        "parameters": N_ARRAYS * SIZE,
        "median_ms": {name: 1e3 * statistics.median(times) for name, times in rounds.items()},
        "minimum_ms": {name: 1e3 * min(times) for name, times in rounds.items()},
        "slower_than_gdfast": ratios,
        "state_over_share": found["state_bytes"] / share,
        "buffers_mib": found["beyond_bytes"] / 2**20,
    }
    return figures if QUICK or n_ranks != 2 else {**figures, "of_16.8M": figures}  # what the marks read


def table(figures: results.Figures) -> str:
    """Return one line for each contender."""
    rows = [
        [name, f"{figures['minimum_ms'][name]:.1f}", f"{median:.1f}", f"{figures['slower_than_gdfast'][name]:.2f}"]
        for name, median in figures["median_ms"].items()
    ]
    return tables.table(["a step with its exchange", "ms at best", "ms in the median", "times gdfast.mpi"], rows)


def measure(n_ranks: int) -> dict[str, Any]:
    """Run both groups of ranks, one after the other."""
    beside = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=beside) or "mpiexec"
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (os.path.join(folder, name) for name in ("mpi.json", "torch.json"))
        rank = [sys.executable, "-m", "mpi4py", "-m", "benchmarks.many_processes", "--rank", ours]
        rank += ["--quick"] if QUICK else []
        subprocess.run([mpiexec, "-n", str(n_ranks), *rank], check=True, timeout=600)
        found: dict[str, Any] = json.loads(Path(ours).read_text())
        if find_spec("torch"):
            from torch import multiprocessing

            multiprocessing.spawn(torch_rank, (n_ranks, os.path.join(folder, "meeting"), theirs), n_ranks)
            found["rounds"] |= json.loads(Path(theirs).read_text())
        return found


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n_ranks", nargs="?", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the folder of many_processes.md and many_processes.json")
    parser.add_argument("--rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        mpi(options.rank)
        return
    figures = figures_of(options.n_ranks, measure(options.n_ranks))
    facts = tables.head("quick" if QUICK else "full", ROUNDS) | {"ranks": str(options.n_ranks)}
    of_a_rank = (
        f"{figures['parameters']:,} parameters in {N_ARRAYS} arrays. A rank of gdfast.mpi holds "
        f"{figures['state_over_share']:.3f} times its share of the state, and takes {figures['buffers_mib']:.1f} MiB "
        "beyond that for buffers."
    )
    parts = [of_a_rank, table(figures)]
    print(results.write(options.out, "many_processes", "A sharded step of AdamW", facts, parts, figures))


if __name__ == "__main__":
    main()
