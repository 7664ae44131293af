"""The optimizers that PyTorch lacks, behind its interface: gdfast's constructor and rule."""

import inspect
from typing import Any, ClassVar

import torch

from gdfast import optimizers
from gdfast.torch.optimizer import Optimizer
from gdfast.torch.rule import Rule

__all__ = [
    "ADOPT",
    "FTRL",
    "MADGRAD",
    "AdEMAMix",
    "AdaBelief",
    "Adan",
    "Grams",
    "Lion",
    "QHAdam",
    "SignSGD",
    "Signum",
    "Yogi",
]


class NativeBase(torch.optim.Optimizer):
    """The base that takes the role of PyTorch's class: it takes gdfast's arguments as the defaults of the groups."""

    rule: ClassVar[Rule]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = self.signature(self.rule).bind(*args, **kwargs)
        given.apply_defaults()
        super().__init__(given.arguments.pop("params"), given.arguments)

    @staticmethod
    def signature(rule: Rule) -> inspect.Signature:
        """Return the signature: ``params``, and the hyperparameters of gdfast's optimizer."""
        kinds = inspect.Parameter
        made = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
        for name, default in rule.defaults().items():
            kind = kinds.KEYWORD_ONLY if name in ("maximize", "l1") else kinds.POSITIONAL_OR_KEYWORD
            made.append(kinds(name, kind, default=default))
        return inspect.Signature(made)


class Lion(Optimizer, NativeBase):
    """:class:`gdfast.Lion` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`.

    Examples
    --------
    >>> import torch
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> opt = Lion([w], lr=0.5, weight_decay=0.0)
    >>> w.grad = torch.tensor([3.0, -4.0])
    >>> opt.step()
    >>> w.detach()
    tensor([-0.5000,  0.5000])
    """

    rule = Rule(optimizers.Lion, counted=False)


class SignSGD(Optimizer, NativeBase):
    """:class:`gdfast.SignSGD` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.SignSGD, counted=False)


class Signum(Optimizer, NativeBase):
    """:class:`gdfast.Signum` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Signum, counted=False)


class AdaBelief(Optimizer, NativeBase):
    """:class:`gdfast.AdaBelief` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.AdaBelief)


class Adan(Optimizer, NativeBase):
    """:class:`gdfast.Adan` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Adan)


class AdEMAMix(Optimizer, NativeBase):
    """:class:`gdfast.AdEMAMix` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.AdEMAMix)


class Grams(Optimizer, NativeBase):
    """:class:`gdfast.Grams` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Grams)


class ADOPT(Optimizer, NativeBase):
    """:class:`gdfast.ADOPT` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.ADOPT)


class QHAdam(Optimizer, NativeBase):
    """:class:`gdfast.QHAdam` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.QHAdam)


class Yogi(Optimizer, NativeBase):
    """:class:`gdfast.Yogi` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Yogi)


class FTRL(Optimizer, NativeBase):
    """:class:`gdfast.FTRL` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.FTRL)


class MADGRAD(Optimizer, NativeBase):
    """:class:`gdfast.MADGRAD` behind PyTorch's interface, with its arguments; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.MADGRAD)
