"""Adam for thinc, and so for spaCy: ``@optimizers = "gdfast.Adam.v1"`` in a configuration.

Needs thinc 8.3 (which spaCy brings). It uses `gdfast.optimizers`.
"""

from typing import Any

import numpy as np
from thinc.optimizers import ADAM_DEFAULTS, Optimizer

from gdfast import optimizers
from gdfast.stepping.base import Optimizer as Stepper

_NEWEST = 0.9999  # the largest weight of the old average, as in thinc


class Adam(Optimizer):  # type: ignore[misc, unused-ignore]  # without thinc's types it is Any
    """thinc's Adam, with its arguments, schedules and averages, and gdfast's step.

    Parameters
    ----------
    learn_rate, L2, beta1, beta2, eps, grad_clip : float or a schedule of thinc
    L2_is_weight_decay : bool
    use_averages : bool
        As in `thinc.optimizers.Adam`. `grad_clip` is the largest norm of each array's gradient.

    Raises
    ------
    TypeError, ValueError
        In a call for weights that are not float32 NumPy arrays, as on a GPU, or for a hyperparameter out of range;
        nothing has been written then.

    Notes
    -----
    Each array is stepped, clipped, averaged and its gradient zeroed in one pass. What differs: weight decay shrinks the
    weights before the step instead of after it, and an average begins at the first weights instead of at zero.
    """

    __slots__ = ("_steppers",)

    def __init__(
        self,
        learn_rate: Any = ADAM_DEFAULTS["learn_rate"],
        *,
        L2: Any = ADAM_DEFAULTS["L2"],  # noqa: N803 - thinc's names
        beta1: Any = ADAM_DEFAULTS["beta1"],
        beta2: Any = ADAM_DEFAULTS["beta2"],
        eps: Any = ADAM_DEFAULTS["eps"],
        grad_clip: Any = ADAM_DEFAULTS["grad_clip"],
        L2_is_weight_decay: bool = True,  # noqa: N803
        use_averages: bool = True,
    ) -> None:
        super().__init__(
            learn_rate,
            L2=L2,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            grad_clip=grad_clip,
            L2_is_weight_decay=L2_is_weight_decay,
            use_averages=use_averages,
        )
        self._steppers: dict[Any, tuple[Any, Stepper]] = {}

    def __call__(self, key: Any, weights: Any, gradient: Any, *, lr_scale: float = 1.0) -> tuple[Any, Any]:
        """Step one array of weights in place, and zero its gradient; return both."""
        if gradient.size == 0:
            return weights, gradient
        stepper = self._stepper(key, weights)
        group = stepper.param_groups[0]
        for name, value in self._hyperparameters(lr_scale).items():
            if group[name] != value:
                group[name] = value
        if self.L2 and not self.L2_is_weight_decay:
            gradient += self.L2 * weights  # before it is clipped, as in thinc
        stepper.step(gradient, zero_grad=True)
        self.nr_update[key] = stepper.step_count
        return weights, gradient

    def _hyperparameters(self, lr_scale: float) -> dict[str, Any]:
        return {
            "lr": float(self.learn_rate * lr_scale),
            "betas": (float(self.b1), float(self.b2)),
            "eps": float(self.eps),
            "weight_decay": float(self.L2) if self.L2_is_weight_decay else 0.0,
        }

    def _stepper(self, key: Any, weights: Any) -> Stepper:
        """Return the optimizer of these weights: the one that has their memory, or a new one with its state."""
        if not isinstance(weights, np.ndarray):
            raise TypeError(f"the weights {key} must be a NumPy array, on a CPU; got {type(weights).__name__}")
        if weights.dtype != np.float32:
            raise TypeError(f"the weights {key} must be float32; got {weights.dtype}")
        place = weights.__array_interface__["data"][0], weights.shape, float(self.grad_clip)
        before = self._steppers.get(key)
        if before is not None and before[0] == place:
            return before[1]
        stepper = self._make(weights)
        if before is not None:
            stepper.load_state_dict({**before[1].state_dict(), "guard": stepper.state_dict()["guard"]})
        self._steppers[key] = place, stepper
        state: Any = stepper.state["0"]
        self.mom1[key], self.mom2[key] = state["exp_avg"], state["exp_avg_sq"]
        if self.averages is not None:
            self.averages[key] = stepper.ema
        return stepper

    def _make(self, weights: Any) -> Stepper:
        optimizer = optimizers.AdamW if self.L2_is_weight_decay else optimizers.Adam
        return optimizer(
            weights,
            eps_hat=True,
            clip_norm=float(self.grad_clip) or None,
            ema_decay=None if self.averages is None else _decay,
            **self._hyperparameters(1.0),
        )


def _decay(step: int) -> float:
    """Return the weight of the old average at a step, counted from 0."""
    return min((2.0 + step) / (11.0 + step), _NEWEST)
