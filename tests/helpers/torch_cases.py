"""The table of `gdfast.torch`: one row a form of an optimizer, and every test of it runs over all of them."""

from dataclasses import dataclass, field
from typing import Any

import pytest

torch = pytest.importorskip("torch", minversion="2.13.0")

import gdfast.torch  # noqa: E402


@dataclass(frozen=True)
class TorchCase:
    """An optimizer with options, as `gdfast.torch` and `torch.optim` both have it."""

    name: str
    optimizer: str
    options: dict[str, Any] = field(default_factory=dict)
    rtol: float = 1e-12  # in float64; more where PyTorch rounds numbers of its own to float32

    def ours(self, params: Any, **more: Any) -> Any:
        return getattr(gdfast.torch, self.optimizer)(params, **{**self.options, **more})

    def theirs(self, params: Any, **more: Any) -> Any:
        return getattr(torch.optim, self.optimizer)(params, **{**self.options, **more})

    def __str__(self) -> str:
        return self.name


CASES = [
    TorchCase("sgd", "SGD", {"lr": 0.02}),
    TorchCase("momentum", "SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.02}),
    TorchCase("nesterov", "SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "maximize": True}),
    TorchCase("asgd", "ASGD", {"lr": 0.02, "lambd": 0.01, "t0": 3, "weight_decay": 0.01}, 1e-5),
    TorchCase("rprop", "Rprop", {"lr": 0.02}),
    TorchCase("adagrad", "Adagrad", {"lr": 0.05, "lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    TorchCase("adadelta", "Adadelta", {"lr": 0.5, "weight_decay": 0.01}),
    TorchCase("rmsprop", "RMSprop", {"lr": 0.002}),
    TorchCase("rmsprop_all", "RMSprop", {"lr": 0.002, "momentum": 0.7, "centered": True, "weight_decay": 0.01}),
    TorchCase("adam", "Adam"),
    TorchCase("amsgrad", "Adam", {"amsgrad": True, "maximize": True, "weight_decay": 0.1}),
    TorchCase("adam_decoupled", "Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    TorchCase("adamw", "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    TorchCase("adamax", "Adamax"),
    TorchCase("nadam", "NAdam", {"weight_decay": 0.1}, 1e-6),
    TorchCase("nadam_decoupled", "NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}, 1e-6),
    TorchCase("radam", "RAdam", {"lr": 0.01}),
    TorchCase("radam_decoupled", "RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
]
EACH = pytest.mark.parametrize("case", CASES, ids=str)


def parameters(dtype: Any = torch.float64) -> list[Any]:
    """Return parameters of many shapes, one of them empty and one a scalar."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(4, 3), (), (5,), (2, 0), (2, 3, 2, 2)]
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]


def set_grads(params: list[Any], step: int, skip: tuple[int, ...] = ()) -> None:
    """Give the parameters new gradients, the same at the same step, except some."""
    generator = torch.Generator().manual_seed(100 + step)
    for i, param in enumerate(params):
        grad = torch.randn(param.shape, generator=generator, dtype=param.dtype)
        param.grad = None if i in skip else torch.empty_like(param).detach().copy_(grad)


def run(opt: Any, params: list[Any], steps: range, **options: Any) -> None:
    """Step with new gradients each time."""
    for step in steps:
        set_grads(params, step, **options)
        opt.step()


def close(actual: Any, expected: Any, case: TorchCase) -> None:
    """Check lists, or states, of tensors against one another."""
    torch.testing.assert_close(actual, expected, rtol=case.rtol, atol=1e-14, equal_nan=True, check_stride=True)


def states(opt: Any) -> list[dict[str, Any]]:
    """Return the state of each parameter; numbers, whose type loading may change in PyTorch too, in float32."""
    numbers = ("eta", "mu", "mu_product")
    plain = [opt.state.get(p, {}) for group in opt.param_groups for p in group["params"]]
    return [{k: v.float() if k in numbers else v for k, v in own.items()} for own in plain]
