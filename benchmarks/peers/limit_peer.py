"""The limit: a native loop in place, with a rule's memory traffic and hardly any arithmetic, on the same threads.

The best way to run such a loop depends on the machine and on where the arrays are, so it is run in several ways and
the fastest counts: nothing that gdfast does for its own loops (tiles, fetching ahead, staying on one thread, states
that lie apart from the parameter within their pages) is kept from it.
"""

from functools import partial

from benchmarks.peers.base import Contender, Run, copy_into
from benchmarks.workloads import RULES, Workload
from gdfast.arrays.storage import Storage
from gdfast.engine import _plan, isa

# name -> tile_bytes, fetch; None leaves all to the plan, the number of threads too
WAYS: dict[str, tuple[int, bool] | None] = {
    "bare": (1 << 60, False),
    "tiles": (512, False),
    "fetched": (512, True),
    "default": None,
}


class Limit(Contender):
    """A loop of `src/rules/limit.pxi`, run by gdfast's engine without an optimizer around it."""

    def __init__(self, way: str) -> None:
        self.way = WAYS[way]
        self.name = f"limit {way}"

    def setup(self, work: Workload) -> Run:
        """Make a plan of the rule's arrays; its numbers are never set, so no gradient is prepared."""
        params, grads = work.arrays()
        states = RULES[work.rule].states
        zeros = partial(Storage(None).zeros, "", "")
        entries = [
            (p, tuple(zeros(p.shape, p.dtype, p, k) for k in range(states)), f"limit_{states}", 0) for p in params
        ]
        plan = _plan.Plan(isa.rules, entries, 1)
        plan.take(tuple(grads))
        if self.way is not None:
            plan.tile_bytes, plan.prefetch = self.way
            plan.most_parts = work.threads
        return Run(partial(plan.run, work.threads), lambda: params, copy_into(grads))
