"""PyTorch's own optimizers, in all their implementations on a CPU, and those of gdfast.torch."""

from typing import Any

from benchmarks.peers.base import Contender, Run, copy_into
from benchmarks.workloads import IN_TORCH, Workload

FORMS: dict[str, dict[str, Any]] = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "single": {"foreach": False},
    "compiled": {},
}
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")


class Torch(Contender):
    """`torch.optim.Adam(params, fused=True).step()`, with the gradients in place."""

    needs = "torch"

    def __init__(self, form: str) -> None:
        self.form = form
        self.name = f"PyTorch {form}"

    def supports(self, rule: str) -> bool:
        """Not every optimizer has a fused form."""
        return self.form != "fused" or IN_TORCH[rule].optimizer in FUSED

    def setup(self, work: Workload) -> Run:
        """Make parameters over the arrays, with their gradients."""
        import torch

        opt, run = _ready(torch.optim, work, FORMS[self.form])
        if self.form == "compiled":
            torch.compiler.reset()  # it gives up on code that it has compiled for too many optimizers
            run.step = torch.compile(lambda: opt.step())
        return run


class DropIn(Contender):
    """`gdfast.torch.Adam(params).step()`, as PyTorch's own."""

    needs = "torch"
    name = "gdfast.torch"

    def setup(self, work: Workload) -> Run:
        """Make parameters over the arrays, with their gradients."""
        import gdfast.torch

        return _ready(gdfast.torch, work, {})[1]


def _ready(module: Any, work: Workload, more: dict[str, Any]) -> tuple[Any, Run]:
    """Make parameters over the arrays, with their gradients, and the module's optimizer over them."""
    import torch

    torch.set_num_threads(work.threads)
    arrays, grads = work.arrays()
    params = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays]
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.from_numpy(grad)
    rule = IN_TORCH[work.rule]
    opt = getattr(module, rule.optimizer)(params, **more, **rule.options)
    return opt, Run(opt.step, lambda: arrays, copy_into(grads))
