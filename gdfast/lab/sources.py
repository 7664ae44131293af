"""What a training's optimizer holds, read and set alike for gdfast, gdfast.torch and PyTorch itself."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from gdfast.lab import rules
from gdfast.lab.errors import LabError
from gdfast.optimizers import Lookahead
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Spec

__all__ = ["Source", "source_of"]

Array: TypeAlias = np.ndarray[Any, Any]


class Source(Protocol):
    """An optimizer that is watched.

    Attributes
    ----------
    rule : str
        The optimizer of gdfast whose hyperparameters it has; empty if there is none.
    names : list of str
        Of its arrays.
    """

    rule: str
    names: list[str]

    def arrays(self) -> list[Array]:
        """Return the parameters."""

    def gradients(self, given: Any) -> list[Array | None]:
        """Return the gradients of the last step, where they are known; `given` is what the loop gave."""

    def lr(self) -> float:
        """Return the learning rate of the first group."""

    def steps(self) -> int | None:
        """Return how many steps were made, if it counts them."""

    def skipped(self) -> int:
        """Return how many steps were skipped."""

    def groups(self) -> Sequence[Mapping[str, Any]]:
        """Return the hyperparameters of each group."""

    def set(self, group: int, name: str, value: Any) -> None:
        """Set a hyperparameter, checked."""


def source_of(opt: Any) -> Source:
    """Return how an optimizer is read.

    Raises
    ------
    TypeError
        If it is none that can be watched.
    """
    if isinstance(opt, Lookahead):
        opt = opt.optimizer
    if isinstance(opt, Optimizer):
        return _Own(opt)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(opt, torch.optim.Optimizer):
        return _Torch(opt)
    raise TypeError(
        f"opt must be an optimizer of gdfast, gdfast.torch or PyTorch that is stepped with gradients; "
        f"got {type(opt).__name__}"
    )


class _Own:
    """An optimizer of gdfast."""

    def __init__(self, opt: Optimizer) -> None:
        self._opt = opt
        self.rule = type(opt).__name__ if rules.RULES.get(type(opt).__name__) is type(opt) else ""
        self.names = list(opt.state)

    def arrays(self) -> list[Array]:
        """Return the parameters."""
        return [array for group in self._opt.param_groups for array in group["params"]]

    def gradients(self, given: Any) -> list[Array | None]:
        """Return those given, or the bound buffers."""
        row = self._opt._bound_grads if given is None else self._opt._layout.flatten(given)
        if row is None:
            return [None] * len(self.names)
        return [array if isinstance(array, np.ndarray) else None for array in row]

    def lr(self) -> float:
        """Return the learning rate of the first group."""
        return self._opt.lr

    def steps(self) -> int | None:
        """Return how many steps were made."""
        return self._opt.step_count

    def skipped(self) -> int:
        """Return how many steps were skipped."""
        return self._opt.skipped_steps

    def groups(self) -> Sequence[Mapping[str, Any]]:
        """Return the hyperparameters of each group."""
        return [group.values_now for group in self._opt.param_groups]

    def set(self, group: int, name: str, value: Any) -> None:
        """Set a hyperparameter, checked."""
        self._opt.param_groups[group][name] = value


class _Torch:
    """An optimizer of gdfast.torch, or PyTorch's own."""

    def __init__(self, opt: Any) -> None:
        self._opt = opt
        self.rule = type(opt).__name__ if type(opt).__name__ in rules.RULES else ""
        tensors = [(i, j) for i, group in enumerate(opt.param_groups) for j, _ in enumerate(group["params"])]
        single = len(opt.param_groups) == 1
        self.names = [f"{j}" if single else f"{i}.{j}" for i, j in tensors]

    def _tensors(self) -> list[Any]:
        return [tensor for group in self._opt.param_groups for tensor in group["params"]]

    def arrays(self) -> list[Array]:
        """Return the parameters' memory."""
        return [tensor.detach().cpu().numpy() for tensor in self._tensors()]

    def gradients(self, given: Any) -> list[Array | None]:
        """Return the tensors' gradients."""
        grads = (tensor.grad for tensor in self._tensors())
        return [None if grad is None or grad.is_sparse else grad.detach().cpu().numpy() for grad in grads]

    def lr(self) -> float:
        """Return the learning rate of the first group."""
        return float(self._opt.param_groups[0]["lr"])

    def steps(self) -> int | None:
        """Return None: PyTorch counts by parameter."""
        return None

    def skipped(self) -> int:
        """Return how many steps were skipped."""
        return int(getattr(self._opt, "skipped_steps", 0))

    def groups(self) -> Sequence[Mapping[str, Any]]:
        """Return the hyperparameters of each group."""
        return [{name: value for name, value in group.items() if name != "params"} for group in self._opt.param_groups]

    def set(self, group: int, name: str, value: Any) -> None:
        """Set a hyperparameter that the optimizer of this name in gdfast has too, checked as there."""
        known: Mapping[str, Spec] = rules.RULES[self.rule].own_specs if self.rule else {}
        own = self._opt.param_groups[group]
        if name not in known or name not in own or known[name].fixed:
            raise LabError(f"{name} cannot be changed from the page, for this optimizer")
        own[name] = known[name].check(name, value, True)
