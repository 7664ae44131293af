"""Averages in the place of learning-rate schedules: ScheduleFreeSGD, ScheduleFreeAdamW."""

from abc import abstractmethod
from collections.abc import Mapping
from math import inf, sqrt
from typing import Any, ClassVar, Unpack

import numpy as np

from gdfast.engine._plan import bias_correction
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common, power
from gdfast.stepping.hyperparameters import EPS, NON_NEGATIVE, Count, Hyperparameter, Pair, Range, Spec

_SETTLED = Range(0.0, 1.0, positive=True, fixed=True)  # x is found from y and z with it
_CHUNK = 1 << 16  # elements that are moved at a time, so that no copy of a large array is made


class _ScheduleFree(Optimizer):
    """What the two have in common: the parameters hold y in training and x in evaluation."""

    own_specs: ClassVar[Mapping[str, Spec]] = {}
    carried_scalars: ClassVar[Mapping[str, float]] = {"weight_sum": 0.0, "lr_max": 0.0, "share": 0.0, "evaluating": 0.0}

    @staticmethod
    @abstractmethod
    def beta(values: Mapping[str, Any]) -> float:
        """Return the weight of x in y."""

    def eval(self) -> None:
        """Put x, the average that is to be evaluated, into the parameters; nothing if it is there.

        Raises
        ------
        RuntimeError
            If a step in pieces is open, or in `averaged`.
        """
        self._turn(1.0)

    def train(self) -> None:
        """Put y, where gradients are to be taken, into the parameters; nothing if it is there.

        Raises
        ------
        RuntimeError
            If a step in pieces is open, or in `averaged`.
        """
        self._turn(0.0)

    @staticmethod
    def next_carried(values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the sum of the weights of all z, the largest learning rate, and the share of this step's z in x."""
        if values["evaluating"]:
            raise RuntimeError("the parameters hold the average that is to be evaluated: first call train()")
        lr_max = max(_warm(values, t), values["lr_max"])
        weight = power(t, values["r"]) * power(lr_max, values["weight_lr_power"])
        weight_sum = values["weight_sum"] + weight
        if not weight_sum < inf:
            raise ValueError(
                "r, weight_lr_power and lr must give z weights that fit into a float: t**r * lr**weight_lr_power; got "
                f"r={values['r']!r}, weight_lr_power={values['weight_lr_power']!r} and lr={lr_max!r}, with t={t} "
                f"a sum of {weight_sum!r}"
            )
        share = weight / weight_sum if weight_sum > 0.0 else 0.0
        return {"weight_sum": weight_sum, "lr_max": lr_max, "share": share, "evaluating": 0.0}

    def _turn(self, evaluating: float) -> None:
        with self._stepping:
            self._check_not_blocked()
            entries, carried = self._check_unchanged(), list(self._carried)
            for i, group in enumerate(self._layout.groups):
                if carried[i]["evaluating"] != evaluating:
                    beta = self.beta(group.values_now)
                    for entry in entries:
                        if entry.group == i:
                            z = next(state.array for state in entry.states if state.name == "z")
                            _move_towards(entry.param.array, z, 1.0 - 1.0 / beta if evaluating else 1.0 - beta)
                    carried[i] = {**carried[i], "evaluating": evaluating}
            self._carried = carried


def _move_towards(param: np.ndarray[Any, Any], end: np.ndarray[Any, Any], weight: float) -> None:
    param, end, rounded = param.reshape(-1), end.reshape(-1), param.dtype.type(weight)
    with np.errstate(all="ignore"):
        for start in range(0, param.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            param[part] += rounded * (end[part] - param[part])


def _warm(values: Mapping[str, Any], t: int) -> float:
    """Return the learning rate at step t."""
    lr: float = values["lr"]
    return lr * (t / values["warmup_steps"]) if t < values["warmup_steps"] else lr


def _follows(beta: float, share: float) -> tuple[float, float]:
    """Return how far y goes towards z, and how much of the step of z it makes."""
    return share, 1.0 - beta * (1.0 - share)


class ScheduleFreeSGD(_ScheduleFree):
    """Schedule-free SGD: an average of the path in the place of momentum and of a falling learning rate.

    In the step counted t from 1, with the gradient at ``y``, and ``x = z = y`` at first::

        gamma = lr*min(1, t/warmup_steps)
        z = z - gamma*g
        w = t**r * max(gamma so far)**weight_lr_power
        x = x + w/sum(w so far) * (z - x)
        y = (1-momentum)*z + momentum*x

    The parameters hold y in training, which is how it starts; :meth:`eval` puts x in their place, :meth:`train` y again
    (each time rounded once: for a run that is to be the same with and without evaluation, keep a copy). x is found from
    y and z, and takes no memory.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate; the paper advises 1 to 10 times that of a run with a schedule, without one here.
    momentum : float
        Weight of x in y, in (0, 1).
    weight_decay : float or schedule
        L2 penalty, added to the gradient.
    warmup_steps : int
        Steps in which the learning rate grows to lr.
    r : float or schedule
        Power of t in the weights of the average.
    weight_lr_power : float or schedule
        Power of the learning rate in them; 0 for equal weights.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. The step of l1 is made by z; x, an
        average, has few exact zeros.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is not as it must be.
    RuntimeError
        By `step`, if the parameters hold x.

    Notes
    -----
    State: ``z``; the state dict also has the sum of the weights, the largest learning rate, and whether the parameters
    hold x (then give it back to an optimizer whose parameters do). As `SGDScheduleFree` of the authors' schedulefree
    1.4, which starts in evaluation; `optax.contrib.schedule_free_sgd` leaves x to a function, and its warm-up starts
    from 0.
    Source: Defazio et al., The road less scheduled, arXiv:2405.15682.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.ScheduleFreeSGD(w, lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     opt.step(1.0 * w)  # the gradient of w @ w / 2
    >>> opt.eval()
    >>> w
    array([ 0.375, -0.75 ])
    >>> opt.train()
    >>> w
    array([ 0.3125, -0.625 ])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"schedule_free_sgd": ("z",)}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "momentum": _SETTLED,
        "weight_decay": NON_NEGATIVE,
        "warmup_steps": Count(),
        "r": NON_NEGATIVE,
        "weight_lr_power": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1.0,
        momentum: float = 0.9,
        weight_decay: Hyperparameter = 0.0,
        warmup_steps: int = 0,
        r: Hyperparameter = 0.0,
        weight_lr_power: Hyperparameter = 2.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return schedule_free_sgd."""
        return "schedule_free_sgd"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float | None:
        """Return None: z is a copy of the parameters."""
        return None

    @staticmethod
    def beta(values: Mapping[str, Any]) -> float:
        """Return the momentum."""
        momentum: float = values["momentum"]
        return momentum

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return gamma, the share of z, and how much of its step y makes."""
        return _warm(values, t), *_follows(values["momentum"], values["share"])


class ScheduleFreeAdamW(_ScheduleFree):
    """Schedule-free AdamW: an average of the path in the place of momentum and of a falling learning rate.

    In the step counted t from 1, with the gradient at ``y``, and ``x = z = y`` at first::

        gamma = lr*min(1, t/warmup_steps)
        v = beta2*v + (1-beta2)*g*g
        z = z - gamma*(g/(sqrt(v/(1-beta2**t)) + eps) + weight_decay*y)
        w = t**r * max(gamma so far)**weight_lr_power
        x = x + w/sum(w so far) * (z - x)
        y = (1-beta1)*z + beta1*x

    The parameters hold y in training, and x in evaluation, as in :class:`ScheduleFreeSGD`.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate; the paper advises 1 to 10 times that of a run with a schedule, without one here.
    betas : pair of float
        Weight of x in y, and of the old second moment; in (0, 1).
    eps : float or schedule
        Added to the root.
    weight_decay : float or schedule
        Decoupled, multiplied by the learning rate; of y.
    warmup_steps : int
        Steps in which the learning rate grows to lr.
    r : float or schedule
        Power of t in the weights of the average.
    weight_lr_power : float or schedule
        Power of the learning rate in them; 0 for equal weights.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. The step of l1 is made by z; x, an
        average, has few exact zeros.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is not as it must be.
    RuntimeError
        By `step`, if the parameters hold x.

    Notes
    -----
    State: ``exp_avg_sq``, ``z``; the state dict also has what that of :class:`ScheduleFreeSGD` has. As
    `AdamWScheduleFree` of the authors' schedulefree 1.4, which starts in evaluation. Their version 1.2 took gamma with
    the root of the bias correction in it.
    Source: Defazio et al., The road less scheduled, arXiv:2405.15682.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, -2.0])
    >>> opt = gdfast.ScheduleFreeAdamW(w, lr=0.5, betas=(0.5, 0.999))
    >>> opt.step(np.array([3.0, -4.0]))
    >>> opt.eval()
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"schedule_free_adamw": ("exp_avg_sq", "z")}
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "betas": Pair(_SETTLED),
        "eps": EPS,
        "weight_decay": NON_NEGATIVE,
        "warmup_steps": Count(),
        "r": NON_NEGATIVE,
        "weight_lr_power": NON_NEGATIVE,
    }
    decoupled: ClassVar[bool] = True

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 0.0025,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        warmup_steps: int = 0,
        r: Hyperparameter = 0.0,
        weight_lr_power: Hyperparameter = 2.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "warmup_steps": warmup_steps,
            "r": r,
            "weight_lr_power": weight_lr_power,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return schedule_free_adamw."""
        return "schedule_free_adamw"

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float | None:
        """Return None for z, a copy of the parameters."""
        return None if state == "z" else 0.0

    @staticmethod
    def beta(values: Mapping[str, Any]) -> float:
        """Return beta1."""
        beta1: float = values["betas"][0]
        return beta1

    @staticmethod
    def decays(values: Mapping[str, Any], t: int) -> tuple[float, float]:
        """Return 0 and 0: the decay is of y, and acts on z."""
        return 0.0, 0.0

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta2, 1-beta2, step, eps_t, gamma*weight_decay, the share of z, and how much of its step y makes."""
        (beta1, beta2), gamma = values["betas"], _warm(values, t)
        root = sqrt(bias_correction(beta2, t))
        decay = gamma * values["weight_decay"]
        return beta2, 1.0 - beta2, gamma * root, values["eps"] * root, decay, *_follows(beta1, values["share"])
