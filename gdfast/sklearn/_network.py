"""The weights of a multi-layer perceptron in one buffer, and the kernel that takes data through it.

A network is two lists: ``coefs``, each layer's weights (fan_in, fan_out), and ``intercepts``, each layer's biases.
"""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import issparse

from gdfast.engine._mlp import ACTIVATIONS, MLPKernel, parts_of
from gdfast.sklearn._held import held
from gdfast.sklearn._native_loops import blas_gemm, limited_blas, linear_loops
from gdfast.sklearn._scaling import Standardizer
from gdfast.sklearn._sparse import csr_arrays

__all__ = ["ACTIVATIONS", "Network", "check_network", "predict_scores"]

Array: TypeAlias = np.ndarray[Any, Any]
# Rows that a prediction takes through the network at a time: eight parts, whose values stay in the cache.
CHUNK = 512
OUTPUTS = ("softmax", "logistic", "identity", "exp")  # the activations of the outputs
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Network:
    """The weights and the gradients of all layers, each in one flat buffer, with a view for each layer.

    Parameters
    ----------
    units : sequence of int
        Of each layer, from the inputs to the outputs.
    batch_size : int
        Maximum number of rows of a mini-batch.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    params, grads : (n,) arrays
        Every layer's weights, then every layer's biases. `grads` is a view of the first part's gradients, where the sum
        over the parts of a mini-batch ends up.
    coefs, intercepts : lists of arrays
        The views of `params`.
    """

    def __init__(self, units: Sequence[int], batch_size: int, dtype: Any) -> None:
        size = sum(a * b + b for a, b in pairwise(units))
        self.params: Array = np.zeros(size, dtype)
        self._all_grads: Array = np.zeros((parts_of(batch_size), size), dtype)
        self.grads: Array = self._all_grads[0]
        self.batch_size = batch_size
        self.coefs, self.intercepts = _layers(self.params, units)
        self._grads = _layers(self.grads, units)

    @property
    def views(self) -> dict[str, list[Array]]:
        """The parameters as an optimizer takes them."""
        return {"coefs": self.coefs, "intercepts": self.intercepts}

    @property
    def grad_views(self) -> dict[str, list[Array]]:
        """The gradients in the same structure."""
        return dict(zip(("coefs", "intercepts"), self._grads, strict=True))

    def load(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> None:
        """Copy weights of the same shapes."""
        for views, arrays in ((self.coefs, coefs), (self.intercepts, intercepts)):
            for view, array in zip(views, arrays, strict=True):
                view[...] = array

    def draw(self, rng: np.random.Generator, activation: str) -> None:
        """Draw the initial weights.

        Notes
        -----
        Uniform within ``sqrt(6 / (fan_in + fan_out))``, and the biases too, as scikit-learn does; a third of it for the
        logistic function. Source: Glorot and Bengio, AISTATS 2010, equation 16.
        """
        factor = 2.0 if activation == "logistic" else 6.0
        for coef, intercept in zip(self.coefs, self.intercepts, strict=True):
            bound = np.sqrt(factor / sum(coef.shape))
            coef[...] = rng.uniform(-bound, bound, coef.shape)
            intercept[...] = rng.uniform(-bound, bound, intercept.shape)

    def make_kernel(self, activation: str, loss: tuple[str, float], capacity: int) -> MLPKernel:
        """Return a kernel for at most `capacity` rows that writes the gradients here; `loss` is a name and a number."""
        kernel = MLPKernel(self.coefs, self.intercepts, activation, capacity, blas_gemm())
        kernel.bind_loss(*loss, linear_loops().LOOPS)
        kernel.bind_gradients(self.params, self._all_grads)
        return kernel


def bind_inputs(kernel: MLPKernel, X: Any, mean: Array | None = None, inv_scale: Array | None = None) -> list[Any]:
    """Bind a kernel to dense or CSR rows, and to the standardisation of their features, all of its dtype.

    Keep the returned list as long as the kernel reads them.
    """
    if issparse(X):
        values, indices, indptr = csr_arrays(X)
        kernel.bind_csr(values, indices, indptr, inv_scale)
        return held(values)
    kernel.bind_dense(X, mean, inv_scale)
    return held(X)


def predict_scores(
    coefs: Sequence[Array], intercepts: Sequence[Array], activation: str, output: str, X: Any, threads: int
) -> Array:
    """Return the scores, before the output's activation, of every row of X.

    Parameters
    ----------
    coefs, intercepts : sequences of arrays
        The network.
    activation, output : str
        Of the hidden layers, and of the outputs.
    X : (rows, features) array or CSR matrix
        Converted to the dtype of the network.
    threads : int
        Maximum number of threads.

    Returns
    -------
    (rows, outputs) array
    """
    check_network(coefs, intercepts, activation, output, X.shape[1])
    dtype = coefs[0].dtype
    coefs, intercepts = ([np.ascontiguousarray(array, dtype) for array in arrays] for arrays in (coefs, intercepts))
    kernel = MLPKernel(coefs, intercepts, activation, min(CHUNK, X.shape[0]), blas_gemm())
    _held = bind_inputs(kernel, X.astype(dtype, copy=False))
    with limited_blas(True):
        return scores_of(kernel, None, X.shape[0], coefs[-1].shape[1], dtype, CHUNK, threads)


def check_network(coefs: Sequence[Any], intercepts: Sequence[Any], activation: str, output: str, features: int) -> None:
    """Check what native code relies on: anyone can change the fitted attributes, and they may come from a file.

    Raises
    ------
    ValueError
        If the layers do not fit the features and one another, or an activation is unknown.
    """
    for name, value, known in (("activation", activation, ACTIVATIONS), ("out_activation_", output, OUTPUTS)):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")
    shapes = [[np.shape(array) for array in arrays] for arrays in (coefs, intercepts)]
    units = [features, *(shape[-1] for shape in shapes[0] if shape)]
    dtypes = {getattr(array, "dtype", None) for array in (*coefs, *intercepts)}
    fitting = [list(pairwise(units)), [(unit,) for unit in units[1:]]]
    if shapes != fitting or len(units) < 2 or 0 in units or len(dtypes) > 1 or not dtypes < {*FLOATS}:
        raise ValueError(
            f"coefs_ and intercepts_ must be float32 or float64 layers for {features} features; got shapes {shapes[0]} "
            f"and {shapes[1]} of {', '.join(sorted(map(str, dtypes)))}"
        )


def hidden_units(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """Return the hidden layers' units."""
    sizes = tuple(hidden_layer_sizes) if np.iterable(hidden_layer_sizes) else (hidden_layer_sizes,)
    for size in sizes:
        if not isinstance(size, Integral) or size < 1:
            raise ValueError(f"hidden_layer_sizes must be positive ints; got {hidden_layer_sizes!r}")
    return tuple(map(int, sizes))


def scores_of(
    kernel: MLPKernel, order: Array | None, n_rows: int, n_outputs: int, dtype: Any, chunk: int, threads: int
) -> Array:
    """Return the scores of the rows in `order` (None: all), `chunk` at a time."""
    scores = np.empty((n_rows, n_outputs), dtype)
    for start in range(0, n_rows, chunk):
        kernel.scores(order, start, scores[start : start + chunk], threads)
    return scores


def to_raw(
    standardizer: Standardizer, coefs: Sequence[Array], intercepts: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """Return a network in standard units as one for data in their own units, as copies."""
    weights, biases = list(coefs), list(intercepts)
    weights[0], biases[0] = standardizer.features_to_raw(weights[0], biases[0])
    weights[-1], biases[-1] = standardizer.targets_to_raw(weights[-1], biases[-1])
    arrays = standardizer.in_raw_dtype(coefs[0].dtype, *weights, *biases)
    return arrays[: len(weights)], arrays[len(weights) :]


def to_standard(
    standardizer: Standardizer, coefs: Sequence[Array], intercepts: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """Return a network for data in their own units as one in standard units."""
    weights, biases = list(coefs), list(intercepts)
    weights[-1], biases[-1] = standardizer.targets_to_standard(weights[-1], biases[-1])
    weights[0], biases[0] = standardizer.features_to_standard(weights[0], biases[0])
    return weights, biases


def _layers(flat: Array, units: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """Return the views of a flat buffer: each layer's weights, each layer's biases."""
    coefs, intercepts, at = [], [], 0
    for fan_in, fan_out in pairwise(units):
        coefs.append(flat[at : at + fan_in * fan_out].reshape(fan_in, fan_out))
        at += fan_in * fan_out
    for width in units[1:]:
        intercepts.append(flat[at : at + width])
        at += width
    return coefs, intercepts
