"""Adam with another norm, start, momentum or direction."""

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Unpack

from gdfast.engine._plan import bias_correction
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import EPS, FRACTION, NON_NEGATIVE, Flag, Hyperparameter, Pair, Spec


class Adamax(Optimizer):
    """Adamax: Adam with the exponentially weighted infinity norm of the gradients instead of their root mean square.

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        u = max(beta2*u, |g| + eps)
        p = p - lr/(1-beta1**t) / u * m

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : pair of float or schedule
        Decay rates of the average and of the infinity norm, in [0, 1).
    eps : float or schedule
        Added to the gradient's absolute value.
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
    State: ``exp_avg`` (m), ``exp_inf`` (u). As `torch.optim.Adamax` and optax's rule. The paper has no eps; keras adds
    it to u in the division (1e-7, with a learning rate of 1e-3).
    Source: Kingma and Ba, arXiv:1412.6980, section 7.1.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.Adamax(w, lr=0.5)
    >>> opt.step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"adamax": ("exp_avg", "exp_inf")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 2e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adamax."""
        return "adamax"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, clr, eps."""
        beta1, beta2 = values["betas"]
        return beta1, 1.0 - beta1, beta2, values["lr"] / bias_correction(beta1, t), values["eps"]


class RAdam(Optimizer):
    """RAdam: Adam that uses its second moment only once enough gradients are in it, with a correction (rectified Adam).

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        rho = rho_inf - 2*t*beta2**t/(1-beta2**t)        rho_inf = 2/(1-beta2) - 1
        p = p - lr * m/(1-beta1**t)                                              if rho <= 5
        p = p - lr * r * m/(1-beta1**t) * sqrt(1-beta2**t)/(sqrt(v) + eps)       otherwise

    with ``r = sqrt((rho-4)*(rho-2)*rho_inf / ((rho_inf-4)*(rho_inf-2)*rho))``, which rises to 1.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : pair of float or schedule
        Decay rates of the averages, in [0, 1). With beta2 of 2/3 or less, v is never used.
    eps : float or schedule
        Added to the square root, for numerical stability.
    weight_decay : float or schedule
        L2 penalty, added to the gradient, unless it is decoupled.
    decoupled_weight_decay : bool
        Shrink the parameters by ``1 - lr*weight_decay`` instead of adding an L2 penalty, as :class:`AdamW` does.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). As `torch.optim.RAdam`; optax adds eps after the correction of v. The
    authors' code does not move the parameters at all before v is used, unless asked to.
    Source: Liu et al., arXiv:1908.03265.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.RAdam(w, lr=0.5)
    >>> opt.step(np.array([3.0, -4.0]))  # the first steps are those of bias-corrected momentum
    >>> w.round(6)
    array([-0.5,  0. ])
    """

    decoupled: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"radam": ("exp_avg", "exp_avg_sq")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "decoupled_weight_decay": Flag(),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return radam."""
        return "radam"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps, and whether the second moment is used."""
        beta1, beta2 = values["betas"]
        step, correction = values["lr"] / bias_correction(beta1, t), bias_correction(beta2, t)
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * t * (1.0 - correction) / correction
        if rectified := length > 5.0:
            ratio = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
            step *= sqrt(ratio * correction)
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, values["eps"], float(rectified)


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov momentum, whose coefficient follows a warm-up schedule.

    In the step counted t from 1, with ``mu(t) = beta1*(1 - 0.96**(t*momentum_decay)/2)`` and ``M``, the product of all
    from mu(1) to mu(t)::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        d = (1-mu(t))/(1-M) * g + mu(t+1)/(1-M*mu(t+1)) * m
        p = p - lr * d / (sqrt(v/(1-beta2**t)) + eps)

    computed with one division, as in :class:`gdfast.Adam`.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : pair of float or schedule
        Decay rates of the averages, in [0, 1).
    eps : float or schedule
        Added to the square root, for numerical stability.
    weight_decay : float or schedule
        L2 penalty, added to the gradient, unless it is decoupled.
    momentum_decay : float or schedule
        How fast mu rises from beta1/2 to beta1.
    decoupled_weight_decay : bool
        Shrink the parameters by ``1 - lr*weight_decay`` instead of adding an L2 penalty, as :class:`AdamW` does.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v), and M, one number for each group, in double precision. As
    `torch.optim.NAdam`, which keeps M in the default dtype (float32). Keras has momentum_decay = 1 and eps = 1e-7; in
    optax's nadam mu is always beta1.
    Source: Dozat, Incorporating Nesterov momentum into Adam, ICLR workshop 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.NAdam(w, lr=0.5, betas=(0.5, 0.9), momentum_decay=0.0)
    >>> opt.step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.433333, -1.433333])
    """

    decoupled: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"nadam": ("exp_avg", "exp_avg_sq")}
    carried_scalars: ClassVar[Mapping[str, float]] = {"mu_product": 1.0}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "momentum_decay": NON_NEGATIVE,
        "decoupled_weight_decay": Flag(),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 2e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        momentum_decay: Hyperparameter = 4e-3,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return nadam."""
        return "nadam"

    @staticmethod
    def next_carried(values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the product of all mu so far."""
        return {"mu_product": values["mu_product"] * _momentum(values, t)}

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps_t, and the weights of the gradient and of m."""
        beta1, beta2 = values["betas"]
        mu, following, product = _momentum(values, t), _momentum(values, t + 1), values["mu_product"]
        now, ahead = (1.0 - mu) / (1.0 - product), following / (1.0 - product * following)
        root = sqrt(bias_correction(beta2, t))
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, values["lr"] * root, values["eps"] * root, now, ahead


class Grams(Optimizer):
    """Grams: as far as Adam would move, against the sign of this step's gradient.

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        u = m/(1-beta1**t) / (sqrt(v/(1-beta2**t)) + eps)
        p = (1 - lr*weight_decay)*p - lr*sign(g)*|u|              sign(0) = 0

    computed with one division, as :class:`Adam` is.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : pair of float or schedule
        Weights of the old averages, in [0, 1).
    eps : float or schedule
        Added to the root.
    weight_decay : float or schedule
        Decoupled: the parameters shrink by ``1 - lr*weight_decay`` before the step.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). A coordinate whose gradient is zero does not move, except by decay.
    Source: Cao, Li and Song, arXiv:2412.17107.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.Grams(w, lr=0.5)
    >>> opt.step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    decoupled: ClassVar[bool] = True
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"grams": ("exp_avg", "exp_avg_sq")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return grams."""
        return "grams"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps_t."""
        beta1, beta2 = values["betas"]
        root = sqrt(bias_correction(beta2, t))
        step = values["lr"] * root / bias_correction(beta1, t)
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, values["eps"] * root


def _momentum(values: Mapping[str, Any], t: int) -> float:
    """Return NAdam's mu(t)."""
    mu: float = values["betas"][0] * (1.0 - 0.5 * 0.96 ** (t * values["momentum_decay"]))
    return mu
