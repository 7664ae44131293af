"""Parameter groups: hyperparameters that users read and set by name."""

import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from gdfast.arrays.structure import NamedArray
from gdfast.stepping.hyperparameters import at_step, at_steps, is_scheduled, unknown
from gdfast.stepping.rule import Rule


class ParamGroup(MutableMapping[str, Any]):
    """A group's hyperparameters by name, each checked when it is set, and its arrays under ``"params"``.

    Hyperparameters that decide which state arrays exist (``amsgrad``, ``centered``, ``nesterov``, momentum or none) are
    fixed when the optimizer is made.
    """

    def __init__(
        self, owner: type[Rule], values: Mapping[str, Any], params: Sequence[NamedArray], start_step: int
    ) -> None:
        #: the hyperparameters without the arrays; replaced as a whole, never modified
        self.values_now: dict[str, Any] = {}
        #: the same with the values of schedules at the step that is being made, set by `ask`
        self.asked = self.values_now
        self.scheduled = False
        #: what is called after a hyperparameter was set, while native code has numbers made of them
        self.on_change: weakref.WeakMethod[Callable[[], None]] | None = None
        self.params = tuple(params)
        self.start_step = start_step  # the optimizer's step count when the group joined it
        self._owner = owner
        self._is_float32 = any(named.array.dtype != np.float64 for named in params)
        self._set(self.checked(values))
        self.states = owner.states_of(self.values_now)

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check these hyperparameters; return all of the group's with these replaced, without setting them.

        Raises
        ------
        TypeError, ValueError
            If a name is unknown, a value out of range, or a change would need other state arrays.
        """
        specs = self._owner.specs
        for name in values:
            if name not in specs:
                raise unknown(name, specs, self._owner.__name__)
        new = {name: specs[name].check(name, value, self._is_float32) for name, value in values.items()}
        whole = {**self.values_now, **new}
        self._owner.check_together(whole)
        if hasattr(self, "states"):
            self._check_settled(whole)
        return whole

    def at_step(self, step: int) -> dict[str, Any]:
        """Return every hyperparameter's value at a step, the scheduled ones checked."""
        if not self.scheduled:
            return self.values_now
        values = self.values_now.copy()
        for name, spec in self._scheduled.items():
            values[name] = at_step(spec, name, values[name], step, self._is_float32)
        return values

    def at_steps(self, steps: range) -> Iterator[dict[str, Any]]:
        """Yield every hyperparameter's value at each step, in one dict that changes; schedules are asked first."""
        values = self.values_now.copy()
        rows = [at_steps(spec, name, values[name], steps, self._is_float32) for name, spec in self._scheduled.items()]
        for row in zip(*rows, strict=True) if rows else repeat((), len(steps)):
            values.update(zip(self._scheduled, row, strict=True))
            yield values

    def ask(self, step: int) -> None:
        """Call the schedules for their values at a step: user code, which a step runs before its checks."""
        self.asked = self.at_step(step)

    def update_checked(self, whole: dict[str, Any]) -> None:
        """Set all hyperparameters to what `checked` returned."""
        self._set(whole)

    def __getitem__(self, name: str) -> Any:
        return [named.array for named in self.params] if name == "params" else self.values_now[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "params":
            raise TypeError("a group's params cannot be replaced; make a new optimizer, or add_param_group")
        self._set(self.checked({name: value}))

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"a hyperparameter cannot be deleted; got {name!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self.values_now))

    def __len__(self) -> int:
        return len(self.values_now) + 1

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.values_now.items())
        return f"ParamGroup([{', '.join(named.name for named in self.params)}], {values})"

    def _set(self, whole: dict[str, Any]) -> None:
        self.values_now = self.asked = whole
        self._scheduled = {name: self._owner.specs[name] for name, value in whole.items() if is_scheduled(value)}
        self.scheduled = bool(self._scheduled)
        changed = self.on_change and self.on_change()
        if changed:
            changed()

    def _check_settled(self, whole: Mapping[str, Any]) -> None:
        for name, spec in self._owner.specs.items():
            if spec.fixed and whole[name] != self.values_now[name]:
                raise ValueError(
                    f"{name} is settled when {self._owner.__name__} is made, as {self.values_now[name]!r}; "
                    f"got {whole[name]!r}. Make a new optimizer."
                )
        missing = [name for name in self._owner.states_of(whole) if name not in self.states]
        if missing:
            changed = [name for name in whole if whole[name] != self.values_now[name]]
            raise ValueError(
                f"{', '.join(changed)} cannot change so after {self._owner.__name__} was made: that needs the state "
                f"{', '.join(missing)}. Make a new optimizer."
            )
