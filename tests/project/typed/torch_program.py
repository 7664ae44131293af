"""A program with types that uses gdfast.torch: checked, never run."""

# pyright: strict

import torch

from gdfast.torch import SGD, AdamW, Lion, lr_scheduler


def train(model: torch.nn.Module, x: torch.Tensor) -> float:
    opt = AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, clip_norm=1.0, ema_decay=0.999)
    schedule = lr_scheduler.CosineAnnealingLR(opt, T_max=10)
    for _ in range(10):
        loss: torch.Tensor = model(x).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # PyTorch's own has no types
        opt.step(zero_grad=True)
        schedule.step()
    with opt.averaged():
        model(x)
    opt.load_state_dict(opt.state_dict())
    Lion([{"params": list(model.parameters()), "lr": 1e-3}], lr=1e-4).step()
    other: torch.optim.Optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    other.zero_grad()

    def closure() -> float:
        return float(model(x).sum())

    opt.step(closure)
    return float(opt.param_groups[0]["lr"])
