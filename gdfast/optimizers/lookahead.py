"""Lookahead, a wrapper around any optimizer."""

from collections.abc import Mapping
from math import inf
from typing import Any, ClassVar

from gdfast.engine import threads
from gdfast.engine._plan import NonBlockingLock
from gdfast.engine.engines import ENGINES
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Count, Hyperparameter, Range, Spec
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.sliced import check_not_sliced


class _Slow(Optimizer):
    """The slow parameters: a step synchronizes them with the fast ones, and reads no gradients."""

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"lookahead": ("slow",)}
    short_params: ClassVar[bool] = False  # the optimizer's masters would not follow
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "alpha": Range(0.0, 1.0, closed=True, fixed=True),
        "weight_decay": Range(high=0.0, closed=True, fixed=True),  # it prepares no gradients
    }

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return lookahead."""
        return "lookahead"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float | None:
        """Return None: the slow parameters start as a copy of the parameters."""
        return None

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return alpha."""
        return (values["alpha"],)

    def sync(self, name: str | None = None) -> None:
        """Synchronize all slow and fast parameters, or those of one array in a step in pieces."""
        with self._stepping:
            open_step = None if name is None else self._open_step or self._begun()
            for i, group in enumerate(self._groups):
                self._set_numbers(self._engine, i, group, self.step_count, 1.0, inf)
            self._engine.take_none()
            n_threads = threads.resolve(self.n_threads)
            if open_step is None or name is None:
                self._engine.run(n_threads, False, False)
                self.step_count += 1
            else:
                self._engine.run_one(open_step.left.pop(name), n_threads, False)
                self._open_step, self._blocked = open_step, True


_Slow.__name__ = "Lookahead"  # as users know it: errors say whose hyperparameters and state are meant


