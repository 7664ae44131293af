"""Variants of Adam whose direction mixes several terms: QHAdam, AdEMAMix, Adan."""

from collections.abc import Mapping
from math import log, sqrt
from typing import Any, ClassVar, Unpack

from gdfast.engine._plan import bias_correction
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import (
    EPS,
    FRACTION,
    NON_NEGATIVE,
    UNIT,
    Count,
    Flag,
    Hyperparameter,
    Pair,
    Spec,
    Triple,
)


class QHAdam(Optimizer):
    """QHAdam: Adam whose averages are mixed with the gradient itself (quasi-hyperbolic).

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        direction = nu1 * m/(1-beta1**t) + (1-nu1)*g
        p = p - lr * direction / (sqrt(nu2 * v/(1-beta2**t) + (1-nu2)*g*g) + eps)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : pair of float or schedule
        Decay rates of the averages, in [0, 1).
    nus : pair of float or schedule
        Weights of the averages relative to the gradient and its square, in [0, 1]. (1, 1) is Adam, (beta1, 1) nearly
        NAdam; the paper recommends nu1 = 0.7.
    eps : float or schedule
        Added to the square root, for numerical stability.
    weight_decay : float or schedule
        L2 penalty, added to the gradient, unless it is decoupled.
    decoupled_weight_decay : bool
        Shrink the parameters by ``1 - lr*weight_decay`` instead of adding an L2 penalty, as :class:`gdfast.AdamW` does.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``, ``exp_avg_sq``. As `QHAdam` of the authors' qhoptim, defaults too, but that keeps the averages
    with the bias corrections in them. Neither PyTorch nor optax has it.
    Source: Ma and Yarats, arXiv:1810.06801.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.QHAdam(w, lr=0.5, nus=(0.7, 1.0)).step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"qhadam": ("exp_avg", "exp_avg_sq")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "nus": Pair(UNIT),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "decoupled_weight_decay": Flag(),
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        nus: tuple[Hyperparameter, Hyperparameter] = (1.0, 1.0),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "nus": nus,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return qhadam."""
        return "qhadam"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, beta1, 1-beta1, beta2, 1-beta2, weights of m and g, weights of v and g*g, eps."""
        (beta1, beta2), (nu1, nu2) = values["betas"], values["nus"]
        old1, old2 = nu1 / bias_correction(beta1, t), nu2 / bias_correction(beta2, t)
        return (
            *(values["lr"], beta1, 1.0 - beta1, beta2, 1.0 - beta2),
            *(old1, 1.0 - nu1, old2, 1.0 - nu2, values["eps"]),
        )


class AdEMAMix(Optimizer):
    """AdEMAMix: AdamW whose direction adds a second, much slower average of the gradients.

    In the step counted t from 1::

        m1 = beta1*m1 + (1-beta1)*g
        m2 = beta3*m2 + (1-beta3)*g
        v = beta2*v + (1-beta2)*g*g
        direction = m1/(1-beta1**t) + alpha*m2
        p = (1 - lr*weight_decay)*p - lr * direction / (sqrt(v/(1-beta2**t) + eps_root) + eps)

    computed with one division, as in :class:`gdfast.Adam`.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : three floats or schedules
        Decay rates of the averages m1, v and m2, in [0, 1).
    alpha : float or schedule
        Weight of the slow average.
    eps : float or schedule
        Added to the square root, for numerical stability.
    eps_root : float or schedule
        Added inside the square root.
    weight_decay : float or schedule
        Decoupled, multiplied by the learning rate.
    alpha_warmup, beta3_warmup : int
        While ``t < alpha_warmup``, alpha is multiplied by ``t/alpha_warmup``. While ``t < beta3_warmup``, beta3 lies
        between beta1 and its value, such that the half-life of the average grows linearly. The paper sets both to the
        number of training steps.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg_fast``, ``exp_avg_slow``, ``exp_avg_sq``. As `optax.contrib.ademamix`, where warm-ups are schedules
    that the user gives (as they may be here); the authors' code has them, and the default ``alpha=2``.
    Source: Pagliardini, Ablin, Grangier, arXiv:2409.03137.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.AdEMAMix(w, lr=0.25, betas=(0.9, 0.999, 0.75), alpha=4.0).step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"ademamix": ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Triple(FRACTION),
        "alpha": NON_NEGATIVE,
        "eps": EPS,
        "eps_root": EPS,
        "weight_decay": NON_NEGATIVE,
        "alpha_warmup": Count(),
        "beta3_warmup": Count(),
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter, Hyperparameter] = (0.9, 0.999, 0.9999),
        alpha: Hyperparameter = 5.0,
        eps: Hyperparameter = 1e-8,
        eps_root: Hyperparameter = 0.0,
        weight_decay: Hyperparameter = 0.0,
        alpha_warmup: int = 0,
        beta3_warmup: int = 0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "alpha": alpha,
            "eps": eps,
            "eps_root": eps_root,
            "weight_decay": weight_decay,
            "alpha_warmup": alpha_warmup,
            "beta3_warmup": beta3_warmup,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return ademamix."""
        return "ademamix"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, beta3, 1-beta3, share, step, eps_t, eps_root_t."""
        (beta1, beta2, beta3), alpha = values["betas"], values["alpha"]
        if t < values["alpha_warmup"]:
            alpha *= t / values["alpha_warmup"]
        if t < values["beta3_warmup"]:
            beta3 = _between(beta1, beta3, t / values["beta3_warmup"])
        first, second = bias_correction(beta1, t), bias_correction(beta2, t)
        return (
            *(beta1, 1.0 - beta1, beta2, 1.0 - beta2, beta3, 1.0 - beta3),
            *(alpha * first, values["lr"] * sqrt(second) / first, values["eps"] * sqrt(second)),
            values["eps_root"] * second,
        )


