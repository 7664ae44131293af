"""The optimizers that PyTorch has too: its class for the constructor and the groups, gdfast's for the rule."""

import torch

from gdfast import optimizers
from gdfast.torch.optimizer import Optimizer
from gdfast.torch.rule import Rule

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
]


class SGD(Optimizer, torch.optim.SGD):
    """`torch.optim.SGD`, stepped by :class:`gdfast.SGD`; see :class:`gdfast.torch.Optimizer`.

    Takes sparse gradients, without weight decay.

    Examples
    --------
    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    >>> opt = SGD([w], lr=0.25)
    >>> (w**2).sum().backward()
    >>> opt.step(zero_grad=True)
    >>> w.detach(), w.grad
    (tensor([ 0.5000, -1.0000]), tensor([0., 0.]))
    """

    rule = Rule(optimizers.SGD, sparse=True, by_rows=("sgd",), counted=False)


class ASGD(Optimizer, torch.optim.ASGD):
    """`torch.optim.ASGD`, stepped by :class:`gdfast.ASGD`; see :class:`gdfast.torch.Optimizer`.

    A change of the learning rate takes effect in the next step, in PyTorch one step later.
    """

    rule = Rule(optimizers.ASGD, exposed_scalars=("eta", "mu"))


class Rprop(Optimizer, torch.optim.Rprop):
    """`torch.optim.Rprop`, stepped by :class:`gdfast.Rprop`; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Rprop)


class Adagrad(Optimizer, torch.optim.Adagrad):
    """`torch.optim.Adagrad`, stepped by :class:`gdfast.Adagrad`; see :class:`gdfast.torch.Optimizer`.

    Takes sparse gradients, without weight decay. Its state is created with the optimizer.
    """

    rule = Rule(optimizers.Adagrad, sparse=True, by_rows=("adagrad",))


class Adadelta(Optimizer, torch.optim.Adadelta):
    """`torch.optim.Adadelta`, stepped by :class:`gdfast.Adadelta`; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Adadelta)


class RMSprop(Optimizer, torch.optim.RMSprop):
    """`torch.optim.RMSprop`, stepped by :class:`gdfast.RMSprop`; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.RMSprop, last=("grad_avg",))


class Adam(Optimizer, torch.optim.Adam):
    """`torch.optim.Adam`, stepped by :class:`gdfast.Adam`; see :class:`gdfast.torch.Optimizer`.

    Examples
    --------
    >>> import torch
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> opt = Adam([w], lr=0.5, clip_norm=1.0)
    >>> w.grad = torch.tensor([3.0, -4.0])
    >>> opt.step()
    >>> w.detach(), opt.last_norm, opt.state[w]["step"]
    (tensor([-0.5000,  0.5000]), 5.0, tensor(1.))
    """

    rule = Rule(optimizers.Adam, decoupled=optimizers.AdamW)


class AdamW(Optimizer, torch.optim.AdamW):
    """`torch.optim.AdamW`, stepped by :class:`gdfast.AdamW`; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Adam, decoupled=optimizers.AdamW)


class Adamax(Optimizer, torch.optim.Adamax):
    """`torch.optim.Adamax`, stepped by :class:`gdfast.Adamax`; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.Adamax)


class NAdam(Optimizer, torch.optim.NAdam):
    """`torch.optim.NAdam`, stepped by :class:`gdfast.NAdam`; see :class:`gdfast.torch.Optimizer`.

    ``mu_product`` is kept in float64; PyTorch rounds it to float32.
    """

    rule = Rule(optimizers.NAdam)


class RAdam(Optimizer, torch.optim.RAdam):
    """`torch.optim.RAdam`, stepped by :class:`gdfast.RAdam`; see :class:`gdfast.torch.Optimizer`."""

    rule = Rule(optimizers.RAdam)


class SparseAdam(Optimizer, torch.optim.SparseAdam):
    """`torch.optim.SparseAdam`, stepped by :class:`gdfast.Adam` with ``eps_hat``; see :class:`gdfast.torch.Optimizer`.

    Takes sparse gradients only, and changes only the rows or elements that they name. ``ema_decay`` is refused: it
    would change the average of every element.

    Examples
    --------
    >>> import torch
    >>> table = torch.nn.Embedding(1000, 2, sparse=True)
    >>> opt = SparseAdam(table.parameters(), lr=0.5)
    >>> before = table.weight.detach().clone()
    >>> table(torch.tensor([7, 7, 3])).sum().backward()
    >>> opt.step()
    >>> (table.weight.detach() - before).nonzero()[:, 0].unique()
    tensor([3, 7])
    """

    rule = Rule(optimizers.Adam, sparse=True, by_rows=("adam",), lazy=True, fixed={"eps_hat": True})
