"""Stochastic gradient descent, with momentum (SGD) or with averaging (ASGD)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common, is_on, power
from gdfast.stepping.hyperparameters import FINITE, NON_NEGATIVE, Flag, Hyperparameter, Spec
from gdfast.stepping.rule import same_in_all_steps


class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum.

    With ``momentum`` mu, in the step counted t from 1::

        b = mu*b + damp*g        damp = 1 if t == 1 else 1 - dampening
        p = p - lr*b             nesterov: p - lr*(g + mu*b)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    momentum : float or schedule
        mu, at least 0. At 0 no buffer is kept.
    dampening : float or schedule
        1 minus the weight of a new gradient in the buffer; any finite number.
    nesterov : bool
        Nesterov momentum; needs momentum and no dampening.
    weight_decay : float or schedule
        L2 penalty, added to the gradient.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``momentum_buffer``. As `torch.optim.SGD`. Keras and scikit-learn keep the learning rate inside the buffer,
    which differs when the learning rate changes.
    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.SGD(w, lr=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     opt.step(2 * w)  # the gradient of w @ w
    >>> w
    array([ 0.54, -1.08])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sgd": (),
        "momentum": ("momentum_buffer",),
        "nesterov": ("momentum_buffer",),
    }
    lazy_rules: ClassVar[frozenset[str]] = frozenset(rules)
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "dampening": FINITE,
        "nesterov": Flag(),
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        momentum: Hyperparameter = 0.0,
        dampening: Hyperparameter = 0.0,
        nesterov: bool = False,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return sgd, momentum or nesterov."""
        if values["nesterov"]:
            return "nesterov"
        return "momentum" if is_on(values["momentum"]) else "sgd"

    @classmethod
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check that nesterov has momentum and no dampening."""
        if values["nesterov"] and (not is_on(values["momentum"]) or is_on(values["dampening"])):
            raise ValueError(
                f"nesterov must go with momentum and without dampening; got momentum={values['momentum']!r}, "
                f"dampening={values['dampening']!r}"
            )

    @staticmethod
    @same_in_all_steps()
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, mu, damp (of which the rule without momentum reads only lr)."""
        dampening = values["dampening"]
        return values["lr"], values["momentum"], 1.0 - dampening if dampening and t > 1 else 1.0


class ASGD(Optimizer):
    """Averaged stochastic gradient descent: a decaying learning rate, and an average of the iterates.

    In the step counted t from 1::

        p = (1 - lambd*eta)*p - eta*g        eta = lr/(1 + lambd*lr*(t-1))**alpha
        ax = ax + mu*(p - ax)                mu = 1/max(1, t-1-t0)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate of the first step.
    lambd : float or schedule
        Decoupled weight decay, and decay of the learning rate.
    alpha : float or schedule
        Exponent of the decay of the learning rate.
    t0 : float or schedule
        Step at which the averaging begins; until then ax is a copy of the parameters.
    weight_decay : float or schedule
        L2 penalty, added to the gradient.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``ax``, the average; zero before the first step. As `torch.optim.ASGD`, where a change of the learning rate
    acts a step later, and eta and mu are rounded to the default dtype (float32). Every optimizer can keep an average:
    see ``ema_decay`` of :class:`gdfast.Optimizer`.
    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992; the rates: Bottou,
    Large-scale machine learning with stochastic gradient descent, 2010; Xu, arXiv:1107.2490.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.ASGD(w, lr=0.5, lambd=0.0, t0=0)
    >>> for _ in range(3):
    ...     opt.step(w.copy())  # the gradient of w @ w / 2
    >>> w
    array([ 0.125, -0.25 ])
    >>> opt.state["0"]["ax"]
    array([ 0.1875, -0.375 ])
    """

    decoupled: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"asgd": ("ax",)}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "lambd": NON_NEGATIVE,
        "alpha": NON_NEGATIVE,
        "t0": FINITE,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        lambd: Hyperparameter = 1e-4,
        alpha: Hyperparameter = 0.75,
        t0: Hyperparameter = 1e6,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return asgd."""
        return "asgd"

    @staticmethod
    def decays(values: Mapping[str, Any], t: int) -> tuple[float, float]:
        """Return weight_decay and lambd*eta."""
        return values["weight_decay"], values["lambd"] * _decayed_lr(values, t)

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return eta, mu."""
        return _decayed_lr(values, t), 1.0 / max(1.0, t - 1 - values["t0"])


def _decayed_lr(values: Mapping[str, Any], t: int) -> float:
    """Return ASGD's eta at step t."""
    lr = values["lr"]
    eta: float = lr / power(1.0 + values["lambd"] * lr * (t - 1), values["alpha"])
    return eta
