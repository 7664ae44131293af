"""Rules with a learning rate for each coordinate: Adagrad, RMSprop, Adadelta, Rprop."""

from collections.abc import Mapping
from typing import Any, ClassVar, Unpack

from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common, is_on
from gdfast.stepping.hyperparameters import (
    EPS,
    FIRST,
    NON_NEGATIVE,
    POSITIVE,
    UNIT,
    Flag,
    Hyperparameter,
    Pair,
    Spec,
    at_step,
    is_scheduled,
)
from gdfast.stepping.rule import same_in_all_steps


class Adagrad(Optimizer):
    """Adagrad: each coordinate's rate falls with the sum of its squared gradients.

    In the step counted t from 1::

        s = s + g*g
        p = p - clr/(sqrt(s) + eps) * g        clr = lr/(1 + (t-1)*lr_decay)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    lr_decay : float or schedule
        How fast the learning rate falls with the step count.
    weight_decay : float or schedule
        L2 penalty, added to the gradient.
    initial_accumulator_value : float
        Initial value of s.
    eps : float or schedule
        Added to the square root, for numerical stability.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``sum``. As `torch.optim.Adagrad`; optax and keras start s from 0.1.
    Source: Duchi, Hazan, Singer, Adaptive subgradient methods, JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.Adagrad(w, lr=0.5).step(np.array([3.0, 4.0]))
    >>> w
    array([ 0.5, -2.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"adagrad": ("sum",)}
    short_states: ClassVar[Mapping[str, bool]] = {"sum": True}
    lazy_rules: ClassVar[frozenset[str]] = frozenset(rules)
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "lr_decay": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "initial_accumulator_value": FIRST,
        "eps": EPS,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        lr_decay: Hyperparameter = 0.0,
        weight_decay: Hyperparameter = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: Hyperparameter = 1e-10,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adagrad."""
        return "adagrad"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float:
        """Return initial_accumulator_value."""
        value: float = values["initial_accumulator_value"]
        return value

    @staticmethod
    @same_in_all_steps("lr_decay")
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return clr, eps."""
        return values["lr"] / (1.0 + (t - 1) * values["lr_decay"]), values["eps"]


class RMSprop(Optimizer):
    """RMSprop: each coordinate's rate is divided by the square root of an average of its squared gradients.

    ::

        s = alpha*s + (1-alpha)*g*g
        p = p - lr/(sqrt(s) + eps) * g

    centered: ``a = a + (1-alpha)*(g - a)``, and ``s - a*a`` instead of s in the square root.
    With momentum mu: ``b = mu*b + g/(sqrt(s) + eps)`` and ``p = p - lr*b``.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate.
    alpha : float or schedule
        Decay rate of the average, in [0, 1].
    eps : float or schedule
        Added to the square root, for numerical stability.
    weight_decay : float or schedule
        L2 penalty, added to the gradient.
    momentum : float or schedule
        mu, at least 0. At 0 no buffer is kept.
    centered : bool
        Divide by the standard deviation instead of the root mean square.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``square_avg``; ``grad_avg`` if centered; ``momentum_buffer`` with momentum. As `torch.optim.RMSprop`; keras
    and optax put eps inside the root.
    Source: Tieleman and Hinton, lecture 6.5 of Neural networks for machine learning, 2012; centered: Graves,
    arXiv:1308.0850.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.RMSprop(w, lr=0.1, alpha=0.75).step(np.array([3.0, 4.0]))
    >>> w.round(6)
    array([ 0.8, -2.2])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "rmsprop": ("square_avg",),
        "rmsprop_centered": ("square_avg", "grad_avg"),
        "rmsprop_momentum": ("square_avg", "momentum_buffer"),
        "rmsprop_centered_momentum": ("square_avg", "grad_avg", "momentum_buffer"),
    }
    lazy_rules: ClassVar[frozenset[str]] = frozenset(rules)
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "alpha": UNIT,
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "centered": Flag(),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        alpha: Hyperparameter = 0.99,
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        momentum: Hyperparameter = 0.0,
        centered: bool = False,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return one of the four rules."""
        return (
            "rmsprop" + ("_centered" if values["centered"] else "") + ("_momentum" if is_on(values["momentum"]) else "")
        )

    @staticmethod
    @same_in_all_steps()
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, alpha, 1-alpha, eps, mu (which the rules without momentum do not read)."""
        alpha = values["alpha"]
        return values["lr"], alpha, 1.0 - alpha, values["eps"], values["momentum"]


