"""What all estimators share: learning-rate finder, callbacks, tags, the checks of X, classes from scores."""

from abc import abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils.multiclass import check_classification_targets

from gdfast.sklearn._finder import FindsRate
from gdfast.sklearn._training import FEWEST_NUMBERS, CallbackSupportMixin, n_held_out

Array = np.ndarray[Any, Any]
Method = TypeVar("Method", bound=Callable[..., Any])

#: what X may be: see :func:`sklearn.utils.validation.validate_data`
X_CHECKS: dict[str, Any] = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}


class GradientEstimator(FindsRate, CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that is trained by gradient descent."""

    early_stopping: bool
    validation_fraction: float
    shuffle: bool
    random_state: Any
    statistics_: str

    @abstractmethod
    def _learner(self) -> Any:
        """Return what learns from batches of a source; raise an error if a parameter is invalid."""

    def __sklearn_tags__(self) -> Any:
        """Say that sparse data are supported."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _n_train(self, n_rows: int) -> int:
        """Return how many of n rows are trained on: early stopping holds some out."""
        check_count("n_rows", n_rows)
        least = FEWEST_NUMBERS if is_regressor(self) else 1
        n_train = n_rows - n_held_out(n_rows, self.validation_fraction, least) if self.early_stopping else n_rows
        if n_train < 1:
            raise ValueError(f"n_rows must be more than early_stopping holds out; got {n_rows}")
        return int(n_train)

    def _refuse_early_stopping(self) -> None:
        """Raise an error in `partial_fit` if the estimator is to stop early."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True: it keeps no rows to validate with")


def learns_all_or_nothing(method: Method) -> Method:
    """Let a method that fails or is interrupted leave what the estimator had learned before.

    New classes with old coefficients would predict in silence. What is trained in place, `_trainer`, is not brought
    back once a training has taken it.
    """

    @wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = _learned(self)
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            now = _learned(self)
            for name in now:
                del vars(self)[name]
            if "_trainer" not in now:
                before.pop("_trainer", None)
            vars(self).update(before)
            raise

    return guarded  # type: ignore[return-value]


def _learned(estimator: Any) -> dict[str, Any]:
    """Return the attributes that are no parameters, nor scikit-learn's own of its callbacks."""
    own = {name: value for name, value in vars(estimator).items() if name.startswith("_") or name.endswith("_")}
    return {name: value for name, value in own.items() if "callback" not in name}


def class_indices(scores: Array) -> Array:
    """Return the index of the predicted class, from scores of shape (n, 1) for two classes, (n, classes) for more."""
    indices: Array = (scores[:, 0] > 0).astype(np.intp) if scores.shape[1] == 1 else scores.argmax(axis=1)
    return indices


def numeric_targets(y: Any) -> Array:
    """Return targets of a regression, in float64 if they come as texts or objects.

    Raises
    ------
    TypeError, ValueError
        If they are sparse, or no numbers: NumPy would take dates for nanoseconds.
    """
    if issparse(y):
        raise TypeError("y must be an array, not a sparse matrix: give y.toarray()")
    if y.dtype.kind not in "biufSUO":
        raise TypeError(f"y must hold numbers; got {y.dtype}")
    try:
        targets = np.asarray(y, y.dtype if y.dtype.kind in "biuf" else np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"y must hold numbers; got {y.dtype}: {error}") from None
    if not np.isfinite(targets).all():  # scikit-learn does not look into lists with None
        raise ValueError("y must be finite; got NaN, None or infinity")
    return targets


def check_count(name: str, value: Any, word: str | None = None) -> None:
    """Check an int of at least 1; `word` is accepted instead."""
    if word is not None and isinstance(value, str) and value == word:
        return
    or_word = f' or "{word}"' if word else ""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int{or_word}; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1{or_word}; got {value!r}")


def check_labels(y: Any) -> None:
    """Check that targets are classes, not numbers of a regression, and of types that can be compared."""
    try:
        check_classification_targets(y)
    except TypeError:
        kinds = " and ".join(sorted({type(label).__name__ for label in np.ravel(y)}))
        if kinds in ("bytes", "bytes_"):
            raise TypeError("y must hold texts or numbers; got bytes: give y.astype(str)") from None
        raise TypeError(f"y must hold labels of one type; got {kinds}") from None


def check_one_of(name: str, value: Any, known: tuple[Any, ...]) -> None:
    """Check a word, or None, that must be one of these."""
    if not isinstance(value, str | None) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")
