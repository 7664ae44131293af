"""Variants of Adam with another second moment: Yogi, AdaBelief, ADOPT."""

from collections.abc import Mapping
from math import inf, sqrt
from typing import Any, ClassVar, Unpack

from gdfast.engine._plan import bias_correction
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common, power
from gdfast.stepping.hyperparameters import EPS, FIRST, FRACTION, NON_NEGATIVE, Flag, Hyperparameter, Pair, Spec


class Yogi(Optimizer):
    """Yogi: Adam whose second moment moves by ``(1-beta2)*g*g`` up or down, so it falls no faster than it rises.

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        v = v - (1-beta2)*sign(v - g*g)*g*g
        p = p - lr * (m/(1-beta1**t)) / (sqrt(v/(1-beta2**t) + eps_root) + eps)

    computed with one division, as in :class:`gdfast.Adam`.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    betas : pair of float or schedule
        Decay rates of the average and of the second moment, in [0, 1).
    eps : float or schedule
        Added to the square root, for numerical stability.
    eps_root : float or schedule
        Added inside the square root.
    initial_accumulator_value : float
        Initial value of m and v.
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
    State: ``exp_avg``, ``exp_avg_sq``. As `optax.yogi`, which also initializes m with this value, and has no weight
    decay and no default learning rate (here the paper's).
    Source: Zaheer et al., Adaptive methods for nonconvex optimization, NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.Yogi(w, lr=0.5, eps=0.0, initial_accumulator_value=0.0).step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"yogi": ("exp_avg", "exp_avg_sq")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "eps_root": EPS,
        "initial_accumulator_value": FIRST,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-3,
        eps_root: Hyperparameter = 0.0,
        initial_accumulator_value: float = 1e-6,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "eps_root": eps_root,
            "initial_accumulator_value": initial_accumulator_value,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return yogi."""
        return "yogi"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float:
        """Return initial_accumulator_value."""
        value: float = values["initial_accumulator_value"]
        return value

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, 1-beta2, step, eps_t, eps_root_t."""
        beta1, beta2 = values["betas"]
        correction = bias_correction(beta2, t)
        step = values["lr"] * sqrt(correction) / bias_correction(beta1, t)
        return beta1, 1.0 - beta1, 1.0 - beta2, step, values["eps"] * sqrt(correction), values["eps_root"] * correction


class AdaBelief(Optimizer):
    """AdaBelief: Adam whose second moment is that of the gradients' deviation from their average.

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        s = beta2*s + (1-beta2)*(g-m)*(g-m) + eps_root
        p = (1 - lr*weight_decay)*p - lr * (m/(1-beta1**t)) / (sqrt(s/(1-beta2**t)) + eps)

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
    eps_root : float or schedule
        Added to s in every step.
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
    State: ``exp_avg``, ``exp_avg_var``. As `optax.adabelief`, which has no weight decay and no default learning rate
    (here those of the authors' code, with their one eps in both places); its ``nesterov`` is not offered, nor is the
    rectification of the authors' code.
    Source: Zhuang et al., arXiv:2010.07468.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.AdaBelief(w, lr=0.1, betas=(0.5, 0.999)).step(np.array([3.0, -4.0]))
    >>> w.round(6)  # the first average is half of the gradient, and so is the deviation
    array([ 0.8, -1.8])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"adabelief": ("exp_avg", "exp_avg_var")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "eps_root": EPS,
        "weight_decay": NON_NEGATIVE,
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-16,
        eps_root: Hyperparameter = 1e-16,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "eps_root": eps_root, "weight_decay": weight_decay}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adabelief."""
        return "adabelief"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps_t, eps_root."""
        beta1, beta2 = values["betas"]
        root = sqrt(bias_correction(beta2, t))
        step = values["lr"] * root / bias_correction(beta1, t)
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, values["eps"] * root, values["eps_root"]


class ADOPT(Optimizer):
    """ADOPT: Adam that divides each gradient by the second moment of the previous ones, and then averages.

    The first step sets ``v = g*g`` and moves nothing. In the step counted t from 1, for t > 1::

        n = clip(g / max(sqrt(v), eps), (t-1)**clip_exp)
        m = beta1*m + (1-beta1)*n
        v = beta2*v + (1-beta2)*g*g
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
        Lower bound of what a gradient is divided by.
    clip_exp : float or schedule
        The divided gradient is clipped to ``(t-1)**clip_exp``.
    use_clipping : bool
        If False, it is not clipped.
    weight_decay : float or schedule
        L2 penalty, added to the gradient, unless it is decoupled.
    decoupled_weight_decay : bool
        Shrink the parameters by ``1 - lr*weight_decay`` instead of adding an L2 penalty, as :class:`gdfast.AdamW` does.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. The l1 penalty is multiplied by lr.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``, ``exp_avg_sq``. As `optax.contrib.adopt` (``clip_value_fn`` is a power here) and the authors'
    code with clipping; optax has no weight decay, and its ``nesterov`` is not offered. The authors' first version had
    no clipping, and initialized exp_avg with the divided gradient of the second step.
    Source: Taniguchi et al., arXiv:2411.02853.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.ADOPT(w, lr=0.5, betas=(0.5, 0.9999))
    >>> for _ in range(2):
    ...     opt.step(np.array([4.0, -8.0]))
    >>> w
    array([ 0.75, -1.75])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"adopt": ("exp_avg", "exp_avg_sq")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "clip_exp": NON_NEGATIVE,
        "use_clipping": Flag(fixed=False),
        "weight_decay": NON_NEGATIVE,
        "decoupled_weight_decay": Flag(),
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.9999),
        eps: Hyperparameter = 1e-6,
        clip_exp: Hyperparameter = 0.25,
        use_clipping: bool = True,
        weight_decay: Hyperparameter = 0.0,
        decoupled_weight_decay: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "clip_exp": clip_exp,
            "use_clipping": use_clipping,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adopt."""
        return "adopt"

    @staticmethod
    def decays(values: Mapping[str, Any], t: int) -> tuple[float, float]:
        """Return the coupled decay, and the decoupled one, lr*weight_decay, which is 0 in the first step."""
        weight_decay = values["weight_decay"]
        if values["decoupled_weight_decay"]:
            return 0.0, values["lr"] * weight_decay if t > 1 else 0.0
        return weight_decay, 0.0

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, beta1, 1-beta1, beta2, 1-beta2, eps, clipping bound; at t = 1 values that only set v."""
        if t == 1:
            return 0.0, 1.0, 0.0, 0.0, 1.0, values["eps"], 0.0
        beta1, beta2 = values["betas"]
        bound = power(t - 1, values["clip_exp"]) if values["use_clipping"] else inf
        return values["lr"], beta1, 1.0 - beta1, beta2, 1.0 - beta2, values["eps"], bound