class Adadelta(Optimizer):
    """Adadelta: each coordinate's rate is the RMS of its recent updates divided by the RMS of its recent gradients.

    ::

        s = rho*s + (1-rho)*g*g
        d = sqrt((a + eps)/(s + eps)) * g
        a = rho*a + (1-rho)*d*d
        p = p - lr*d

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Multiplies the update d, whose size the rule finds itself.
    rho : float or schedule
        Decay rate of the averages, in [0, 1].
    eps : float or schedule
        Added to both averages; it determines the size of the first updates.
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
    State: ``square_avg`` (s), ``acc_delta`` (a). As `torch.optim.Adadelta` and optax's rule, with one square root
    instead of two. Keras and the paper have rho = 0.95, keras also eps = 1e-7 and a learning rate of 1e-3.
    Source: Zeiler, arXiv:1212.5701.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> gdfast.Adadelta(w, lr=0.5, rho=0.75, eps=1.0).step(np.array([2.0, 4.0]))
    >>> w.round(4)
    array([ 0.2929, -2.8944])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"adadelta": ("square_avg", "acc_delta")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "rho": UNIT,
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1.0,
        rho: Hyperparameter = 0.9,
        eps: Hyperparameter = 1e-6,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay}, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adadelta."""
        return "adadelta"

    @staticmethod
    @same_in_all_steps()
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return lr, rho, 1-rho, eps."""
        rho = values["rho"]
        return values["lr"], rho, 1.0 - rho, values["eps"]


class Rprop(Optimizer):
    """Rprop: step sizes adapted to the signs of the gradients, for full-batch gradients.

    The step size of a coordinate grows while its gradient keeps its sign; when the sign changes, the step size shrinks,
    and the coordinate is not updated in that step::

        s = clip(s * (plus if g*g_before > 0 else minus if g*g_before < 0 else 1), smallest, largest)
        g = 0 if g*g_before < 0 else g
        p = p - s*sign(g)

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Initial value of s; of a schedule, its value at step 0. Later changes have no effect.
    etas : pair of float or schedule
        minus, in (0, 1), and plus, above 1.
    step_sizes : pair of float or schedule
        Minimum and maximum of s.
    weight_decay : float or schedule
        L2 penalty, added to the gradient.
    **common
        ``maximize, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. ``l1`` must be 0: the size of a step does
        not depend on that of the gradient, so there is no learning rate to multiply the penalty by.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``prev`` (the previous g), ``step_size`` (s). As `torch.optim.Rprop`, which has no weight_decay, and
    optax's rule, which does not clip s where the product is zero. The previous update is not reverted when a sign
    changes: the second source calls this form iRprop-.
    Source: Riedmiller and Braun, A direct adaptive method for faster backpropagation learning, 1993; Igel and Huesken,
    Improving the Rprop learning algorithm, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.Rprop(w, lr=0.5, etas=(0.5, 2.0))
    >>> for _ in range(3):
    ...     opt.step(w.copy())  # the gradient of w @ w / 2
    >>> w
    array([-0.5,  1.5])
    >>> opt.state["0"]["step_size"]
    array([0.5, 2. ])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"rprop": ("prev", "step_size")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "etas": Pair(POSITIVE),
        "step_sizes": Pair(NON_NEGATIVE),
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        etas: tuple[Hyperparameter, Hyperparameter] = (0.5, 1.2),
        step_sizes: tuple[Hyperparameter, Hyperparameter] = (1e-6, 50.0),
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "weight_decay": weight_decay}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return rprop."""
        return "rprop"

    @classmethod
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check the order of the pairs and that l1 is 0; what is scheduled is checked at each step."""
        etas, sizes, l1 = values["etas"], values["step_sizes"], values["l1"]
        if not is_scheduled(etas) and not etas[0] < 1.0 < etas[1]:
            raise ValueError(f"etas must be one number below 1 and one above; got {etas!r}")
        if not is_scheduled(sizes) and not sizes[0] <= sizes[1]:
            raise ValueError(f"step_sizes must be the smallest and the largest; got {sizes!r}")
        if not is_scheduled(l1) and l1 != 0:
            raise ValueError(f"l1 must be 0 for Rprop, which has no learning rate to multiply it by; got {l1!r}")

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float:
        """Return lr for step_size, 0 for prev."""
        first: float = at_step(NON_NEGATIVE, "lr", values["lr"], 0, is_float32=False) if state == "step_size" else 0.0
        return first

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return minus, plus, and the smallest and the largest step."""
        Rprop.check_together(values)
        return *values["etas"], *values["step_sizes"]
