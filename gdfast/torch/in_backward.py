"""A step inside the backward pass: each parameter is updated when its gradient is there, and the gradient is freed."""

from collections import defaultdict
from typing import Any
from weakref import WeakMethod

import torch

from gdfast.torch.local import on_a_mesh
from gdfast.torch.optimizer import Optimizer


def step_in_backward(model: torch.nn.Module, opt: Optimizer) -> "BackwardSteps":
    """Update each parameter within ``loss.backward()``, as soon as its gradient is complete, and free the gradient.

    So the gradients of all parameters are never in memory together. The loop stays what it was: ``opt.step()`` after
    each backward pass updates what has a gradient by other means, ends the step, and runs the step's hooks, and
    schedulers are stepped after it. The bits are those of the ordinary step.

    Parameters
    ----------
    model : torch.nn.Module
        Holds all parameters of the optimizer.
    opt : gdfast.torch.Optimizer

    Returns
    -------
    BackwardSteps
        Its ``remove()``, or the end of a ``with`` block, makes all as it was before.

    Raises
    ------
    TypeError, ValueError
        If the optimizer needs all gradients before it updates a parameter (``clip_norm``, ``nonfinite``), or has
        parameters that the model has not, that have a gradient already, or whose gradients other processes add to
        (DTensors, `DistributedDataParallel`).

    Notes
    -----
    A parameter may get one gradient a step, from any number of uses in one graph. A second backward pass before
    ``opt.step()`` (a second loss, accumulation) raises RuntimeError where it would update a parameter again. After
    that, or after another error in a backward pass, ``opt.zero_grad()`` and ``opt.step()`` end the step; what had been
    updated stays so. `torch.amp.GradScaler` and `clip_grad_norm_` need the gradients and come too late.

    Examples
    --------
    >>> import torch
    >>> from gdfast.torch import SGD, step_in_backward
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.fill_(1.0)
    >>> opt = SGD(model.parameters(), lr=0.5)
    >>> with step_in_backward(model, opt):
    ...     model(torch.ones(1, 2)).sum().backward()
    ...     opt.step()
    >>> model.weight.data, model.weight.grad
    (tensor([[0.5000, 0.5000]]), None)
    """
    return BackwardSteps(model, opt)


