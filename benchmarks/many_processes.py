"""A step of AdamW on several processes, with the exchange of gradients and parameters.

`python -m benchmarks.many_processes [N_RANKS] [--quick]`: gdfast.mpi on n ranks of mpiexec (2), one thread each; a
plain loop of Alltoall, sum in the order of ranks, step and Allgather; and PyTorch's all-reduce with
ZeroRedundancyOptimizer over gloo, if PyTorch is installed. Those who take turns are compared round by round with the
first; PyTorch runs by itself. `--quick`: arrays of a sixteenth, and 5 rounds.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import gdfast

QUICK = "--quick" in sys.argv
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


def show(rounds: dict[str, list[float]]) -> None:
    first, *others = rounds.items()
    for name, times in (first, *others):
        best, median = 1e3 * min(times), 1e3 * statistics.median(times)
        ratio = statistics.median(time / of_first for time, of_first in zip(times, first[1], strict=True))
        beside = f", {ratio:5.2f} times {first[0]}" if times is not first[1] else ""
        print(f"{name:45} {best:8.1f} ms at best, {median:8.1f} ms in the median{beside}")


def mpi() -> None:
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
            "gdfast.mpi": lambda: opt.step(tree),
            "gdfast.mpi, clip_norm": lambda: clipped.step(tree),
            "gdfast.mpi, reduction='fast'": lambda: fast.step(tree),
            "a plain loop of mpi4py": plain,
        },
        comm.Barrier,
    )
    if comm.rank == 0:
        show(rounds)


def torch_rank(rank: int, n_ranks: int, address: str) -> None:
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

    rounds = seconds({"PyTorch, all_reduce and ZeroRedundancyOptimizer": step}, distributed.barrier)
    if rank == 0:
        show(rounds)
    distributed.destroy_process_group()


def main(n_ranks: int) -> None:
    """Run both groups of ranks, one after the other."""
    beside = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    mpiexec = shutil.which("mpiexec", path=beside) or "mpiexec"
    rank = [sys.executable, "-m", "mpi4py", "-m", "benchmarks.many_processes", "rank", *(["--quick"] if QUICK else [])]
    subprocess.run([mpiexec, "-n", str(n_ranks), *rank], check=True, timeout=600)
    try:
        from torch import multiprocessing
    except ImportError:
        print("PyTorch is not installed")
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(torch_rank, (n_ranks, os.path.join(folder, "meeting")), n_ranks)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if arguments == ["rank"]:
        mpi()
    else:
        main(int(arguments[0]) if arguments else 2)
