"""Muon: orthogonalized momentum."""

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar, Unpack

import numpy as np

from gdfast.arrays.structure import NamedArray
from gdfast.stepping.common import Common
from gdfast.stepping.hyperparameters import EPS, FINITE, NON_NEGATIVE, Choice, Count, Flag, Hyperparameter, Spec, Triple
from gdfast.stepping.measuring import Layers, Layerwise


class Muon(Layerwise):
    """Muon: momentum, approximately orthogonalized by a Newton-Schulz iteration; for matrices.

    With a, b, c = ns_coefficients::

        m = momentum*m + (1-momentum)*g
        u = momentum*m + (1-momentum)*g              u = m, without nesterov
        x = u / max(|u|, eps)                        transposed, if there are more rows than columns
        x = a*x + (b*y + c*y*y)*x, y = x*x'          ns_steps times, as matrix products; then transposed back
        p = (1 - lr*weight_decay)*p - adjusted*x

    with ``adjusted = lr*sqrt(max(1, rows/columns))``, or ``lr*0.2*sqrt(max(rows, columns))`` for "match_rms_adamw".

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        Matrices of float32 or float64, updated in place; see :class:`gdfast.Optimizer`. Use another optimizer, such as
        :class:`gdfast.AdamW`, for all other parameters, and for embeddings and the last layer.
    lr : float or schedule
        Learning rate.
    weight_decay : float or schedule
        Decoupled decay, multiplied by `lr` (not by the adjusted rate).
    momentum : float or schedule
        Momentum factor, at least 0.
    nesterov : bool
        Nesterov momentum.
    ns_coefficients : triple of float or schedule
        Coefficients of the iteration's polynomial.
    eps : float or schedule
        Lower bound of the norm that u is divided by.
    ns_steps : int
        Number of iterations, below 100.
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        How the learning rate is adjusted to the shape; None is "original".
    **common
        See :class:`gdfast.Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an array or a hyperparameter is invalid, or an array is not a matrix.

    Notes
    -----
    State: ``momentum_buffer``. As `torch.optim.Muon`, except that the iteration has the precision of the arrays here,
    and bfloat16 there. A step needs temporary memory of the size of the parameters. Both engines take the matrix
    products from NumPy and its BLAS; the bits of these products, and of nothing else, may depend on the machine and on
    the number of BLAS threads. Source: Jordan et al., kellerjordan.github.io/posts/muon; "match_rms_adamw": Liu et al.,
    arXiv:2502.16982.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.zeros((2, 2))
    >>> gdfast.Muon(w, lr=1.0, ns_steps=20, ns_coefficients=(1.5, -0.5, 0.0)).step(np.array([[0.0, 3.0], [-4.0, 0.0]]))
    >>> w.round(6) + 0.0
    array([[ 0., -1.],
           [ 1.,  0.]])
    """

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"muon": ("momentum_buffer",)}
    measure_traffic: ClassVar[int] = 4  # besides the matrix products
    own_specs: ClassVar[Mapping[str, Spec]] = {
        "lr": NON_NEGATIVE,
        "weight_decay": NON_NEGATIVE,
        "momentum": NON_NEGATIVE,
        "nesterov": Flag(fixed=False),
        "ns_coefficients": Triple(FINITE),
        "eps": EPS,
        "ns_steps": Count(),
        "adjust_lr_fn": Choice((None, "original", "match_rms_adamw")),
    }

    def __init__(
        self,
        params: Any,
        lr: Hyperparameter = 1e-3,
        weight_decay: Hyperparameter = 0.1,
        momentum: Hyperparameter = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[Hyperparameter, Hyperparameter, Hyperparameter] = (3.4445, -4.7750, 2.0315),
        eps: Hyperparameter = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        **common: Unpack[Common],
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults, **common)

    @classmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return muon."""
        return "muon"

    @classmethod
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check that the number of iterations is sensible."""
        if not values["ns_steps"] < 100:
            raise ValueError(f"ns_steps must be below 100; got {values['ns_steps']!r}")

    @classmethod
    def rule_for(cls, values: Mapping[str, Any], param: NamedArray) -> str:
        """Return muon, for a matrix."""
        if param.array.ndim != 2:
            raise ValueError(
                f"{param.path} must be a matrix (2 axes) for Muon; got shape {param.array.shape}. "
                "Give other arrays to another optimizer, such as gdfast.AdamW."
            )
        return cls.rule_of(values)

    @staticmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return mu, 1-mu, and the weights of the gradient and of the buffer in u."""
        mu = values["momentum"]
        return mu, 1.0 - mu, *((1.0 - mu, mu) if values["nesterov"] else (0.0, 1.0))

    @classmethod
    def set_layer_scalars(cls, layers: Layers, values: Mapping[str, Any], t: int) -> None:
        """Compute each array's u, orthogonalize it, and lend it to the loop."""
        lr, common = values["lr"], cls.scalars(values, t)
        decay = lr * values["weight_decay"]
        directions = {}
        for i, entry in layers:
            directions[i] = np.empty_like(entry.param.array)
            layers.engine.set_output(i, directions[i])
            layers.set(i, (0.0, *common))
        for i, norm, _ in layers.measure(with_params=False):
            u = directions[i]
            if u.size:
                u = orthogonalized(u, max(norm, values["eps"]), values["ns_coefficients"], values["ns_steps"])
            layers.engine.set_extras(i, (u,))
            rate = lr * adjustment(u.shape, values["adjust_lr_fn"])
            layers.set(i, (rate, *common), decay=decay, l1=values["l1"])


def adjustment(shape: tuple[int, ...], kind: str | None) -> float:
    """Return the factor that adjusts the learning rate to the shape of a matrix."""
    rows, columns = shape
    if kind == "match_rms_adamw":
        return 0.2 * sqrt(max(rows, columns))
    return sqrt(max(1.0, rows / max(columns, 1)))


def orthogonalized(
    u: np.ndarray[Any, Any], norm: float, coefficients: tuple[float, float, float], steps: int
) -> np.ndarray[Any, Any]:
    """Return the matrix with its singular values moved towards 1; `u` is overwritten."""
    a, b, c = map(u.dtype.type, coefficients)
    with np.errstate(all="ignore"):
        u /= u.dtype.type(norm)
        x = u.T if u.shape[0] > u.shape[1] else u
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return np.ascontiguousarray(x if x.shape == u.shape else x.T)
