"""gdfast itself: the native engine, and the reference that is its readable twin."""

from functools import partial

import gdfast
from benchmarks.peers.base import Contender, Run, copy_into
from benchmarks.workloads import RULES, Workload


class Gdfast(Contender):
    """`gdfast.Adam(params).step(grads)`."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.name = "gdfast" if engine == "native" else f"gdfast {engine}"

    def setup(self, work: Workload) -> Run:
        """Bind the arrays to an optimizer."""
        params, grads = work.arrays()
        rule = RULES[work.rule]
        opt = getattr(gdfast, rule.optimizer)(params, engine=self.engine, n_threads=work.threads, **rule.options)
        return Run(partial(opt.step, grads), lambda: params, copy_into(grads))
