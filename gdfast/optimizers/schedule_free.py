"""Averages of the iterates instead of learning-rate schedules: ScheduleFreeSGD, ScheduleFreeAdamW."""

from abc import abstractmethod
from collections.abc import Mapping
from math import inf, sqrt
from typing import Any, ClassVar, Unpack

import numpy as np

from gdfast.engine._plan import bias_correction
from gdfast.engine.coding import decoded, encode_nearest, write_copy
from gdfast.engine.engines import Entry
from gdfast.stepping.base import Optimizer
from gdfast.stepping.common import Common, power
from gdfast.stepping.hyperparameters import EPS, NON_NEGATIVE, Count, Hyperparameter, Pair, Range, Spec

# The weight of x in y. It is fixed and not 0, because x is computed from y and z with it.
_WEIGHT_OF_X = Range(0.0, 1.0, positive=True, fixed=True)
_CHUNK = 1 << 16  # elements that are moved at a time, so that no copy of a large array is made


class _ScheduleFree(Optimizer):
    """The base of both: the parameters hold y in training and x in evaluation."""

    own_specs: ClassVar[Mapping[str, Spec]] = {}
    needs_master: ClassVar[bool] = True  # x is computed from y and z
    carried_scalars: ClassVar[Mapping[str, float]] = {"weight_sum": 0.0, "lr_max": 0.0, "share": 0.0, "evaluating": 0.0}

    @staticmethod
    @abstractmethod
    def beta(values: Mapping[str, Any]) -> float:
        """Return the weight of x in y."""

    def eval(self) -> None:
        """Switch the parameters to x, the average to be evaluated; no change if they hold it already.

        Raises
        ------
        RuntimeError
            If a step in pieces is open, or in `averaged`.
        """
        self._switch_to(1.0)

    def train(self) -> None:
        """Switch the parameters to y, where gradients are computed; no change if they hold it already.

        Raises
        ------
        RuntimeError
            If a step in pieces is open, or in `averaged`.
        """
        self._switch_to(0.0)

    @staticmethod
    def next_carried(values: Mapping[str, Any], t: int) -> dict[str, float]:
        """Return the sum of all weights, the largest learning rate, and the weight of this step's z in x."""
        if values["evaluating"]:
            raise RuntimeError("the parameters hold the average, for evaluation: call train() before step()")
        lr_max = max(_warmed_lr(values, t), values["lr_max"])
        weight = power(t, values["r"]) * power(lr_max, values["weight_lr_power"])
        weight_sum = values["weight_sum"] + weight
        if not weight_sum < inf:
            raise ValueError(
                "r, weight_lr_power and lr must give weights of z, t**r * lr**weight_lr_power, with a finite sum; got "
                f"r={values['r']!r}, weight_lr_power={values['weight_lr_power']!r} and lr={lr_max!r}, and at t={t} "
                f"a sum of {weight_sum!r}"
            )
        share = weight / weight_sum if weight_sum > 0.0 else 0.0
        return {"weight_sum": weight_sum, "lr_max": lr_max, "share": share, "evaluating": 0.0}

    def _switch_to(self, evaluating: float) -> None:
        with self._stepping:
            self._check_not_blocked()
            entries, carried = self._check_unchanged(), list(self._carried)
            for i, group in enumerate(self._layout.groups):
                if carried[i]["evaluating"] != evaluating:
                    beta = self.beta(group.values_now)
                    for entry in entries:
                        if entry.group == i:
                            z = next(state.array for state in entry.states if state.name == "z")
                            _move_towards(entry, z, 1.0 - 1.0 / beta if evaluating else 1.0 - beta)
                    carried[i] = {**carried[i], "evaluating": evaluating}
            self._carried = carried


