"""Parameters that are DTensors: an optimizer over this process's local tensors, with state that is DTensors too.

The local optimizer is another object of the same class. Before a step it is given the groups, gradients and state as
they are then; what it creates is put into the state of the optimizer that the user has, as a DTensor with the
parameter's mesh and placements. The local tensors are the same memory, so nothing is copied.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from gdfast.arrays.formats import MASTER, REMAINDER
from gdfast.arrays.structure import NamedArray
from gdfast.engine.coding import as_float
from gdfast.engine.norms import gathered_norm
from gdfast.stepping.averaging import STATE
from gdfast.stepping.guard import not_finite, refusal
from gdfast.torch.binding import Binding
from gdfast.torch.memory import zero_all
from gdfast.torch.short import CODES, Part

Array = np.ndarray[Any, Any]


def on_a_mesh(param_groups: list[dict[str, Any]]) -> bool:
    """Whether a parameter is a DTensor."""
    return any(_is_dtensor(param) for group in param_groups for param in group["params"])


class Local:
    """The step of an optimizer whose parameters are, some or all of them, DTensors.

    Parameters
    ----------
    opt : gdfast.torch.Optimizer
        The one that the user has.
    """

    def __init__(self, opt: Any) -> None:
        self._opt = opt
        self._inner: Any = object.__new__(type(opt))
        self._inner.__setstate__({**opt._kept(), "state": defaultdict(dict), "param_groups": []})
        self._inner._norm = self._norm
        self._inner._refuse = self._refuse
        owner = opt.rule.owner
        states = {name for names in owner.rules.values() for name in names}
        self._arrays = {STATE, MASTER, REMAINDER, *states, *(name + CODES for name in states)}

    def step(self, zero_grad: bool) -> None:
        """Make a step on the local tensors.

        Raises
        ------
        TypeError, ValueError
            If a placement cannot be stepped, or a gradient or state is not placed as its parameter is, or as
            `Optimizer.step` does; nothing has been written then.
        """
        opt, inner = self._opt, self._inner
        inner.guard, inner.averaging, inner.n_threads = opt.guard, opt.averaging, opt.n_threads
        inner.skipped_steps, inner.short = opt.skipped_steps, opt.short
        inner.grad_scale = opt.__dict__.get("grad_scale")  # of `GradScaler`, for the time of a step
        locals_of = {param: self._checked(param, path) for param, path in self._params()}
        inner._parts = {local: _part(param) for param, local in locals_of.items() if local is not param}
        inner.param_groups = [
            {**group, "params": [locals_of[param] for param in group["params"]]} for group in opt.param_groups
        ]
        inner.state = defaultdict(dict, {local: self._state(param) for param, local in locals_of.items()})
        grads = {param: local.grad for param, local in locals_of.items()}
        found = {param: _local_grad(param) for param, local in locals_of.items() if local is not param}
        try:
            for param, grad in found.items():
                local = locals_of[param]
                if grad is not None and grad.dtype != local.dtype:
                    local.grad_dtype = grad.dtype
                local.grad = grad
            inner._update(zero_grad)
            if zero_grad:
                for param, grad in found.items():
                    theirs: Any = param.grad
                    if theirs is not None and grad is not theirs._local_tensor:
                        zero_all([theirs._local_tensor])
        finally:
            for param, local in locals_of.items():
                if local is not param:
                    local.grad = grads[param]
            opt.skipped_steps, opt.last_norm = inner.skipped_steps, inner.last_norm
        for param, local in locals_of.items():
            self._show(param, local)

    def _params(self) -> Iterator[tuple[torch.Tensor, str]]:
        """Yield each parameter and its path."""
        for i, group in enumerate(self._opt.param_groups):
            for k, param in enumerate(group["params"]):
                yield param, f'param_groups[{i}]["params"][{k}]'

    def _checked(self, param: Any, path: str) -> Any:
        """Return the local tensor of a parameter, whose gradient and state must be placed alike."""
        if not _is_dtensor(param):
            return param
        if any(placement.is_partial() for placement in param.placements):
            raise TypeError(f"{path} must be sharded or replicated; got placements {param.placements}")
        names = {f"{path}.grad": param.grad} if param.grad is not None else {}
        names |= {
            f'state "{name}" of {path}': value
            for name, value in self._opt.state.get(param, {}).items()
            if name in self._arrays
        }
        for name, value in names.items():
            if not _is_dtensor(value):
                raise TypeError(f"{name} must be a DTensor as its parameter is; got {type(value).__name__}")
            if value.device_mesh != param.device_mesh or (
                value.placements != param.placements and value is not param.grad
            ):
                raise ValueError(
                    f"{name} must have its parameter's placements, {param.placements}; got {value.placements}"
                )
        return param._local_tensor

    def _state(self, param: Any) -> dict[str, Any]:
        own = self._opt.state.get(param, {})
        return {name: value._local_tensor if _is_dtensor(value) else value for name, value in own.items()}

    def _show(self, param: Any, local: Any) -> None:
        """Put what the local optimizer has into the user's state."""
        made = self._inner.state.get(local)
        if not made:
            return
        own = self._opt.state[param]
        for name in own.keys() - made.keys():  # which lies otherwise now
            del own[name]
        for name, value in made.items():
            now = own.get(name)
            if (now._local_tensor if _is_dtensor(now) else now) is not value:
                own[name] = _placed(value, param) if name in self._arrays and local is not param else value

    def _norm(self, bound: Binding, grads: dict[int, Array], n_threads: int) -> float:
        """Return the norm of all gradients on the mesh: each element counts once, wherever it is replicated."""
        params = dict(zip(self._inner_params(), (param for param, _ in self._params()), strict=True))
        stepped: dict[int, Any] = {place: params[bound.param_at[place]] for place in sorted(grads)}
        mesh = self._mesh()
        counted = tuple(as_float(grads[place]) for place, param in stepped.items() if _counts(param, mesh))
        single = all(grad.dtype != np.float64 for grad in grads.values())
        return gathered_norm(counted, n_threads, lambda vector: np.concatenate(_collected(vector, mesh)), single)

    def _refuse(self, bound: Binding, norm: float, grads: dict[int, Array]) -> None:
        """Raise in all processes, naming those with bad gradients, or count a skipped step."""
        paths = {place: bound.entries[place].param.grad_path for place in sorted(grads)}
        own = not_finite([NamedArray(grads[place], path, path) for place, path in paths.items()])
        told = _collected(own, self._mesh())
        bad = [f"process {i}: {text}" for i, texts in enumerate(told) for text in texts]
        step = max(int(now[0]) for _, now in bound.tensors.slots_now())
        self._inner._refuse_step(norm, lambda: refusal(bad, step))

    def _mesh(self) -> Any:
        """Return the mesh of all parameters that are on one."""
        params: Iterator[Any] = (param for param, _ in self._params())
        meshes = {param.device_mesh for param in params if _is_dtensor(param)}
        if len(meshes) != 1:
            raise ValueError(f"clip_norm and nonfinite need all parameters on one mesh; got {len(meshes)} meshes")
        return meshes.pop()

    def _inner_params(self) -> Iterator[torch.Tensor]:
        return (local for group in self._inner.param_groups for local in group["params"])


