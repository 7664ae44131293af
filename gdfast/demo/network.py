"""A network of two layers in plain NumPy: its start, its loss and the gradients.

The parameters are a dict of dicts of arrays, and the gradients come in the same shape, as `gdfast` takes them::

    {"hidden": {"W": (n_in, n_hidden), "b": (n_hidden,)}, "output": {"W": (n_hidden, n_out), "b": (n_out,)}}
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Params: TypeAlias = dict[str, dict[str, Array]]


def initial(rng: np.random.Generator, sizes: tuple[int, int, int], dtype: DTypeLike = np.float32) -> Params:
    """Draw the parameters that a training starts from.

    Parameters
    ----------
    rng : Generator
        Where the random numbers come from.
    sizes : tuple of int
        Inputs, hidden units, outputs.
    dtype : dtype
        Of all arrays.

    Returns
    -------
    dict
        Normal weights of variance 2 / (inputs of the layer), biases of zero.

    Notes
    -----
    Source: He, Zhang, Ren, Sun, Delving deep into rectifiers, ICCV 2015, equation 10.
    """

    def layer(n_in: int, n_out: int) -> dict[str, Array]:
        weights = rng.standard_normal((n_in, n_out)) * np.sqrt(2.0 / n_in)
        return {"W": weights.astype(dtype), "b": np.zeros(n_out, dtype)}

    n_in, n_hidden, n_out = sizes
    return {"hidden": layer(n_in, n_hidden), "output": layer(n_hidden, n_out)}


def forward(params: Params, images: Array) -> tuple[Array, Array]:
    """Return the hidden units' values, (n, n_hidden), and the scores of the classes, (n, n_out)."""
    hidden = np.maximum(images @ params["hidden"]["W"] + params["hidden"]["b"], 0)
    return hidden, hidden @ params["output"]["W"] + params["output"]["b"]


def loss_and_gradients(params: Params, images: Array, labels: Array) -> tuple[float, Params]:
    """Return the mean cross-entropy of a batch and its gradients.

    Parameters
    ----------
    params : dict
        From `initial`; only read.
    images : (n, n_in) array
        Of the parameters' dtype.
    labels : (n,) array of int
        The right class of each image.

    Returns
    -------
    loss : float
        The mean of ``-log(probability of the right class)``.
    gradients : dict
        Of the same structure, shapes and dtype as `params`.
    """
    hidden, scores = forward(params, images)
    log_probability = _log_softmax(scores)
    picture = np.arange(len(labels))
    loss = -log_probability[picture, labels].mean()

    of_scores = np.exp(log_probability)
    of_scores[picture, labels] -= 1
    of_scores /= len(labels)
    of_hidden = (of_scores @ params["output"]["W"].T) * (hidden > 0)
    return float(loss), {"hidden": _of_layer(images, of_hidden), "output": _of_layer(hidden, of_scores)}


def accuracy(params: Params, images: Array, labels: Array) -> float:
    """Return the share of the images whose highest score is that of the right class."""
    _, scores = forward(params, images)
    return float((scores.argmax(axis=1) == labels).mean())


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max(axis=1, keepdims=True)  # so that exp cannot overflow
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _of_layer(inputs: Array, of_outputs: Array) -> dict[str, Array]:
    return {"W": inputs.T @ of_outputs, "b": of_outputs.sum(axis=0)}