def _move_towards(entry: Entry, end: np.ndarray[Any, Any], weight: float) -> None:
    """Move a parameter, or its master and what it shows of that, chunk by chunk."""
    form, codes, beside = entry.param_coding()
    codes, end, rounded = codes.reshape(-1), end.reshape(-1), end.dtype.type(weight)
    for start in range(0, codes.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        values, low = codes[part], None if beside is None else beside.reshape(-1)[part]
        if form is not None:
            values = decoded(form, values, low)
        with np.errstate(all="ignore"):
            values += rounded * (end[part] - values)
        if form is not None:
            encode_nearest(form, codes[part], low, values)
    if entry.copy_format and entry.copy is None:
        write_copy(entry.copy_format, entry.param.array, codes)


def _warmed_lr(values: Mapping[str, Any], t: int) -> float:
    """Return the learning rate at step t, with the warm-up."""
    lr: float = values["lr"]
    return lr * (t / values["warmup_steps"]) if t < values["warmup_steps"] else lr


def _y_weights(beta: float, share: float) -> tuple[float, float]:
    """Return the weight with which y moves towards z, and the fraction of the step of z that y makes."""
    return share, 1.0 - beta * (1.0 - share)


class ScheduleFreeSGD(_ScheduleFree):
    """Schedule-free SGD: an average of the iterates instead of momentum and a decaying learning rate.

    In the step counted t from 1, with the gradient at ``y``, and initially ``x = z = y``::

        gamma = lr*min(1, t/warmup_steps)
        z = z - gamma*g
        w = t**r * max(gamma so far)**weight_lr_power
        x = x + w/sum(w so far) * (z - x)
        y = (1-momentum)*z + momentum*x

    The parameters hold y in training, also at the start; :meth:`eval` switches them to x, and :meth:`train` back to y.
    (Each switch rounds once: for a run that must not depend on evaluations, evaluate a copy.) x is computed from y and
    z, and takes no memory.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, or bfloat16 or float16 with a `master`, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate; the paper recommends 1 to 10 times that of a run with a schedule. No schedule is needed here.
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
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. The l1 step applies to z; x, an
        average, has few exact zeros.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.
    RuntimeError
        By `step`, if the parameters hold x.

    Notes
    -----
    State: ``z``; the state dict also has the sum of the weights, the largest learning rate, and whether the parameters
    hold x (load it into an optimizer whose parameters do too). As `SGDScheduleFree` of the authors' schedulefree 1.4,
    which starts in evaluation mode; `optax.contrib.schedule_free_sgd` has a function for x, and its warm-up starts
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
        "momentum": _WEIGHT_OF_X,
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
        """Return gamma, the weight of z, and the fraction of its step that y makes."""
        return _warmed_lr(values, t), *_y_weights(values["momentum"], values["share"])


class ScheduleFreeAdamW(_ScheduleFree):
    """Schedule-free AdamW: an average of the iterates instead of momentum and a decaying learning rate.

    In the step counted t from 1, with the gradient at ``y``, and initially ``x = z = y``::

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
        float32 or float64, or bfloat16 or float16 with a `master`, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Learning rate; the paper recommends 1 to 10 times that of a run with a schedule. No schedule is needed here.
    betas : pair of float
        Weight of x in y, and decay rate of the second moment; in (0, 1).
    eps : float or schedule
        Added to the square root, for numerical stability.
    weight_decay : float or schedule
        Decoupled decay of y, multiplied by the learning rate.
    warmup_steps : int
        Steps in which the learning rate grows to lr.
    r : float or schedule
        Power of t in the weights of the average.
    weight_lr_power : float or schedule
        Power of the learning rate in them; 0 for equal weights.
    **common
        ``maximize, l1, n_threads, engine, grads``; see :class:`gdfast.Optimizer`. The l1 step applies to z; x, an
        average, has few exact zeros.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.
    RuntimeError
        By `step`, if the parameters hold x.

    Notes
    -----
    State: ``exp_avg_sq``, ``z``; the state dict also has what that of :class:`ScheduleFreeSGD` has. As
    `AdamWScheduleFree` of the authors' schedulefree 1.4, which starts in evaluation mode. In their version 1.2, gamma
    included the square root of the bias correction.
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
        "betas": Pair(_WEIGHT_OF_X),
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
        """Return 0 and 0: the decay, of y, is subtracted from z by the loop."""
        return 0.0, 0.0

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return beta2, 1-beta2, step, eps_t, gamma*weight_decay, the weight of z, and the fraction of its step."""
        (beta1, beta2), gamma = values["betas"], _warmed_lr(values, t)
        root = sqrt(bias_correction(beta2, t))
        decay = gamma * values["weight_decay"]
        return beta2, 1.0 - beta2, gamma * root, values["eps"] * root, decay, *_y_weights(beta1, values["share"])
