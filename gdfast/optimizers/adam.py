"""Adam and AdamW."""

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Unpack

from gdfast.engine._plan import bias_correction
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import EPS, FRACTION, NON_NEGATIVE, Flag, Hyperparameter, Pair, Spec
from gdfast.stepping.rule import computed_natively


class Adam(Optimizer):
    """Adam: an average of the gradients, divided by the square root of an average of their squares.

    In the step counted t from 1::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        p = p - lr * (m/(1-beta1**t)) / (sqrt(v/(1-beta2**t)) + eps)

    computed with one division: ``step/(sqrt(v) + eps_t) * m`` with ``step = lr*sqrt(1-beta2**t)/(1-beta1**t)`` and
    ``eps_t = eps*sqrt(1-beta2**t)``. With eps_hat, eps_t is eps itself. With eps_root, the root is
    ``sqrt(v/(1-beta2**t) + eps_root)``, or with eps_hat ``sqrt(v + eps_root)`` before the correction.

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
        L2 penalty, added to the gradient. For decoupled decay see :class:`AdamW`.
    amsgrad : bool
        Divide by the square root of the largest v so far.
    eps_root : float or schedule
        Added inside the root, as in optax.
    eps_hat : bool
        Add eps and eps_root before the bias correction of v: the "epsilon hat" form of the paper's section 2, as in
        keras, TensorFlow, scikit-learn and thinc.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``, ``exp_avg_sq``, and ``max_exp_avg_sq`` with amsgrad. As `torch.optim.Adam`, which has
    neither eps_root nor eps_hat.
    Source: Kingma and Ba, arXiv:1412.6980; amsgrad: Reddi, Kale, Kumar, arXiv:1904.09237.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> layers = {"W": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}
    >>> opt = gdfast.Adam(layers, lr=0.25)
    >>> opt.step({"W": np.full((2, 2), 5, np.float32), "b": np.full(2, -5, np.float32)})
    >>> layers["W"]
    array([[0.75, 0.75],
           [0.75, 0.75]], dtype=float32)
    >>> opt.state["b"]["exp_avg"]
    array([-0.5, -0.5], dtype=float32)
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "adam": ("exp_avg", "exp_avg_sq"),
        "amsgrad": ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    }
    lazy_rules: ClassVar[frozenset[str]] = frozenset(rules)
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "amsgrad": Flag(),
        "eps_root": EPS,
        "eps_hat": Flag(fixed=False),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        amsgrad: bool = False,
        eps_root: Hyperparameter = 0.0,
        eps_hat: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "eps_root": eps_root,
            "eps_hat": eps_hat,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adam or amsgrad."""
        return "amsgrad" if values["amsgrad"] else "adam"

    @staticmethod
    @computed_natively
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps_t, eps_root_t."""
        beta1, beta2 = values["betas"]
        eps, eps_root, correction = values["eps"], values["eps_root"], bias_correction(beta2, t)
        root = sqrt(correction)
        step = values["lr"] * root / bias_correction(beta1, t)
        if not values["eps_hat"]:
            eps, eps_root = eps * root, eps_root * correction
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, eps, eps_root


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameters shrink by ``1 - lr*weight_decay`` before the step.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad, eps_root, eps_hat, **common
        As in :class:`Adam`.
    weight_decay : float or schedule
        Decoupled decay, multiplied by the learning rate; it is not part of the averages.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State as in :class:`Adam`. As `torch.optim.AdamW`; optax's default weight_decay is 1e-4.
    Source: Loshchilov and Hutter, arXiv:1711.05101.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([8.0])
    >>> gdfast.AdamW(w, lr=0.5, weight_decay=0.25).step(np.array([0.0]))
    >>> w
    array([7.])
    """

    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 1e-2,
        amsgrad: bool = False,
        eps_root: Hyperparameter = 0.0,
        eps_hat: bool = False,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, eps_root, eps_hat, **common)
