"""Rules that scale the step of each array by norms of the whole array: LARS, LAMB and NovoGrad."""

from collections.abc import Mapping
from math import inf, sqrt
from typing import Any, ClassVar, Unpack

from gdfast.engine._plan import bias_correction
from gdfast.stepping.common import Common, is_on
from gdfast.stepping.hyperparameters import EPS, FRACTION, NON_NEGATIVE, Flag, Hyperparameter, Pair, Spec
from gdfast.stepping.measuring import Layers, Layerwise


def trust(param_norm: float, step_norm: float, coefficient: float = 1.0, eps: float = 0.0) -> float:
    """Return the trust ratio of an array: 1 if one of the norms is zero."""
    return 1.0 if param_norm == 0.0 or step_norm == 0.0 else coefficient * param_norm / (step_norm + eps)


class LARS(Layerwise):
    """LARS: SGD with momentum, with a learning rate for each array.

    With norms over a whole array::

        g = g + weight_decay*p
        rate = lr * trust_coefficient * |p| / (|g| + eps)        lr, if |p| or |g| is 0
        b = momentum*b + rate*g
        p = p - b                                                nesterov: p - (rate*g + momentum*b)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    momentum : float or schedule
        Momentum factor, at least 0; at 0 no buffer is kept.
    nesterov : bool
        Nesterov momentum.
    weight_decay : float or schedule
        L2 penalty, added to the gradient before the norm is taken.
    trust_coefficient : float or schedule
        Length of a step at a learning rate of 1, as a fraction of the norm of the parameters.
    eps : float or schedule
        Added to the norm of the gradient.
    trust_ratio : bool
        If False, the group's arrays are stepped with `lr`, as is usual for biases and normalization parameters.
    **common
        See :class:`gdfast.Optimizer`. `l1` is multiplied by the rate of the array.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``momentum_buffer``, with momentum. As `optax.lars`, whose `trust_ratio_mask` is a group's `trust_ratio`
    here; the learning rate is inside the buffer, as in the paper and unlike :class:`gdfast.SGD`. The paper has
    ``|g| + weight_decay*|p|`` in the denominator, with the gradient before weight decay.
    Source: You, Gitman, Ginsburg, arXiv:1708.03888.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([3.0, 4.0])
    >>> gdfast.LARS(w, lr=1.0, trust_coefficient=0.1).step(np.array([0.0, 25.0]))
    >>> w
    array([3. , 3.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "sgd": (),
        "momentum": ("momentum_buffer",),
        "nesterov": ("momentum_buffer",),
    }
    measure_traffic: ClassVar[int] = 2
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "nesterov": Flag(),
        "weight_decay": NON_NEGATIVE,
        "trust_coefficient": NON_NEGATIVE,
        "eps": EPS,
        "trust_ratio": Flag(fixed=False),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1.0,
        momentum: Hyperparameter = 0.9,
        nesterov: bool = False,
        weight_decay: Hyperparameter = 0.0,
        trust_coefficient: Hyperparameter = 1e-3,
        eps: Hyperparameter = 0.0,
        trust_ratio: bool = True,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
            "trust_ratio": trust_ratio,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return sgd, momentum or nesterov: their loops make the step."""
        if values["nesterov"]:
            return "nesterov"
        return "momentum" if is_on(values["momentum"]) else "sgd"

    @classmethod
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check that nesterov has momentum."""
        if values["nesterov"] and not is_on(values["momentum"]):
            raise ValueError(f"nesterov must go with momentum; got momentum={values['momentum']!r}")

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, mu."""
        return values["lr"], values["momentum"]

    @classmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Measure gradients and parameters, and set each array's rate."""
        (lr, mu), l1, l2 = cls.scalars(values, t), values["l1"], values["weight_decay"]
        for i, _ in layers:
            layers.set(i, (0.0, mu, 0.0), l2=l2)
        coefficient, eps = values["trust_coefficient"], values["eps"]
        norms = layers.measure() if values["trust_ratio"] else [(i, 0.0, 0.0) for i, _ in layers]
        for i, grad_norm, param_norm in norms:
            rate = lr * trust(param_norm, grad_norm, coefficient, eps)
            if layers.entries[i].rule == "sgd":
                layers.set(i, (rate, mu, 1.0), l2=l2, l1=l1)
            else:  # the rate is inside the buffer, so that of the loop is 1
                layers.set(i, (1.0, mu, rate), l2=l2, l1=l1 * rate)