class BackwardSteps:
    """The hooks of `step_in_backward`, which says what they do."""

    def __init__(self, model: torch.nn.Module, opt: Optimizer) -> None:
        _check(model, opt)
        self._opt = opt
        self._places: dict[torch.Tensor, int] = {}  # the group of each parameter, in their order
        for i, group in enumerate(opt.param_groups):
            for param in group["params"]:
                self._places.setdefault(param, i)
        numbers = {param: number for number, param in enumerate(self._places)}
        self._singles = {param: _single(opt, number) for param, number in numbers.items()}
        self._stepped: set[torch.Tensor] = set()
        opt._bound, opt._in_backward = None, self
        step = WeakMethod(self._step)  # the garbage collector does not see through a tensor's hooks

        def hook(param: torch.Tensor) -> None:
            found = step()
            if found is not None:
                found(param)

        self._hooks = [param.register_post_accumulate_grad_hook(hook) for param in self._places if param.requires_grad]

    def remove(self) -> None:
        """Remove the hooks: from now on ``opt.step()`` makes the whole step again."""
        for hook in self._hooks:
            hook.remove()
        if self._opt._in_backward is self:
            self._opt._bound = self._opt._in_backward = None

    def __enter__(self) -> "BackwardSteps":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def end(self, zero_grad: bool) -> None:
        """End the step: update what has a gradient by other means.

        Raises
        ------
        RuntimeError
            If a parameter that has been updated has a gradient again, or a scaler of gradients comes too late; nothing
            is updated then.
        """
        if self._opt.__dict__.pop("grad_scale", None) is not None:
            raise RuntimeError(
                "step_in_backward cannot go with GradScaler: the parameters were updated with the scaled gradients"
            )
        left = [param for group in self._opt.param_groups for param in group["params"] if param.grad is not None]
        for param in left:
            self._check_once(param)
        for param in dict.fromkeys(left):
            self._update(param, zero_grad)
        self._stepped.clear()

    def forget(self) -> None:
        """Begin anew, after a fork in the middle of a step."""
        self._stepped.clear()

    def _step(self, param: torch.Tensor) -> None:
        """Update a parameter that has its gradient, and free that."""
        with self._opt._stepping:
            self._check_once(param)
            self._update(param, False)
            self._stepped.add(param)
        param.grad = None

    def _check_once(self, param: torch.Tensor) -> None:
        if param in self._stepped:
            i = self._places[param]
            k = next(k for k, other in enumerate(self._opt.param_groups[i]["params"]) if other is param)
            raise RuntimeError(
                f'param_groups[{i}]["params"][{k}] got a gradient again, after it was updated in this step: '
                "step_in_backward takes one backward pass a step, without accumulation. Call opt.step() after each; "
                "after this error first opt.zero_grad()"
            )

    def _update(self, param: torch.Tensor, zero_grad: bool) -> None:
        """Make the step of one parameter, with the hyperparameters and the state that the optimizer has now."""
        opt, place = self._opt, self._places.get(param)
        if place is None:  # of a group that was added later
            place = next(i for i, group in enumerate(opt.param_groups) if any(p is param for p in group["params"]))
            self._singles[param] = _single(opt, len(self._places))
            self._places[param] = place
        single = self._singles[param]
        own, known = opt.state.get(param, {}), single.state.get(param)
        if own is not known and (own or known):
            single.state, single._bound = defaultdict(dict, {param: own}), None
        _check_guard(opt)
        single.guard, single.averaging = opt.guard, opt.averaging
        single.n_threads, single.short = opt.n_threads, opt.short
        single.param_groups = [{**opt.param_groups[place], "params": [param]}]
        single._update(zero_grad)
        if made := single.state.get(param):  # not before the step is known to be possible
            opt.state[param] = made


def _single(opt: Optimizer, number: int) -> Any:
    """Return an optimizer of the same class that is to have one parameter, the one of this number."""
    single: Any = object.__new__(type(opt))
    single.__setstate__({**opt._kept(), "state": defaultdict(dict), "param_groups": []})
    single._first = number
    return single


def _check(model: Any, opt: Any) -> None:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    if not isinstance(opt, Optimizer):
        raise TypeError(f"opt must be an optimizer of gdfast.torch; got {type(opt).__module__}.{type(opt).__name__}")
    if opt._in_backward is not None:
        raise ValueError(
            "opt must not be stepped in the backward pass already; first remove() the hooks that are there"
        )
    _check_guard(opt)
    parallel = [name for name, module in model.named_modules() if _is_parallel(module)]
    if on_a_mesh(opt.param_groups) or parallel:
        raise TypeError(
            "step_in_backward cannot go with DTensors or DistributedDataParallel: other processes add to the gradients"
        )
    known = set(model.parameters())
    for i, group in enumerate(opt.param_groups):
        for k, param in enumerate(group["params"]):
            if param not in known:
                raise ValueError(f'model must have all parameters of opt; it lacks param_groups[{i}]["params"][{k}]')
            if param.grad is not None:
                raise ValueError(
                    f'param_groups[{i}]["params"][{k}] must have no gradient yet, which the next backward pass would '
                    "add to; call opt.zero_grad()"
                )


def _check_guard(opt: Optimizer) -> None:
    if opt.guard.needs_norm:
        name = "clip_norm" if opt.guard.clip_norm is not None else "nonfinite"
        raise ValueError(f"{name} cannot go with step_in_backward: it needs all gradients before a parameter changes")


def _is_parallel(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.parallel.DistributedDataParallel)
