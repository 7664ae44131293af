"""What all estimators share: learning-rate finder, callbacks, tags, the checks of X, classes from scores."""

from math import ceil
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from gdfast.sklearn._finder import FindsRate
from gdfast.sklearn._training import CallbackSupportMixin

Array = np.ndarray[Any, Any]

#: what X may be: see :func:`sklearn.utils.validation.validate_data`
X_CHECKS: dict[str, Any] = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}


class GradientEstimator(FindsRate, CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that is trained by gradient descent."""

    early_stopping: bool
    validation_fraction: float

    def __sklearn_tags__(self) -> Any:
        """Say that sparse data are supported."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _n_train(self, n_rows: int) -> int:
        """Return how many of n rows are trained on: early stopping holds some out."""
        return n_rows - ceil(self.validation_fraction * n_rows) if self.early_stopping else n_rows


def class_indices(scores: Array) -> Array:
    """Return the index of the predicted class, from scores of shape (n, 1) for two classes, (n, classes) for more."""
    indices: Array = (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
    return indices