class LAMB(Layerwise):
    """LAMB: Adam's direction, with a learning rate for each array.

    In the step counted t from 1, with norms over a whole array::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        u = (m/(1-beta1**t)) / (sqrt(v/(1-beta2**t)) + eps) + weight_decay*p
        p = p - lr * |p|/|u| * u                                 p - lr*u, if |p| or |u| is 0

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
        Added to the direction, as ``weight_decay*p``, before its norm is taken.
    trust_ratio : bool
        If False, the group's arrays are stepped with `lr`, as is usual for biases and normalization parameters: Adam
        with decoupled decay.
    **common
        See :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``, ``exp_avg_sq``. As `optax.lamb`. The direction is computed twice, once for its norm and once for
    the step, which costs less than storing it. Some implementations clip the norm of the parameters, or clip the
    gradients by their global norm first (here `clip_norm`). Source: You et al., arXiv:1904.00962.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([3.0, 4.0])
    >>> gdfast.LAMB(w, lr=0.1).step(np.array([0.0, 7.0]))
    >>> w.round(6)
    array([3. , 3.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"lamb": ("exp_avg", "exp_avg_sq")}
    measure_traffic: ClassVar[int] = 4
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "trust_ratio": Flag(fixed=False),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-6,
        weight_decay: Hyperparameter = 0.0,
        trust_ratio: bool = True,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "trust_ratio": trust_ratio}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return lamb."""
        return "lamb"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps_t, weight_decay."""
        beta1, beta2 = values["betas"]
        root = sqrt(bias_correction(beta2, t))
        step = root / bias_correction(beta1, t)
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, values["eps"] * root, values["weight_decay"]

    @classmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Measure directions and parameters, and set each array's rate."""
        lr, l1, common = values["lr"], values["l1"], cls.scalars(values, t)
        for i, _ in layers:
            layers.set(i, (*common, lr), l1=l1)
        if values["trust_ratio"]:
            for i, step_norm, param_norm in layers.measure():
                layers.set(i, (*common, lr * trust(param_norm, step_norm)), l1=l1)


class NovoGrad(Layerwise):
    """NovoGrad: momentum over gradients that are divided by a moving average of their array's norm.

    With one number v for each array::

        v = beta2*v + (1-beta2)*|g|**2                           |g|**2 in the first step
        m = beta1*m + (g/(sqrt(v) + eps) + weight_decay*p)
        p = p - lr*m

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
        Added to the momentum, as ``weight_decay*p``.
    **common
        See :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``; ``exp_avg_sq``, one number for each array, of shape (). As `optax.novograd`, with its defaults;
    the paper has betas of (0.95, 0.98). Source: Ginsburg et al., arXiv:1905.11286.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, 1.0])
    >>> opt = gdfast.NovoGrad(w, lr=0.5, eps=0.0)
    >>> opt.step(np.array([3.0, 4.0]))
    >>> w, opt.state["0"]["exp_avg_sq"]
    (array([0.7, 0.6]), array(25.))
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"novograd": ("exp_avg", "exp_avg_sq")}
    measure_traffic: ClassVar[int] = 1
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
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.25),
        eps: Hyperparameter = 1e-6,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return novograd."""
        return "novograd"

    @staticmethod
    def reduced_shape(state: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of a number for exp_avg_sq."""
        return () if state == "exp_avg_sq" else None

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, beta1, the weights of the old number and of the new square, weight_decay."""
        beta1, beta2 = values["betas"]
        return values["lr"], beta1, *((0.0, 1.0) if t == 1 else (beta2, 1.0 - beta2)), values["weight_decay"]

    @classmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Measure gradients, and set each array's new number and its share of the gradient."""
        lr, beta1, keep, rest, l2 = cls.scalars(values, t)
        for i, _ in layers:
            layers.set(i, (0.0, beta1, 0.0, l2))
        for i, norm, _ in layers.measure(with_params=False):
            state = layers.entries[i].reduced_states[0].array
            square = float(layers.put(i, state, keep * float(state) + rest * (norm * norm)))
            divisor = sqrt(square) + values["eps"]
            share = 1.0 / divisor if divisor else inf
            layers.set(i, (lr, beta1, share, l2), l1=values["l1"])
