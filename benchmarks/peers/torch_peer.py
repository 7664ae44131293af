"""PyTorch's own optimizers, in the three forms they have on a CPU."""

from benchmarks.peers.base import Contender, Run, copy_into
from benchmarks.workloads import RULES, Workload

FORMS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "single": {"foreach": False}}
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")


class Torch(Contender):
    """`torch.optim.Adam(params, fused=True).step()`, with the gradients in place."""

    needs = "torch"

    def __init__(self, form: str) -> None:
        self.form = form
        self.name = f"PyTorch {form}"

    def supports(self, rule: str) -> bool:
        """Not every optimizer has a fused form."""
        return self.form != "fused" or RULES[rule].optimizer in FUSED

    def setup(self, work: Workload) -> Run:
        """Make parameters over the arrays, with their gradients."""
        import torch

        torch.set_num_threads(work.threads)
        arrays, grads = work.arrays()
        params = [torch.nn.Parameter(torch.from_numpy(array)) for array in arrays]
        for param, grad in zip(params, grads, strict=True):
            param.grad = torch.from_numpy(grad)
        rule = RULES[work.rule]
        opt = getattr(torch.optim, rule.optimizer)(params, **FORMS[self.form], **rule.options)
        return Run(opt.step, lambda: arrays, copy_into(grads))
