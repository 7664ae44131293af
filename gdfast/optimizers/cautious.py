"""AdamW that moves only where its momentum and the gradient agree."""

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Unpack

from gdfast.engine._plan import bias_correction
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import EPS, FRACTION, NON_NEGATIVE, Flag, Hyperparameter, Pair, Spec
from gdfast.stepping.measuring import Layers, Layerwise

# What the share of the elements that agree counts as at least.
LEAST = 1e-3


class CautiousAdamW(Layerwise):
    """Cautious AdamW: AdamW that moves only the elements whose momentum has the sign of their gradient.

    In the step counted t from 1, with the mean over a whole array::

        m = beta1*m + (1-beta1)*g
        v = beta2*v + (1-beta2)*g*g
        mask = 1 where m and g have the same sign, else 0
        mask = mask / max(mean(mask), 1e-3)                       not without rescale
        p = (1 - lr*weight_decay)*p - lr * mask * m/(1-beta1**t) / (sqrt(v/(1-beta2**t)) + eps)

    computed with one division, as :class:`gdfast.Adam` does.

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
        Decoupled: the parameters shrink by ``1 - lr*weight_decay`` before the step, masked or not.
    rescale : bool
        Divide the mask by its mean over the array, or by 1e-3 if that is more. Without it nothing is measured before
        the step, which then reads each array once.
    **common
        See :class:`gdfast.Optimizer`. `l1` counts with the rescaled rate, masked or not.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). The defaults are those of :class:`gdfast.AdamW`; the authors' code has
    ``weight_decay=0`` and ``eps=1e-6``, added before v is corrected. It masks by the product of m and g; here the signs
    are compared, because the product of small numbers is zero in float32.
    Source: Liang, Chen, Liu and Liu, Cautious optimizers, arXiv:2411.16085.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([0.0, 0.0])
    >>> opt = gdfast.CautiousAdamW(w, lr=0.5)
    >>> opt.step(np.array([3.0, -4.0]))
    >>> w.round(6)
    array([-0.5,  0.5])
    >>> opt.step(np.array([-0.1, 0.0]))  # the momentum still points the other way
    >>> w.round(4)
    array([-0.4975,  0.4975])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"cautious_adamw": ("exp_avg", "exp_avg_sq")}
    measure_traffic: ClassVar[int] = 2
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "rescale": Flag(fixed=False),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 1e-2,
        rescale: bool = True,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "rescale": rescale}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return cautious_adamw."""
        return "cautious_adamw"

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta1, 1-beta1, beta2, 1-beta2, step, eps_t."""
        beta1, beta2 = values["betas"]
        root = sqrt(bias_correction(beta2, t))
        step = values["lr"] * root / bias_correction(beta1, t)
        return beta1, 1.0 - beta1, beta2, 1.0 - beta2, step, values["eps"] * root

    @classmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Count the elements of each array that agree, and set its step."""
        *betas, step, eps = cls.scalars(values, t)
        decay, l1 = values["lr"] * values["weight_decay"], values["l1"]
        for i, _ in layers:
            layers.set(i, (*betas, step, eps), decay=decay, l1=l1)
        if values["rescale"]:
            for i, norm, _ in layers.measure(with_params=False):
                mean = round(norm * norm) / max(1, layers.entries[i].param.array.size)  # a square is 1 or 0
                layers.set(i, (*betas, step / max(mean, LEAST), eps), decay=decay, l1=l1)
