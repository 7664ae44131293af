"""An embedding table of which a batch looks up a few rows: Adam on these rows, beside PyTorch's SparseAdam."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import gdfast
from benchmarks.peers import Run, Torch
from benchmarks.timing import interleave
from benchmarks.workloads import ALL

ROWS, WIDTH, TOUCHED = 1_000_000, 64, 4_096
BATCHES = 16  # different ones, taken in turn: the rows of a batch are not in the cache when it comes
Batch = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def embedding(rounds: int, rows: int = ROWS) -> dict[str, Any]:
    """Time a step of the touched rows of a table with `rows` rows."""
    rng = np.random.default_rng(0)
    batches = [
        (rng.integers(0, rows, TOUCHED), rng.standard_normal((TOUCHED, WIDTH), np.float32)) for _ in range(BATCHES)
    ]
    runs = {"gdfast": ours(rows, batches)}
    if Torch("fused").available():
        runs["PyTorch"] = torchs(rows, batches)
    times = interleave(runs, rounds)
    found = {f"{name}_ms": t.median * 1e3 for name, t in times.items()}
    return found | ({"faster_than_PyTorch": times["PyTorch"].over(times["gdfast"])} if "PyTorch" in times else {})


def ours(rows: int, batches: list[Batch]) -> Run:
    """`Adam`, in its epsilon-hat form as SparseAdam, with `Rows`."""
    table = np.ones((rows, WIDTH), np.float32)
    opt = gdfast.Adam(table, eps_hat=True, n_threads=ALL)
    return endless([gdfast.Rows(*batch) for batch in batches], opt.step, table)


def torchs(rows: int, batches: list[Batch]) -> Run:
    """`SparseAdam`, with gradients as `torch.nn.Embedding(sparse=True)` makes them."""
    import torch

    torch.set_num_threads(ALL)
    table = torch.nn.Parameter(torch.ones(rows, WIDTH))
    opt = torch.optim.SparseAdam([table])
    grads = [
        torch.sparse_coo_tensor(torch.from_numpy(i)[None], torch.from_numpy(v), table.shape, check_invariants=False)
        for i, v in batches
    ]

    def step(grad: Any) -> None:
        table.grad = grad
        opt.step()

    return endless(grads, step, table.detach().numpy())


def endless(grads: list[Any], step: Callable[[Any], None], table: np.ndarray[Any, Any]) -> Run:
    """Step with one gradient after the other; each was used once before, so that all memory is allocated."""
    for grad in grads:
        step(grad)
    turns = itertools.cycle(grads)
    return Run(lambda: step(next(turns)), lambda: [table], lambda arrays: None)