def _between(start: float, end: float, progress: float) -> float:
    """Return the decay rate whose half-life is this fraction of the way from that of `start` to that of `end`."""
    half_life = (1.0 - progress) * _half_life(start) + progress * _half_life(end)
    return 0.5 ** (1.0 / half_life) if half_life > 0.0 else 0.0


def _half_life(beta: float) -> float:
    return log(0.5) / log(beta) if beta > 0.0 else 0.0


class Adan(Optimizer):
    """Adan: Adam with an average of the gradient's differences in the direction (adaptive Nesterov momentum).

    In the step counted t from 1, with ``g_before``, the previous gradient (in the first step g itself)::

        d = g - g_before
        m = beta1*m + (1-beta1)*g
        u = beta2*u + (1-beta2)*d
        v = beta3*v + (1-beta3)*(g + beta2*d)**2
        direction = m/(1-beta1**t) + beta2 * u/(1-beta2**t)
        p = (1 - lr*weight_decay)*p - lr * direction / (sqrt(v/(1-beta3**t) + eps_root) + eps)

    computed with one division, as in :class:`gdfast.Adam`.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : three floats or schedules
        Decay rates of the averages m, u and v, in [0, 1). (The paper's betas are 1 minus these.)
    eps : float or schedule
        Added to the square root, for numerical stability.
    eps_root : float or schedule
        Added inside the square root.
    weight_decay : float or schedule
        Decoupled, multiplied by the learning rate.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``, ``exp_avg_diff``, ``exp_avg_sq``, ``previous_grad``. As the authors' `Adan` with
    ``no_prox=True``, and the eps_root of `optax.adan`, which is 0 in the authors' code. The authors' default divides by
    ``1 + lr*weight_decay`` after the step instead of shrinking before it. optax multiplies d and u by ``1 - beta2``,
    where the authors' code and this class have beta2 (which is 1 minus the paper's beta2).
    Source: Xie et al., arXiv:2208.06677.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.Adan(w, lr=0.5).step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "adan": ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad")
    }
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Triple(FRACTION),
        "eps": EPS,
        "eps_root": EPS,
        "weight_decay": NON_NEGATIVE,
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter, Hyperparameter] = (0.98, 0.92, 0.99),
        eps: Hyperparameter = 1e-8,
        eps_root: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "eps_root": eps_root, "weight_decay": weight_decay}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adan."""
        return "adan"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1 to 1-beta3, share, step, eps_t, eps_root_t, and whether this is the first step."""
        beta1, beta2, beta3 = values["betas"]
        first, second, third = (bias_correction(beta, t) for beta in values["betas"])
        return (
            *(beta1, 1.0 - beta1, beta2, 1.0 - beta2, beta3, 1.0 - beta3),
            *(beta2 * first / second, values["lr"] * sqrt(third) / first, values["eps"] * sqrt(third)),
            *(values["eps_root"] * third, float(t == 1)),
        )
