"""Dual averaging: parameters computed in each step from sums over all gradients. MADGRAD, FTRL."""

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Unpack

from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import EPS, FIRST, FRACTION, NON_NEGATIVE, Hyperparameter, Range, Spec


class MADGRAD(Optimizer):
    """MADGRAD: dual averaging with momentum; each coordinate's rate falls with the cube root of its squared gradients.

    In the step counted t from 1, with the initial parameters ``x0``::

        c = (lr + eps)*sqrt(t)
        q = q + c*g*g
        s = s + c*g
        z = x0 - s/(cbrt(q) + eps)
        p = momentum*p + (1-momentum)*z

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate; not comparable to that of other rules.
    momentum : float or schedule
        Weight of the previous parameters, in [0, 1).
    weight_decay : float or schedule
        L2 penalty, added to the gradient. The paper recommends smaller values than for other rules.
    eps : float or schedule
        Added to the cube root, and to lr.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. The l1 penalty is averaged like the
        gradients: z is moved towards 0 by ``sum(c*l1)/(cbrt(q) + eps)``. Exact zeros of z become exact zeros of p only
        without momentum.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``grad_sum_sq``, ``s``, and ``x0``, the parameters when the optimizer was made. As `optax.contrib.madgrad`
    and the authors' code, which keeps no x0 without momentum. The relative error of the cube root is at most 2 machine
    epsilons, and it is the same on every machine.
    Source: Defazio and Jelassi, arXiv:2101.11075.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.MADGRAD(w, lr=0.125, momentum=0.5, eps=0.0).step(np.array([1.0, -8.0]))
    >>> w
    array([ 0.875, -1.75 ])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"madgrad": ("grad_sum_sq", "s", "x0")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "momentum": FRACTION,
        "weight_decay": NON_NEGATIVE,
        "eps": EPS,
    }
    carried_scalars: ClassVar[Mapping[str, float]] = {"penalty": 0.0}

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        momentum: Hyperparameter = 0.9,
        weight_decay: Hyperparameter = 0.0,
        eps: Hyperparameter = 1e-6,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eps": eps}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return madgrad."""
        return "madgrad"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float | None:
        """Return None for x0, a copy of the parameters."""
        return None if state == "x0" else 0.0

    @staticmethod
    def next_carried(values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the weighted sum of the l1 penalties so far."""
        return {"penalty": values["penalty"] + _weight(values, t) * values["l1"]}

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the gradient's weight, eps, momentum, 1-momentum, penalty."""
        momentum = values["momentum"]
        return _weight(values, t), values["eps"], momentum, 1.0 - momentum, values["penalty"]


def _weight(values: Mapping[str, Any], t: int) -> float:
    weight: float = (values["lr"] + values["eps"]) * sqrt(t)
    return weight


class FTRL(Optimizer):
    """FTRL-Proximal: follow the regularised leader, with Adagrad's learning rates and exact zeros through l1.

    With ``rate = lr/(beta + sqrt(n))`` of this step and ``rate_before`` of the previous one (in the first step both
    have the same lr, so that beta cancels in the difference)::

        n = n + g*g
        z = z + g - (1/rate - 1/rate_before)*p
        p = (clip(z, l1) - z) / (1/rate + l2)

    p minimises ``z*p + l1*|p| + (1/rate + l2)*p*p/2``: the sum of the linearised losses of all steps, with a quadratic
    penalty around each of the previous parameters.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate, above 0; alpha of the paper.
    beta : float or schedule
        Added to the root. The paper advises 1.
    l2 : float or schedule
        The paper's lambda_2, a penalty on the sum of all losses.
    initial_accumulator_value : float
        Initial value of n.
    weight_decay : float or schedule
        L2 penalty, added to the gradient of each step.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. Here l1 is the paper's lambda_1, a
        penalty on the sum of all losses, not on the loss of each step as in other rules.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``sum`` (n of the paper) and ``z``. p is computed from z, which starts from 0: parameters should start from 0
    too. Other initial values count only in proportion to what is added to n. A coordinate with n, beta and l2 all 0 is
    left unchanged. Defaults and formula are those of `keras.optimizers.Ftrl` with ``learning_rate_power=-0.5``; but
    keras doubles l2, calls half of weight_decay shrinkage and leaves it out of n, and computes rate_before with the lr
    of this step, which moves p towards 0 while lr falls. Neither PyTorch nor optax has it.
    Source: McMahan et al., Ad click prediction: a view from the trenches, KDD 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.zeros(3)
    >>> gdfast.FTRL(w, lr=0.5, l1=1.0, initial_accumulator_value=0.0).step(np.array([4.0, -2.0, 0.5]))
    >>> w
    array([-0.375,  0.25 ,  0.   ])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"ftrl": ("sum", "z")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": Range(positive=True, nonzero_in_dtype=True),
        "beta": NON_NEGATIVE,
        "l2": NON_NEGATIVE,
        "initial_accumulator_value": FIRST,
        "weight_decay": NON_NEGATIVE,
    }
    carried_scalars: ClassVar[Mapping[str, float]] = {"lr_now": 0.0, "lr_before": 0.0}

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        beta: Hyperparameter = 0.0,
        l2: Hyperparameter = 0.0,
        initial_accumulator_value: float = 0.1,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "beta": beta,
            "l2": l2,
            "initial_accumulator_value": initial_accumulator_value,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return ftrl."""
        return "ftrl"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float:
        """Return initial_accumulator_value for the sum."""
        value: float = values["initial_accumulator_value"]
        return value if state == "sum" else 0.0

    @staticmethod
    def next_carried(values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the learning rates of this step and of the previous one; in the first step they are equal."""
        made = t > 1 and values["lr_now"] > 0  # a step count that was set does not mean that steps were made
        return {"lr_now": values["lr"], "lr_before": values["lr_now"] if made else values["lr"]}

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return 1/lr of this step and of the previous one, the change of beta/lr, and what is added to sqrt(n)/lr."""
        slope, slope_before, beta = 1.0 / values["lr"], 1.0 / values["lr_before"], values["beta"]
        return slope, slope_before, beta * (slope - slope_before), beta * slope + values["l2"]
