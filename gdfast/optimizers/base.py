"""What every optimizer does: bind arrays in groups, compute each step's few numbers, and hand them to an engine."""

import math
import numbers
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict

import numpy as np

from gdfast import buffers, threads
from gdfast.engines import ENGINES, Engine, Entry
from gdfast.hyperparameters import RATE, Flag, Hyperparameter, ParamGroup, Spec, unknown
from gdfast.structure import Leaf, Named, Skeleton, flatten, lay_out

_UNSCALED = 1.0
_UNCLIPPED = math.inf


class Common(TypedDict, total=False):
    """Keyword arguments that every optimizer takes."""

    maximize: bool
    l1: Hyperparameter
    n_threads: int | None
    engine: str
    grads: Any


class Optimizer(ABC):
    """The base of all optimizers. A subclass names its rules, hyperparameters and numbers; all else is here.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        Updated in place. Each array is float32 or float64, C-contiguous, aligned, writeable, in native byte order, and
        shares no memory with another. A group is a dict with ``"params"`` and hyperparameters of its own.
    defaults : dict
        The hyperparameters of a group that does not set them.
    maximize : bool
        Go uphill.
    l1 : float or schedule
        Weight of an L1 penalty, applied as a proximal step with each coordinate's own rate: exact zeros.
    n_threads : int, optional
        At most so many threads; negative counts from the CPUs (-1: all). See :func:`gdfast.set_num_threads`.
    engine : {"native", "numpy"}
        What carries the step out; the bits are the same.
    grads : optional
        Gradient buffers of the same structure as `params`, bound once: `step` then needs no argument.
    """

    #: rule name -> the names of its state arrays, in the order of the native loop
    rules: ClassVar[Mapping[str, tuple[str, ...]]]
    #: hyperparameter name -> what it may be
    own_specs: ClassVar[Mapping[str, Spec]]
    specs: ClassVar[Mapping[str, Spec]]
    #: whether weight decay shrinks the parameters directly (AdamW) or joins the gradient (L2)
    decoupled: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.specs = {**cls.own_specs, "maximize": Flag(fixed=False), "l1": RATE}

    def __init__(
        self,
        params: Any,
        defaults: Mapping[str, Any],
        *,
        maximize: bool = False,
        l1: Hyperparameter = 0.0,
        n_threads: int | None = None,
        engine: str = "native",
        grads: Any = None,
        **unexpected: Any,
    ) -> None:
        for name in unexpected:
            raise unknown(name, (*self.specs, "n_threads", "engine", "grads"), type(self).__name__)
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}; got {engine!r}")
        self.n_threads = threads.check(n_threads)
        self._engine_type = ENGINES[engine]
        self._defaults = {**defaults, "maximize": maximize, "l1": l1}
        self._stepping = threading.Lock()
        self._groups: list[ParamGroup] = []
        self._skeletons: list[Skeleton] = []
        self._entries: list[Entry] = []
        self.step_count = 0
        grouped = _is_groups(params)
        self._add(params if grouped else [{"params": params}], grouped)
        self._bound_grads = None if grads is None else self._row(grads)
        if self._bound_grads is not None:
            self._engine.take(self._bound_grads)

    # What a subclass says.

    @classmethod
    @abstractmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return the rule that these hyperparameters ask for."""

    @staticmethod
    @abstractmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the rule's numbers at step t, counted from 1, in the order of the native loop."""

    @classmethod  # noqa: B027 - most rules have nothing to check
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check hyperparameters that depend on one another."""

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float:
        """Return what a state array is filled with at first."""
        return 0.0

    @classmethod
    def states_of(cls, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the state arrays that these hyperparameters need."""
        return cls.rules[cls.rule_of(values)]

    # What a user calls.

    def step(self, grads: Any = None, *, grad_scale: float = _UNSCALED) -> None:
        """Update every parameter in place, once.

        Parameters
        ----------
        grads : same structure as the parameters, optional
            The gradients, each of its parameter's shape and dtype; only read. With several groups, a list with the
            structure of each group. Not needed when gradient buffers were bound at construction.
        grad_scale : float
            The gradients are multiplied by it first (loss scaling, averaging).

        Raises
        ------
        TypeError, ValueError
            If gradients, or hyperparameters that a schedule gives at this step, are not as they must be; nothing has
            been written then.
        RuntimeError
            If another thread is stepping this optimizer.
        """
        if not self._stepping.acquire(False):
            raise RuntimeError(f"another thread is stepping this {type(self).__name__}; one step at a time")
        try:
            engine = self._engine
            engine.take((grads,) if self._lone and grads is not None else self._row(grads))
            step = self.step_count
            scale = grad_scale if grad_scale is _UNSCALED else _checked_scale(grad_scale)
            for i, group in enumerate(self._groups):
                self._set_numbers(i, group, step, scale)
            engine.run(threads.resolve(self.n_threads) if engine.most_parts > 1 else 1)
            self.step_count = step + 1
        finally:
            self._stepping.release()

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """The groups; each is a mapping from hyperparameter to value, which may be set, and ``"params"``."""
        return tuple(self._groups)

    @property
    def lr(self) -> float:
        """The learning rate of the next step, of the first group. Setting it sets every group's."""
        value: float = self._groups[0].at_step(self.step_count)["lr"]
        return value

    @lr.setter
    def lr(self, value: Hyperparameter) -> None:
        checked = [group.checked({"lr": value}) for group in self._groups]
        for group, values in zip(self._groups, checked, strict=True):
            group.update_checked(values)

    @property
    def state(self) -> Mapping[str, Mapping[str, np.ndarray[Any, Any]]]:
        """The state arrays: parameter name -> state name -> array of the parameter's shape and dtype."""
        return MappingProxyType({entry.param.name: MappingProxyType(_arrays(entry)) for entry in self._entries})

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add arrays with hyperparameters of their own; their bias corrections count from here.

        `step` then takes a list with the gradients of each group.

        Raises
        ------
        TypeError, ValueError
            If an array or a hyperparameter is not as it must be; the optimizer is then as before.
        """
        if self._bound_grads is not None:
            raise ValueError("params cannot be added to an optimizer with bound gradient buffers; make a new optimizer")
        if not _is_groups([group]):
            raise TypeError(f'group must be a dict with "params"; got {type(group).__name__}')
        with self._stepping:
            self._add([group], grouped=True)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later run needs to go on, as a deep copy.

        Returns
        -------
        dict
            ``optimizer``, ``step_count``, ``state`` (parameter name -> state name -> array) and ``param_groups``
            (hyperparameters, the names of the arrays under ``params``).
        """
        from gdfast.optimizers import statedict

        with self._stepping:
            return statedict.dump(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state from :meth:`state_dict`, by copy, all or nothing.

        Raises
        ------
        TypeError, ValueError
            Naming every mismatch: another optimizer, other names, shapes, dtypes, or hyperparameters out of range.
        """
        from gdfast.optimizers import statedict

        with self._stepping:
            statedict.load(self, state_dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._entries)} arrays, step_count={self.step_count}, {self._groups!r})"

    # How it is done.

    def _add(self, groups: list[Mapping[str, Any]], grouped: bool) -> None:
        """Check and bind new groups; nothing of the optimizer changes unless all are good."""
        entries, made, skeletons = list(self._entries), list(self._groups), list(self._skeletons)
        for index, group in enumerate(groups, start=len(made)):
            paths = (f'params[{index}]["params"]', f"grads[{index}]") if grouped else ("params", "grads")
            found, skeleton = flatten(group["params"], *paths, first=len(entries))
            buffers.check_params(found, [entry.param for entry in entries])
            _check_names([*(entry.param for entry in entries), *found])
            values = {**self._defaults, **{name: value for name, value in group.items() if name != "params"}}
            new = ParamGroup(type(self), values, found, self.step_count)
            rule = self.rule_of(new)
            entries += [Entry(named, self._make_states(named, rule, new), rule, index) for named in found]
            made.append(new)
            skeletons.append(skeleton)
        self._engine: Engine = self._engine_type(entries, len(made))
        self._entries, self._groups, self._skeletons = entries, made, skeletons
        self._grouped = grouped
        self._lone = not grouped and isinstance(skeletons[0], Leaf)

    def _make_states(self, param: Named, rule: str, values: Mapping[str, Any]) -> tuple[Named, ...]:
        def make(name: str) -> Named:
            first = self.initial(name, values)
            array = param.array
            made = np.full(array.shape, first, array.dtype) if first else np.zeros(array.shape, array.dtype)
            return Named(made, name, f'opt.state["{param.name}"]["{name}"]')

        return tuple(map(make, self.rules[rule]))

    def _row(self, grads: Any) -> tuple[Any, ...]:
        """Lay the gradients out in the order of the parameters; the bound ones if none are given."""
        if grads is None:
            if self._bound_grads is None:
                raise TypeError("step needs grads, because no gradient buffers were bound at construction (grads=...)")
            return self._bound_grads
        if not self._grouped:
            return tuple(lay_out(grads, self._skeletons[0], "grads"))
        if not isinstance(grads, list | tuple) or len(grads) != len(self._skeletons):
            raise ValueError(
                f"grads must be a list with the gradients of each of the {len(self._skeletons)} groups; got "
                f"{type(grads).__name__}{f' of {len(grads)}' if isinstance(grads, list | tuple) else ''}"
            )
        return tuple(
            array
            for i, (part, skeleton) in enumerate(zip(grads, self._skeletons, strict=True))
            for array in lay_out(part, skeleton, f"grads[{i}]")
        )

    def _set_numbers(self, i: int, group: ParamGroup, step: int, scale: float) -> None:
        """Compute a group's numbers of this step and give them to the engine."""
        values = group.at_step(step) if group.scheduled else group.values_now
        l2, decay = values["weight_decay"], 1.0
        if self.decoupled:
            l2, decay = 0.0, 1.0 - values["lr"] * l2
        scalars = self.scalars(values, step - group.born + 1)
        self._engine.set_numbers(
            i, -scale if values["maximize"] else scale, _UNCLIPPED, l2, decay, values["l1"], scalars
        )


def is_on(value: Any) -> bool:
    """Whether a number that switches something on when it is not zero does so; a schedule does."""
    return callable(value) or value != 0


def _arrays(entry: Entry) -> dict[str, np.ndarray[Any, Any]]:
    return {named.name: named.array for named in entry.states}


def _is_groups(params: Any) -> bool:
    return (
        isinstance(params, list | tuple)
        and len(params) > 0
        and all(isinstance(group, Mapping) and "params" in group for group in params)
    )


def _check_names(params: list[Named]) -> None:
    paths: dict[str, str] = {}
    for named in params:
        if named.name in paths:
            raise ValueError(f"{paths[named.name]} and {named.path} must not both be named {named.name!r}")
        paths[named.name] = named.path


def _checked_scale(grad_scale: float) -> float:
    if type(grad_scale) is float and -math.inf < grad_scale < math.inf:
        return grad_scale
    if isinstance(grad_scale, bool) or not isinstance(grad_scale, numbers.Real):
        raise TypeError(f"grad_scale must be a number; got {grad_scale!r}")
    if not -math.inf < grad_scale < math.inf:
        raise ValueError(f"grad_scale must be finite; got {grad_scale!r}")
    return float(grad_scale)
