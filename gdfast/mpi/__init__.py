"""Sharded optimizers: the same step on the slices of many processes, with mpi4py.

Each rank keeps the state of its slices only. The gradients of all ranks are added in the order of ranks, so n ranks
leave the bits of one process that accumulates the same n gradients. See docs/mpi.md.

It uses `gdfast.checkpoint`, `gdfast.optimizers` and the rooms below.
"""

try:
    from mpi4py import MPI
except (ImportError, RuntimeError) as error:  # the second where mpi4py finds no MPI
    raise ImportError('gdfast.mpi needs mpi4py and an MPI: pip install "gdfast[mpi]"') from error

from gdfast.mpi.sharding import sharded
from gdfast.mpi.team import RankError

__all__ = ["RankError", "sharded"]
