"""What surrounds a step in PyTorch: hooks, the profiler, `torch.compile`."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import _profiler_enabled
from torch._C._dynamo.eval_frame import get_eval_frame_callback
from torch._compile import _disable_dynamo
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a class's step as PyTorch does, for hooks and the profiler, but at no cost where there are none.

    In a function under `torch.compile` the step is not traced; it runs as it is.
    """
    theirs = torch.optim.Optimizer.profile_hook_step(func)
    untraced = _disable_dynamo(theirs)

    @functools.wraps(func)
    def step(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if get_eval_frame_callback() is not None:
            return untraced(self, *args, **kwargs)
        hooks = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        if hooks or _global_optimizer_pre_hooks or _global_optimizer_post_hooks or _profiler_enabled():
            return theirs(self, *args, **kwargs)
        return func(self, *args, **kwargs)

    return step