def _is_dtensor(value: object) -> bool:
    tensors = sys.modules.get("torch.distributed.tensor")  # without which there is none
    return tensors is not None and isinstance(value, tensors.DTensor)


def _local_grad(param: Any) -> Any:
    """Return this process's part of a DTensor's gradient, placed as the parameter is.

    Layers whose input is sharded along another dimension than their parameters (`SequenceParallel`) leave sums that are
    still to be added over the processes.
    """
    grad = param.grad
    if grad is None:
        return None
    if grad.placements != param.placements:
        with torch.no_grad():
            grad = grad.redistribute(placements=param.placements)
    local = grad._local_tensor
    return local.wait() if hasattr(local, "wait") else local  # of a collective that may still be under way


def _part(param: Any) -> Part:
    """Return which elements of a DTensor this process has."""
    mesh = param.device_mesh
    axes = zip(param.placements, mesh.shape, mesh.get_coordinate(), strict=True)
    split = [(placement, n, i) for placement, n, i in axes if n > 1 and not placement.is_replicate()]
    if not split:
        return Part(param.numel())
    dim = split[0][0].dim
    if not all(placement.is_shard(dim) for placement, _, _ in split):  # along two dimensions, or in strides
        return Part(param.numel(), True, None)
    size, begin = param.shape[dim], 0
    for _, n, i in split:  # as torch.chunk does
        before = min(size, -(-size // n) * i)
        size, begin = min(-(-size // n), size - before), begin + before
    single = math.prod(param.shape[:dim]) == 1 and size == param._local_tensor.shape[dim]
    return Part(param.numel(), True, begin * math.prod(param.shape[dim + 1 :]) if single else None)


def _placed(local: torch.Tensor, param: Any) -> Any:
    """Return a local tensor as a DTensor that is placed as a parameter is."""
    from torch.distributed.tensor import DTensor

    return DTensor(local, param._spec, requires_grad=False)


def _counts(param: Any, mesh: Any) -> bool:
    """Whether the elements that this process has count here: of copies, those on the first process do."""
    coordinate = mesh.get_coordinate()
    placements = param.placements if _is_dtensor(param) else [None] * mesh.ndim
    return all(at == 0 or not (p is None or p.is_replicate()) for at, p in zip(coordinate, placements, strict=True))


def _collected(value: Any, mesh: Any) -> list[Any]:
    """Return what each process of a mesh gives, in its order."""
    import torch.distributed as processes

    values = [value]
    for dim in reversed(range(mesh.ndim)):
        group = mesh.get_group(dim)
        found: list[Any] = [None] * processes.get_world_size(group)
        processes.all_gather_object(found, values, group)
        values = [value for part in found for value in part]
    return values
