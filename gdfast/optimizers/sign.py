"""Steps of the same size in every coordinate, from the sign of a gradient or of an average: SignSGD, Signum, Lion."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import FRACTION, NON_NEGATIVE, Hyperparameter, Pair, Spec
from gdfast.stepping.rule import same_in_all_steps


class SignSGD(Optimizer):
    """SignSGD: every coordinate moves by the learning rate, against the sign of its gradient.

    ::

        p = p - lr*sign(g)        sign(0) = 0

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate: the size of a step.
    weight_decay : float or schedule
        Decoupled: the parameters shrink by ``1 - lr*weight_decay`` before the step. (An L2 penalty in the gradient
        would have an effect only where it changes the sign.)
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    No state. As `optax.sign_sgd`, which has no weight decay and no default learning rate.
    Source: Bernstein et al., arXiv:1802.04434.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0, 0.5])
    >>> gdfast.SignSGD(w, lr=0.25).step(np.array([3.0, -0.01, 0.0]))
    >>> w
    array([ 0.75, -1.75,  0.5 ])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"sign_sgd": ()}
    own_specs: ClassVar[Mapping[str, Spec]] = {"lr": NON_NEGATIVE, "weight_decay": NON_NEGATIVE}
    decoupled: ClassVar[bool] = True

    def __init__(
        self, params: Any, lr: Hyperparameter = 1e-3, weight_decay: Hyperparameter = 0.0, **common: Unpack[Common]
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay}, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return sign_sgd."""
        return "sign_sgd"

    @staticmethod
    @same_in_all_steps()
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr."""
        return (values["lr"],)


class Signum(Optimizer):
    """Signum: SignSGD with momentum; the sign of an average of the gradients.

    ::

        m = beta*m + (1-beta)*g
        p = p - lr*sign(m)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate: the size of a step.
    beta : float or schedule
        Decay rate of the average, in [0, 1).
    weight_decay : float or schedule
        Decoupled, as in :class:`SignSGD`.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``. As `optax.signum`, which has no weight decay and no default learning rate.
    Source: Bernstein et al., arXiv:1802.04434.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.Signum(w, lr=0.25)
    >>> for grad in ([3.0, -5.0], [-1.0, 9.0]):
    ...     opt.step(np.array(grad))
    >>> w
    array([ 0.5, -2. ])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"signum": ("exp_avg",)}
    own_specs: ClassVar[Mapping[str, Spec]] = {"lr": NON_NEGATIVE, "beta": FRACTION, "weight_decay": NON_NEGATIVE}
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        beta: Hyperparameter = 0.9,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "weight_decay": weight_decay}, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return signum."""
        return "signum"

    @staticmethod
    @same_in_all_steps()
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, beta, 1-beta."""
        return values["lr"], values["beta"], 1.0 - values["beta"]


class Lion(Optimizer):
    """Lion: the sign of a mix of the gradient and an average, which is updated with another decay rate.

    ::

        c = beta1*m + (1-beta1)*g
        m = beta2*m + (1-beta2)*g
        p = (1 - lr*weight_decay)*p - lr*sign(c)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate: the size of a step. The paper recommends 3 to 10 times less than for AdamW.
    betas : pair of float or schedule
        Weights of the average in c and in the new average, in [0, 1).
    weight_decay : float or schedule
        Decoupled, multiplied by the learning rate; the paper recommends 3 to 10 times more than for AdamW.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``exp_avg``. As `optax.lion` in its "hard" mode; the authors' code has the default ``weight_decay=0``, keras
    ``lr=1e-3`` (the default here is the authors').
    Source: Chen et al., Symbolic discovery of optimization algorithms, arXiv:2302.06675.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([8.0, -8.0])
    >>> gdfast.Lion(w, lr=0.5, weight_decay=0.25).step(np.array([0.0, 3.0]))
    >>> w
    array([ 7. , -7.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"lion": ("exp_avg",)}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(FRACTION),
        "weight_decay": NON_NEGATIVE,
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-4,
        betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.99),
        weight_decay: Hyperparameter = 1e-3,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay}, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return lion."""
        return "lion"

    @staticmethod
    @same_in_all_steps()
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, beta1, 1-beta1, beta2, 1-beta2."""
        beta1, beta2 = values["betas"]
        return values["lr"], beta1, 1.0 - beta1, beta2, 1.0 - beta2