class Lookahead:
    """Lookahead: every k steps, slow parameters move a fraction of the way to the fast ones, which restart from there.

    After every k-th step of the optimizer::

        slow = slow + alpha*(p - slow)
        p = slow

    The optimizer's state is left unchanged by that. Between synchronizations, the parameters are the fast ones.

    Parameters
    ----------
    optimizer : Optimizer
        Any optimizer of gdfast, with all its options. Call `step` and `add_param_group` of the Lookahead, not of it.
    k : int
        Steps between synchronizations, at least 1.
    alpha : float
        Step size of the slow parameters, in [0, 1].

    Attributes
    ----------
    optimizer : Optimizer
        The wrapped optimizer: use its `averaged`, `accumulate`, `last_norm` and so on. With ``ema_decay``, it averages
        the fast parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Notes
    -----
    State: one more array for each parameter, in `slow` (and in the optimizer's state_dir, if it has one). A
    synchronization is a separate pass over memory, as exact as a step and by the same engine and threads: 16 bytes per
    parameter in float32, every k steps. As `optax.lookahead` with ``sync_period=k, slow_step_size=alpha``; its
    ``reset_state`` is not offered.
    Source: Zhang et al., arXiv:1907.08610.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([4.0, -4.0])
    >>> opt = gdfast.Lookahead(gdfast.SGD(w, lr=1.0), k=2, alpha=0.5)
    >>> opt.step(np.array([1.0, -1.0]))
    >>> w
    array([ 3., -3.])
    >>> opt.step(np.array([1.0, -1.0]))
    >>> w
    array([ 3., -3.])
    """

    def __init__(self, optimizer: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be an optimizer of gdfast; got {type(optimizer).__name__}")
        check_not_sliced(optimizer, "optimizer")
        if optimizer._copied:
            raise TypeError("optimizer must have no copies: Lookahead moves the parameters after its steps")
        self.optimizer = optimizer
        self.k = Count(low=1).check("k", k, is_float32=False)
        engine = next(name for name, kind in ENGINES.items() if kind is optimizer._engine_type)
        groups = [_named(group) for group in optimizer.param_groups]
        self._slow = _Slow(
            groups,
            {"alpha": alpha, "weight_decay": 0.0},
            engine=engine,
            n_threads=optimizer.n_threads,
            state_dir=optimizer._storage.folder,
        )
        self._met_at = optimizer.step_count  # when they were last synchronized; its name is a key of state dicts too
        self._stepping = NonBlockingLock(type(self).__name__)

    def step(self, grads: Any = None, *, grad_scale: float = 1.0, zero_grad: bool = False) -> None:
        """Make a step of the optimizer; every k-th step, synchronize slow and fast parameters.

        Parameters
        ----------
        grads, grad_scale, zero_grad
            As for :meth:`gdfast.Optimizer.step`; so are the errors.
        """
        with self._stepping:
            opt = self.optimizer
            opt.step(grads, grad_scale=grad_scale, zero_grad=zero_grad)
            if opt.step_count - self._met_at >= self.k:
                self._slow.sync()
                self._met_at = opt.step_count

    def step_one(self, name: str, grad: Any, *, grad_scale: float = 1.0, zero_grad: bool = False) -> None:
        """Update one array, as :meth:`gdfast.Optimizer.step_one` does; every k-th step, synchronize it."""
        with self._stepping:
            self.optimizer.step_one(name, grad, grad_scale=grad_scale, zero_grad=zero_grad)
            if self.optimizer.step_count + 1 - self._met_at >= self.k:
                self._slow.sync(name)

    def end_step(self) -> None:
        """Close a step that was made array by array, as :meth:`gdfast.Optimizer.end_step` does."""
        with self._stepping:
            self.optimizer.end_step()
            if self.optimizer.step_count - self._met_at >= self.k:
                self._slow.end_step()
                self._met_at = self.optimizer.step_count

    @property
    def slow(self) -> Any:
        """The slow parameters: a list with a dict for each group, by name."""
        states = self._slow.state
        return [{named.name: states[named.name]["slow"] for named in group.params} for group in self.param_groups]

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """The optimizer's groups."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Mapping[str, Mapping[str, Any]]:
        """The optimizer's state arrays."""
        return self.optimizer.state

    @property
    def step_count(self) -> int:
        """The optimizer's step count."""
        return self.optimizer.step_count

    @property
    def lr(self) -> float:
        """The optimizer's learning rate; may be set."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, value: Hyperparameter) -> None:
        self.optimizer.lr = value

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add arrays, as :meth:`gdfast.Optimizer.add_param_group` does; their slow parameters start as copies."""
        with self._stepping:
            self.optimizer.add_param_group(group)
            self._slow.add_param_group(_named(self.optimizer.param_groups[-1]))

    def state_dict(self) -> dict[str, Any]:
        """Return what a later run needs to resume: state dicts of the optimizer and of the slow parameters, and k."""
        with self._stepping:
            return {
                "optimizer": self.optimizer.state_dict(),
                "slow": self._slow.state_dict(),
                "k": self.k,
                "met_at": self._met_at,
            }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a copy of a state from :meth:`state_dict`, all or nothing.

        Raises
        ------
        TypeError, ValueError
            Naming what does not fit.
        """
        with self._stepping.mending():
            if not isinstance(state_dict, Mapping):
                raise TypeError(f"state_dict must be a dict; got {type(state_dict).__name__}")
            missing = [key for key in ("optimizer", "slow", "k", "met_at") if key not in state_dict]
            if missing:
                raise ValueError(f"state_dict lacks {', '.join(missing)}; it must be that of a Lookahead")
            k = Count(low=1).check("k", state_dict["k"], is_float32=False)
            met_at = Count().check("met_at", state_dict["met_at"], is_float32=False)
            before = None if self._slow._stepping.is_torn() else self._slow.state_dict()
            self._slow.load_state_dict(state_dict["slow"])
            try:
                self.optimizer.load_state_dict(state_dict["optimizer"])
            except BaseException:
                if before is not None:
                    self._slow.load_state_dict(before)
                raise
            self.k, self._met_at = k, met_at

    def __getstate__(self) -> dict[str, Any]:
        with self._stepping:
            return {name: value for name, value in self.__dict__.items() if name != "_stepping"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._stepping = NonBlockingLock(type(self).__name__)

    def __repr__(self) -> str:
        return f"Lookahead({self.optimizer!r}, k={self.k}, alpha={self._slow.param_groups[0]['alpha']!r})"


def _named(group: ParamGroup) -> dict[str, Any]:
    return {"params": {named.name: named.array for named in group.params}}
