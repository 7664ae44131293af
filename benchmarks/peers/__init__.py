"""The contenders, each behind the same small interface (`base.Contender`)."""

from benchmarks.peers.base import Contender, Run
from benchmarks.peers.gdfast_peer import Gdfast
from benchmarks.peers.limit_peer import WAYS, Limit
from benchmarks.peers.numba_peer import Numba
from benchmarks.peers.numpy_peer import PlainNumpy
from benchmarks.peers.optax_peer import Optax
from benchmarks.peers.torch_peer import DropIn, Torch

__all__ = ["CONTENDERS", "DROP_IN", "LIMITS", "TORCH", "Contender", "Run", "entered"]

TORCH = [Torch("fused"), Torch("foreach"), Torch("single")]
DROP_IN: list[Contender] = [DropIn(), *TORCH, Torch("compiled")]
LIMITS = [Limit(way) for way in WAYS]
CONTENDERS: list[Contender] = [
    Gdfast("native"),
    *TORCH,
    Optax(),
    Numba(),
    Numba(fastmath=False),
    PlainNumpy(),
    Gdfast("numpy"),
    *LIMITS,
]


def entered(rule: str) -> list[Contender]:
    """Return the contenders that are installed here and have the rule."""
    return [contender for contender in CONTENDERS if contender.available() and contender.supports(rule)]
