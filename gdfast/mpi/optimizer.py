"""An optimizer over one rank's slices, that steps together with those of the other ranks."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, NoReturn, cast

from gdfast.engine import measured
from gdfast.engine.engines import Engine, Entry
from gdfast.engine.measured import by_unit
from gdfast.mpi.checkpoints import load, save
from gdfast.mpi.engine import ShardEngine, ShardLayers
from gdfast.mpi.spread import Spread
from gdfast.mpi.team import RankError
from gdfast.stepping.accumulation import Accumulation
from gdfast.stepping.base import Optimizer
from gdfast.stepping.guard import not_finite, refusal
from gdfast.stepping.layout import Layout
from gdfast.stepping.sliced import Sliced
from gdfast.stepping.step import UNSCALED, checked_scale


class SharedAccumulation(Accumulation):
    """The sum of micro-batches, to which each call adds one of every rank; all of them are counted."""

    def __init__(self, accumulation: str, n_ranks: int) -> None:
        super().__init__(accumulation)
        self._n_ranks = n_ranks

    def weight(self) -> float:
        """Return the weight of each micro-batch in a step, those of the step's own call counted."""
        return 1.0 / (self.count + self._n_ranks) if self.kind == "mean" else 1.0


class Sharded(Sliced, Optimizer):
    """What a sharded optimizer does otherwise; it comes before the class of the rule, see `class_for`."""

    def __init__(self, spread: Spread, params: Any, **options: Any) -> None:
        self._spread = spread
        self._alone = threading.Lock()
        super().__init__(params, **options)
        self.accumulation = SharedAccumulation(self.accumulation.kind, spread.team.size)

    def step(self, grads: Any = None, *, grad_scale: float = UNSCALED, zero_grad: bool = False) -> None:
        """Update every parameter in place on all ranks, once, with the mean or sum of their gradients.

        As the optimizer's own `step`, with the whole gradients of this rank. All ranks call it together, with the same
        `grad_scale` and `zero_grad`.

        Raises
        ------
        RankError
            If another rank failed, or the ranks disagree; nothing has been written on any of them.
        """
        with self._together():
            scale = checked_scale(grad_scale)
            if self.accumulation.count == 0:
                scale *= self.accumulation.weight()
            self._shards.begin(scale, zero_grad)
            before = self.step_count, self._carried, self.accumulation.count
            try:
                super().step(grads, grad_scale=scale, zero_grad=zero_grad)
            except RankError:
                self.step_count, self._carried, self.accumulation.count = before
                raise

    def accumulate(self, grads: Any = None) -> None:
        """Add the gradients of a micro-batch of every rank to those that wait for the next step.

        As the optimizer's own `accumulate`; all ranks call it together.
        """
        with self._together(), self._stepping:
            self._check_not_blocked()
            row = self._flat_grads(grads)
            self._allocate_sums()
            self._shards.add(row, first=self.accumulation.count == 0)
            self.accumulation.count += self._spread.team.size

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averages into the parameters' memory on all ranks, for a ``with`` block, and back after it."""
        with ExitStack() as stack:
            with self._together():
                stack.callback(self._shards.share)
                stack.enter_context(super().averaged())
                self._spread.team.meet({"call": "averaged"})
                self._shards.share()
            yield

    def step_one(self, name: str, grad: Any, *, grad_scale: float = UNSCALED, zero_grad: bool = False) -> NoReturn:
        """Refuse: a sharded step needs all gradients."""
        self._refuse_call("step_one", "give all gradients to step")

    def add_param_group(self, group: Mapping[str, Any]) -> NoReturn:
        """Refuse: arrays are cut when the optimizer is made."""
        self._refuse_call("add_param_group", "make a new optimizer with all groups")

    def state_dict(self) -> NoReturn:
        """Refuse: a rank has slices only."""
        self._refuse_call("state_dict", "use gdfast.save, which writes one file for all ranks")

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> NoReturn:
        """Refuse: a rank has slices only."""
        self._refuse_call("load_state_dict", "use gdfast.load, which reads a file of any number of ranks")

    def _save_slices(self, path: str, params: bool, extra: Any) -> None:
        with self._together(), self._stepping:
            self._check_not_blocked()
            save(self, self._spread, path, params, extra)

    def _load_slices(self, path: str) -> Any:
        with self._together(), self._stepping:
            self._check_not_blocked()
            return load(self, self._spread, path)

    def __getstate__(self) -> NoReturn:
        raise TypeError("a sharded optimizer cannot be copied or pickled: it belongs to its ranks; use gdfast.save")

    # How it is done.

    @property
    def _shards(self) -> ShardEngine:
        return cast(ShardEngine, self._engine)

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Tell the other ranks, which are doing the same, of what fails here."""
        if not self._alone.acquire(blocking=False):
            raise RuntimeError(f"another thread is using this {type(self).__name__}; one thread a rank may do so")
        try:
            with self._spread.team.telling():
                yield
        finally:
            self._alone.release()

    def _whole_sizes(self) -> Mapping[str, int]:
        return {named.name: array.size for named, array in self._spread.whole.pairs()}

    def _fitting_engine(self, layout: Layout) -> Engine:
        kind, n_groups, averaged = self._engine_type, len(layout.groups), self.averaging.on

        def make(entries: Sequence[Entry]) -> Engine:
            return kind(entries, n_groups, averaged)

        def make_layers(entries: Sequence[Entry]) -> Engine:
            return measured.ENGINES[kind](entries, layout.groups, averaged, self.layerwise)

        at_once = self.layerwise or any(map(by_unit, layout.groups))
        shards: Any = (ShardLayers if at_once else ShardEngine)(
            self._spread,
            layout.entries,
            make_layers if at_once else make,
            self._facts,
            lambda: self.accumulation.count > 0,
        )
        return cast(Engine, shards)

    def _facts(self) -> dict[str, Any]:
        """Return what all ranks must agree about in a step, once the schedules have been asked."""
        return {
            "step_count": self.step_count,
            "the count of micro-batches that wait": self.accumulation.count,
            "accumulation": self.accumulation.kind,
            "nonfinite": self.guard.nonfinite,
            "whether the norm is needed": self.guard.needs_norm,
            **{f"param_groups[{i}]": group.asked for i, group in enumerate(self._groups)},
        }

    def _bind(self, row: tuple[Any, ...]) -> None:
        self._shards.checked(row)
        self._bound_grads = row

    def _refuse(self, grads: tuple[Any, ...], norm: float, step: int) -> None:
        """Raise on all ranks, naming those with bad gradients, or count a skipped step."""
        named = self._layout.named_grads(grads)
        texts = self._spread.team.texts(", ".join(not_finite([*named, *self.accumulation.waiting()])))
        bad = [f"rank {rank}: {text}" for rank, text in enumerate(texts) if text]
        try:
            self._refuse_step(norm, lambda: refusal(bad, step))
        finally:
            self.accumulation.count = 0

    def _refuse_call(self, name: str, instead: str) -> NoReturn:
        raise TypeError(f"a sharded optimizer has no {name}: {instead}")


class ShardedScheduleFree(Sharded):
    """The same for rules whose parameters switch between two places."""

    def _switch_to(self, evaluating: float) -> None:
        with self._together():
            super()._switch_to(evaluating)  # type: ignore[misc] # of the rule's class, which comes next
            self._spread.team.meet({"call": "eval" if evaluating else "train"})
            self._shards.share()


@cache
def class_for(kind: type[Optimizer]) -> type[Any]:
    """Return the sharded class of a rule's."""
    first = ShardedScheduleFree if hasattr(kind, "_switch_to") else Sharded
    return type(kind.__name__, (first, kind), {"__doc__": kind.__doc__, "__module__": __name__})
