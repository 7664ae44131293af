"""The base class of the optimizers: PyTorch's interface, gdfast's step."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch._C import _increment_version

from gdfast.arrays.formats import LEAST_SIZE, PLAIN
from gdfast.arrays.structure import NamedArray
from gdfast.engine import threads
from gdfast.engine._plan import NonBlockingLock
from gdfast.stepping.averaging import STATE, Averaging
from gdfast.stepping.guard import Guard, Guarded, complaint
from gdfast.stepping.hyperparameters import is_scheduled
from gdfast.stepping.short_state import ShortState
from gdfast.torch.binding import Binding
from gdfast.torch.hooks import profile_hook_step
from gdfast.torch.local import Local, on_a_mesh
from gdfast.torch.memory import HALF, SINGLE, check_grad, checked, lie_apart, like_grad, swapped, zero_all
from gdfast.torch.rows import RowStep, check_lazy
from gdfast.torch.rule import Group, Rule
from gdfast.torch.saving import load, with_seed
from gdfast.torch.short import Part

EXTRAS: dict[str, Any] = {
    "clip_norm": None,
    "clip_value": None,
    "nonfinite": "propagate",
    "ema_decay": None,
    "n_threads": None,
    "master": "auto",
    "rounding": "stochastic",
    "state_dtype": PLAIN,
    "state_dtype_min_size": LEAST_SIZE,
    "seed": 0,
}


# Of these, in the order of `ShortState`.
SHORT = ("state_dtype", "master", "rounding", "state_dtype_min_size", "seed")


class Optimizer(torch.optim.Optimizer, Guarded):
    """The base class of all optimizers of `gdfast.torch`: each takes PyTorch's arguments, in its order, and these.

    Parameters
    ----------
    *args, **kwargs
        Those of PyTorch's class of the same name. ``foreach``, ``fused`` and ``capturable`` are accepted and ignored:
        there is one implementation. ``differentiable=True`` is refused. A tensor given as a hyperparameter is read
        as a number at every step.
    clip_norm, clip_value : float, optional
        Maximum norm of all gradients together, and maximum absolute value of an element; clipped within the step.
    nonfinite : {"propagate", "skip", "raise"}
        What to do with gradients that hold NaN or infinity: step anyway; change nothing and count the step in
        `skipped_steps`; or change nothing and raise FloatingPointError.
    ema_decay : float, optional
        Keep an exponential average of every parameter in ``state[p]["ema"]``, in the same pass; see `averaged`.
    n_threads : int, optional
        Maximum number of threads; by default as many as both `torch.get_num_threads` and gdfast allow.
    master : {"auto", "split", "float32", None}
        What a bfloat16 or float16 parameter has beside it, in its state, to be stepped in full precision. "split": the
        lower 16 bits of a float32 (``remainder``), without loss; "float32": a float32 (``master``), from which the
        parameter is overwritten; None: nothing, the new value is rounded. "auto" is "split" for bfloat16 and "float32"
        for float16.
    rounding : {"stochastic", "nearest"}
        How a bfloat16 parameter without a master is rounded; float16 ones can only be rounded to the nearest.
    state_dtype : {"float32", "bfloat16", "8bit"} or dict
        How averages in the state are kept, or a dict from state name to one of these; a group may have its own, under
        this name. State in eight bits is ``exp_avg.codes`` and ``exp_avg.scales`` instead of ``exp_avg``.
    state_dtype_min_size : int
        Parameters of fewer elements keep float32 state.
    seed : int
        In [0, 2**32). Random bits depend on it and on the parameter's number and step; it is saved with the state.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is invalid. Parameters are not checked until they have a gradient.
    """

    rule: ClassVar[Rule]
    __signature__: ClassVar[inspect.Signature | None]
    _bound: Binding | None
    _local: Local | None
    _in_backward: Any = None  # the `BackwardSteps` that make its steps, if any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        extras = {name: kwargs.pop(name, default) for name, default in EXTRAS.items()}
        self.n_threads = threads.check(extras["n_threads"])
        for name in ("clip_norm", "clip_value", "ema_decay"):
            if is_scheduled(extras[name]) or extras[name] == "average":
                raise TypeError(f"{name} must be a number; got {extras[name]!r}")
        #: clipping, and the answer to gradients that are not finite
        self.guard = Guard(extras["clip_norm"], extras["clip_value"], extras["nonfinite"])
        #: which average of the parameters is kept
        self.averaging = Averaging(extras["ema_decay"], 0)
        #: how bfloat16 and float16 parameters, and the state, are kept
        self.short = ShortState(*(extras[name] for name in SHORT))
        #: the norm of the last step's gradients; None if no step has computed it
        self.last_norm: float | None = None
        #: how many steps were skipped because of NaN or infinity
        self.skipped_steps = 0
        self._init_process_state()
        super().__init__(*args, **kwargs)
        # Adagrad's is created once there is memory for it, and not in 16 bits.
        for param in [param for param in self.state if param.is_meta or param.dtype in HALF]:
            del self.state[param]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" not in cls.__dict__:  # a user's subclass, with or without its own constructor
            cls.__signature__ = None if "__init__" in cls.__dict__ else cls.__signature__
        else:
            base = cls.__mro__[2]
            theirs = base.signature(cls.rule) if hasattr(base, "signature") else inspect.signature(base)
            keyword = inspect.Parameter.KEYWORD_ONLY
            more = [inspect.Parameter(name, keyword, default=default) for name, default in EXTRAS.items()]
            cls.__signature__ = theirs.replace(parameters=[*theirs.parameters.values(), *more])

    # Public methods, besides those of PyTorch's base class.

    def step(
        self, closure: Callable[[], Any] | None = None, *, zero_grad: bool = False, set_to_none: bool = False
    ) -> Any:
        """Update every parameter that has a gradient, once.

        Parameters
        ----------
        closure : callable, optional
            Recomputes the loss and the gradients, and returns the loss.
        zero_grad : bool
            Set the gradients to zero in the same pass; also those of a step that is skipped.
        set_to_none : bool
            With `zero_grad`: drop the gradients after the step instead, as `zero_grad()` does. The next backward pass
            then puts its gradients there; it would add to gradients that are zero, which costs a pass over each.

        Returns
        -------
        What the closure returned, or None.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If a hyperparameter, a parameter, its state or its gradient is invalid; nothing is written then.
        FloatingPointError
            If ``nonfinite="raise"`` and a gradient holds NaN or infinity; nothing is written then.
        """
        if set_to_none and not zero_grad:
            raise ValueError("set_to_none says how zero_grad is done; it needs zero_grad=True")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with self._stepping:
            self._update(zero_grad and not set_to_none)
            if set_to_none:
                for group in self.param_groups:
                    for param in group["params"]:
                        param.grad = None
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its own hyperparameters, as in PyTorch.

        Raises
        ------
        TypeError, ValueError
            If a hyperparameter is invalid; the optimizer is then left unchanged.
        """
        super().add_param_group(param_group)
        try:
            self._check_group(len(self.param_groups) - 1)
        except BaseException:
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a copy of a checkpoint of this class or of PyTorch's.

        State that lies in another format than this optimizer's is converted by the next step.

        Raises
        ------
        TypeError, ValueError
            If the lengths of its groups differ from the optimizer's, or its seed is invalid.
        RuntimeError
            If another thread is stepping it, or the averages are in the parameters.
        """
        with self._stepping.mending() as torn:
            load(self, super().load_state_dict, state_dict)
            if torn:  # by a fork in the middle of a step, whose bindings and hooks are not to go on
                self._bound, self._local = None, None
                if self._in_backward is not None:
                    self._in_backward.forget()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as PyTorch does; where something may be in fewer bits, with the seed under "gdfast".

        Raises
        ------
        RuntimeError
            If another thread is stepping it, the averages are in the parameters, or a fork left it in half a step.
        """
        with self._stepping:
            return with_seed(self, super().state_dict())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the averages into the parameters' memory for a ``with`` block, and back after it, also after an error.

        Raises
        ------
        AttributeError
            If the optimizer keeps no averages (``ema_decay``).
        RuntimeError
            If another thread is stepping it, or the averages are in the parameters already.
        """
        if not self.averaging.on:
            raise AttributeError(f"this {type(self).__name__} keeps no average; give ema_decay when making it")
        with self._stepping:  # so that no step is made meanwhile
            pairs = [(param.detach(), own[STATE]) for param, own in self.state.items() if STATE in own]
            with swapped(pairs):
                yield

    def __getstate__(self) -> dict[str, Any]:
        with self._stepping:
            return self._kept()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._init_process_state()

    # Private methods, and PyTorch's hook for the step.

    profile_hook_step = staticmethod(profile_hook_step)

    def _kept(self) -> dict[str, Any]:
        """Return what a copy has as well: everything that does not belong to this process."""
        own = ("guard", "averaging", "short", "n_threads", "last_norm", "skipped_steps")
        return {**super().__getstate__(), **{name: self.__dict__[name] for name in own}}

    def _init_process_state(self) -> None:
        """Create what belongs to this process: the lock. Nothing is bound yet."""
        self._stepping = NonBlockingLock(type(self).__name__)
        self._bound = None
        self._local = None
        self._first = 0  # the number of its first parameter
        self._parts: dict[torch.Tensor, Part] = {}  # of parameters of which other processes have the rest

    def _check_group(self, index: int) -> None:
        group = self.param_groups[index]
        if group.get("differentiable"):
            raise ValueError(
                f"differentiable must be False: autograd cannot go through a step of gdfast.torch; got "
                f"{group['differentiable']!r} in param_groups[{index}]. Use torch.optim.{type(self).__name__} for it."
            )
        single = any(param.requires_grad and param.dtype in SINGLE for param in group["params"])
        read, path = Group(self.rule, index, group, single), f"param_groups[{index}]"
        nothing = NamedArray(np.empty(0, np.float32), path, path)  # whatever the parameters are
        self.short.loops_of(read.owner, read.name, nothing, read.state_dtype)

    def _bind(self) -> Binding:
        """Bind the tensors as they are now."""
        with torch.inference_mode(False):  # tensors created in inference mode could not be written later
            given = self.rule, self.param_groups, self.state, self.averaging.on, self.short
            return Binding(*given, self._first, self._bound, self._parts)

    def _update(self, zero_grad: bool) -> None:
        """Make one step."""
        if self._in_backward is not None:
            self._in_backward.end(zero_grad)
            return
        unscale = self._unscale()
        if unscale is None:
            if zero_grad:
                self.zero_grad(set_to_none=False)
            return
        bound = self._bound
        averaged = self.averaging.on
        if bound is None or bound.averaged != averaged or not bound.holds(self.param_groups, self.state):
            if on_a_mesh(self.param_groups):
                self._local = self._local or Local(self)
                self._local.step(zero_grad)
                return
            self._bound = bound = self._bind()
            if not bound.holds(self.param_groups, self.state):
                raise RuntimeError("a parameter or its state was changed by another thread during the step")
        tensors, engine, guard = bound.tensors, bound.engine, self.guard
        try:
            n_threads = self._threads() if engine.most_parts > 1 else 1
            has_options = zero_grad or unscale != 1.0 or guard.needs_norm or guard.clip_value is not None
            if not has_options and bound.try_step(n_threads):
                return
            rows = RowStep(bound, n_threads) if tensors.indirect_grads else None
            replaced = self._take_grads(bound, rows)
            scale = unscale
            if guard.needs_norm:
                grads = tensors.arrays_of_grads() | (rows.grads if rows else {})
                norm = self._norm(bound, grads, n_threads)
                clipped = self._clipped_scale(norm, scale, guard.clip_norm_at(0))
                if clipped is None:
                    self._refuse(bound, norm, grads)
                    if zero_grad:  # or what is added to them would not be finite either
                        zero_all(param.grad for param in tensors.stepped)
                    return
                scale = clipped
            largest = math.inf if guard.clip_value is None else guard.clip_value_at(0)
            numbers, after = bound.set_numbers(scale, largest, may_keep=rows is None)
            if rows:
                rows.set_numbers(numbers)
            bound.set_random()
            if averaged:
                engine.set_average(self.averaging.weight(0))
            # Gradients are zeroed in the same pass only if no copy is written back after it, maybe into their memory.
            in_the_pass = zero_grad and not tensors.copied and lie_apart(tensors.grad_addresses, tensors.n_bytes)
            bound.follow_params()
            _increment_version(tensors.stepped)
            tensors.run(rows or engine, after, n_threads, in_the_pass)
            bound.note_versions()
            if zero_grad:
                zero_all(replaced if in_the_pass else (param.grad for param in tensors.stepped))
        finally:
            tensors.release()

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether `torch.amp.GradScaler` leaves the unscaling to the step: it refuses gradients of float16."""
        return any(param.dtype == torch.float16 for group in self.param_groups for param in group["params"])

    @_step_supports_amp_scaling.setter
    def _step_supports_amp_scaling(self, value: bool) -> None:
        """Ignore what PyTorch's constructors set for ``fused=True``."""

    def _unscale(self) -> float | None:
        """Return what the gradients are to be multiplied by, None if `GradScaler` found them infinite."""
        own = self.__dict__  # the scaler sets both for the time of the step
        if own.get("found_inf") is not None and float(own["found_inf"]) > 0:
            return None
        return 1.0 if own.get("grad_scale") is None else 1.0 / float(own["grad_scale"])

    def _threads(self) -> int:
        """Return how many threads a step may use."""
        if self.n_threads is not None:
            return threads.resolve(self.n_threads)
        theirs: int = torch.get_num_threads()
        return min(threads.resolve(None), theirs)

    def _take_grads(self, bound: Binding, rows: RowStep | None) -> list[torch.Tensor]:
        """Bind the gradients; return those that were replaced by a copy, which the engine neither reads nor zeroes."""
        tensors, replaced = bound.tensors, []
        if self.rule.lazy:
            check_lazy(bound, type(self).__name__)
        for place in tensors.indirect_grads:
            path, grad = bound.entries[place].param.grad_path, bound.param_at[place].grad
            assert rows is not None
            check_grad(grad, bound.param_at[place], path)
            assert grad is not None
            replaced.append(grad)
            if grad.layout == torch.strided:
                tensors.replace(place, like_grad(bound.works[place], grad))
            elif rows.takes(place, grad, type(self).__name__):
                rows.take(place, grad)
            else:
                tensors.replace(place, like_grad(bound.works[place], checked(grad, path)))
        bound.set_grad_formats()
        while places := bound.engine.bind(tensors.grad_addresses, tensors.slot_of):
            for place in places:
                grad = bound.param_at[place].grad
                assert grad is not None
                replaced.append(grad)
                tensors.replace(place, like_grad(bound.works[place], grad))
        return replaced

    def _norm(self, bound: Binding, grads: "dict[int, np.ndarray[Any, Any]]", n_threads: int) -> float:
        """Return the norm of all gradients."""
        return bound.engine.norm(tuple(grads[place] for place in sorted(grads)), n_threads, False)

    def _refuse(self, bound: Binding, norm: float, grads: "dict[int, np.ndarray[Any, Any]]") -> None:
        """Raise, or count a skipped step."""

        def describe() -> str:
            paths = {place: bound.entries[place].param.grad_path for place in sorted(grads)}
            step = max(int(now[0]) for _, now in bound.tensors.slots_now())
            return complaint([NamedArray(grads[k], path, path) for k, path in paths.items()], step)

        self._refuse_step(norm, describe)
