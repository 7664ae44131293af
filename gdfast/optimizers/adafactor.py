"""Adafactor: the second moment of a matrix, factored into one number for each row and each column."""

from collections.abc import Mapping
from math import inf, sqrt
from typing import Any, ClassVar, Unpack

import numpy as np

from gdfast.arrays.structure import NamedArray
from gdfast.engine.engines import Entry
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import NON_NEGATIVE, Hyperparameter, Pair, Range, Spec
from gdfast.stepping.measuring import Layers, Layerwise


class Adafactor(Layerwise):
    """Adafactor: steps relative to the parameters' size, with a second moment factored into rows and columns.

    In the step counted t from 1, for an array with two axes or more (rows and columns are the last two)::

        beta2 = 1 - t**beta2_decay
        row = beta2*row + (1-beta2)*(mean of g*g along a row)
        col = beta2*col + (1-beta2)*(mean of g*g along a column)
        v = row*col / max(mean of row, eps1)
        u = g / sqrt(max(v, eps1**2))
        p = (1 - lr*weight_decay)*p - alpha/max(1, rms(u)/d) * u      alpha = max(eps2, rms(p)) * min(lr, 1/sqrt(t))

    For vectors, v is the average of g*g with the same beta2. ``rms`` is the root mean square over the whole array; that
    of p is taken before the decay.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        float32 or float64, updated in place; see :class:`gdfast.Optimizer`.
    lr : float or schedule
        Maximum relative step.
    beta2_decay : float or schedule
        Exponent of t in beta2, at most 0.
    eps : pair of float or schedule
        eps1, which keeps the denominator from zero (None: the machine epsilon of the dtype), and eps2, a lower bound
        for the rms of the parameters.
    d : float or schedule
        Clipping threshold, at least 1: a direction with a larger rms is scaled down to it.
    weight_decay : float or schedule
        Decoupled decay, multiplied by the learning rate.
    **common
        See :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid.

    Notes
    -----
    State: ``row_var`` (the last axis of length 1) and ``col_var`` (the last but one of length 1); ``variance`` for
    vectors. So a matrix needs one number for each row and column, where Adam needs two for each element. As
    `torch.optim.Adafactor`; the paper, transformers and optax add eps1 to the squares instead. The gradient is read
    three times: for the sums, for the norm of the direction, for the step. Source: Shazeer and Stern, arXiv:1804.04235.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.ones((2, 3))
    >>> opt = gdfast.Adafactor(w, lr=0.25)
    >>> opt.step(np.full((2, 3), 8.0))
    >>> w
    array([[0.75, 0.75, 0.75],
           [0.75, 0.75, 0.75]])
    >>> opt.state["0"]["row_var"].shape, opt.state["0"]["col_var"].shape
    ((2, 1), (1, 3))
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "adafactor": ("row_var", "col_var"),
        "adafactor_vector": ("variance",),
    }
    measure_traffic: ClassVar[int] = 3
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "beta2_decay": Range(-inf, 0.0, closed=True, positive=True),
        "eps": Pair(Range(optional=True)),
        "d": Range(1.0),
        "weight_decay": NON_NEGATIVE,
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-2,
        beta2_decay: Hyperparameter = -0.8,
        eps: tuple[Hyperparameter | None, Hyperparameter] = (None, 1e-3),
        d: Hyperparameter = 1.0,
        weight_decay: Hyperparameter = 0.0,
        **common: Unpack[Common],
    ) -> None:
        defaults = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return adafactor, the rule for matrices."""
        return "adafactor"

    @classmethod
    def rule_for(cls, values: Mapping[str, Any], param: NamedArray) -> str:
        """Return adafactor or adafactor_vector."""
        return "adafactor" if param.array.ndim > 1 else "adafactor_vector"

    @classmethod
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check that there is an eps2."""
        if values["eps"][1] is None:
            raise TypeError(f"eps[1] must be a number; got {values['eps']!r}")

    @staticmethod
    def reduced_shape(state: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shapes of row_var and col_var."""
        if state == "row_var":
            return (*shape[:-1], 1)
        return (*shape[:-2], 1, shape[-1]) if state == "col_var" else None

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the relative step, beta2 and 1-beta2."""
        one_minus_beta2 = float(t) ** values["beta2_decay"]
        return min(values["lr"], 1.0 / sqrt(t)), 1.0 - one_minus_beta2, one_minus_beta2

    @classmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Measure rows and columns, then the directions that they give, and set each array's rate."""
        (relative, beta2, one_minus_beta2), (eps1, eps2) = cls.scalars(values, t), values["eps"]
        decay = values["lr"] * values["weight_decay"]
        others = {}
        for i, entry in layers:
            own = float(np.finfo(entry.param.array.dtype).eps) if eps1 is None else eps1
            others[i] = (own * own,) if entry.rule == "adafactor" else (own * own, beta2, one_minus_beta2)
            layers.set(i, (0.0, *others[i]))
            if entry.rule == "adafactor":
                cls.factor(layers, i, one_minus_beta2, own)
        for i, step_norm, param_norm in layers.measure():
            root = sqrt(max(layers.entries[i].param.array.size, 1))
            rate = max(eps2, param_norm / root) * relative / max(1.0, step_norm / (root * values["d"]))
            layers.set(i, (rate, *others[i]), decay=decay, l1=values["l1"])

    @staticmethod
    def factor(layers: Layers, i: int, one_minus_beta2: float, eps1: float) -> None:
        """Compute a matrix's new factors and lend them to its loops; the work is proportional to rows + columns."""
        entry: Entry = layers.entries[i]
        rows, columns = entry.param.array.shape[-2:]
        if entry.param.array.size == 0:  # no means, and nothing to step
            layers.engine.set_extras(i, tuple(named.array for named in entry.reduced_states))
            return
        of_rows, of_columns = layers.engine.measure_matrices(i, rows, columns, layers.threads, layers.add_accumulated)
        new = []
        with np.errstate(all="ignore"):
            for named, sums, count in zip(entry.reduced_states, (of_rows, of_columns), (columns, rows), strict=True):
                old = named.array.astype(np.float64)
                mean = (sums / count).reshape(old.shape)
                new.append(layers.put(i, named.array, old + one_minus_beta2 * (mean - old)))
            row = new[0].astype(np.float64)
            # np.sum would add in an order of its own; a running sum has one order everywhere.
            row_mean = np.cumsum(row, axis=-2)[..., -1:, :] / rows
            factors = (row / np.maximum(row_mean, eps1)).astype(entry.param.array.dtype)
        layers.engine.set_extras(i, (factors, new[1]), rows, columns)
