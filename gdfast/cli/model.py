"""A trained model: the way from columns to predictions, in one file that runs no code when it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gdfast.checkpoint import CheckpointError
from gdfast.checkpoint.plain import read_data, write_data
from gdfast.cli.encoding import Encoder
from gdfast.cli.errors import UserError
from gdfast.cli.missing import POLICIES, settle
from gdfast.cli.tables import Table
from gdfast.sklearn import LOSSES

Array = np.ndarray[Any, Any]

KIND = "model of gdfast train"
FILE = "model.safetensors"
#: for each kind of estimator, the parameters and the fitted attributes that a prediction needs
PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "GDClassifier": (("loss",), ("coef_", "intercept_", "classes_")),
    "GDRegressor": (("loss",), ("coef_", "intercept_")),
    "MLPClassifier": (
        ("activation",),
        ("coefs_", "intercepts_", "classes_", "n_layers_", "n_outputs_", "out_activation_", "_multilabel"),
    ),
    "MLPRegressor": (
        ("activation", "loss"),
        ("coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_"),
    ),
}


@dataclass(frozen=True)
class Model:
    """What ``gdfast train`` leaves.

    Attributes
    ----------
    encoder : Encoder
        Makes the matrix.
    estimator : estimator
        One of `gdfast.sklearn`, fitted.
    target : str
        The column that it predicts.
    missing : {"error", "drop", "fill"}
        What was done about missing values in training.
    about : dict
        How it was trained and how good it was, for whoever reads the file.
    """

    encoder: Encoder
    estimator: Any
    target: str
    missing: str = "error"
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def classifies(self) -> bool:
        """Whether it predicts classes."""
        return hasattr(self.estimator, "classes_")

    def predict(self, table: Table, missing: str = "error") -> dict[str, Array]:
        """Return ``{"prediction": ...}`` and, where there are probabilities, ``"probability_<class>"``, all (rows,).

        Raises
        ------
        UserError
            If the table lacks a column or values.
        """
        matrix = self.encoder.encode(settle(table, self._there(table), missing, may_drop=False))
        try:
            found = {"prediction": self.estimator.predict(matrix)}
            if self.classifies and hasattr(self.estimator, "predict_proba"):
                probabilities = self.estimator.predict_proba(matrix)
                found |= {f"probability_{c}": probabilities[:, i] for i, c in enumerate(self.estimator.classes_)}
        except ValueError as error:
            raise UserError(" ".join(str(error).split())) from None
        return found

    def _there(self, table: Table) -> list[str]:
        return [name for name in self.encoder.names if name in table.columns]

    def save(self, path: Path) -> None:
        """Write the file; an old one is replaced whole."""
        kind = type(self.estimator).__name__
        params, fitted = PARTS[kind]
        values = {name: getattr(self.estimator, name) for name in fitted}
        if "classes_" in values:
            values["classes_"] = values["classes_"].tolist()
        data = {
            "estimator": kind,
            "params": {name: getattr(self.estimator, name) for name in params},
            "fitted": values,
            "columns": self.encoder.to_data(),
            "target": self.target,
            "missing": self.missing,
            "about": self.about,
        }
        write_data(path, KIND, data)

    @classmethod
    def load(cls, path: Path) -> "Model":
        """Read a file, or the one of that name in a folder.

        Raises
        ------
        UserError
            If there is none, or it is damaged or something else.
        """
        path = path / FILE if path.is_dir() else path
        try:
            return cls._from_data(read_data(path, KIND))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
        except CheckpointError as error:
            raise UserError(f"{error}") from None
        except (LookupError, ArithmeticError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path} holds no {KIND}: {type(error).__name__}, {' '.join(str(error).split())}") from None

    @classmethod
    def _from_data(cls, data: Any) -> "Model":
        from gdfast import sklearn

        params, fitted = PARTS[data["estimator"]]
        estimator = getattr(sklearn, data["estimator"])(**{name: data["params"][name] for name in params})
        values = {name: data["fitted"][name] for name in fitted}
        if "classes_" in values:
            values["classes_"] = np.array(values["classes_"])
        encoder = Encoder.from_data(data["columns"])
        estimator.n_features_in_ = sum(part.width for part in encoder.parts)
        vars(estimator).update(values)
        _check(estimator)
        target, policy = data["target"], data["missing"]
        if not isinstance(target, str) or not isinstance(policy, str) or policy not in POLICIES:
            raise TypeError(f"target must be a name, and missing one of {POLICIES}; got {target!r} and {policy!r}")
        return cls(encoder, estimator, target, policy, data["about"])


def _check(estimator: Any) -> None:
    """Check that a fitted estimator's numbers fit one another: who writes a file can write anything into it.

    Raises
    ------
    ValueError, TypeError
        Or others, where a number stands for an array.
    """
    classes, outputs = getattr(estimator, "classes_", None), 1
    if classes is not None:
        if classes.ndim != 1 or classes.dtype.kind not in "biuU" or not len(np.unique(classes)) == len(classes) > 1:
            raise ValueError(f"classes_ must be two or more different words, whole numbers or bools; got {classes!r}")
        outputs = len(classes) if len(classes) > 2 else 1
    if hasattr(estimator, "coefs_"):
        _check_network(estimator, outputs)
        return
    coef, intercept, features = estimator.coef_, estimator.intercept_, estimator.n_features_in_
    if coef.shape != ((features,) if classes is None else (outputs, features)) or intercept.shape != (outputs,):
        raise ValueError(
            f"coef_ and intercept_ must be {outputs} times {features} and {outputs} numbers; got {coef.shape} and "
            f"{intercept.shape}"
        )
    if coef.dtype.kind != "f" or intercept.dtype.kind != "f" or estimator.loss not in LOSSES[type(estimator).__name__]:
        raise ValueError(f"coef_ and intercept_ must be floats, and loss a loss; got {coef.dtype}, {estimator.loss!r}")


def _check_network(estimator: Any, outputs: int) -> None:
    estimator.check_weights()
    output = estimator.out_activation_
    known: tuple[str, ...] = ("identity", "exp")
    if hasattr(estimator, "classes_"):
        known = ("softmax",) if outputs > 1 else ("logistic",)
        if estimator._multilabel is not False:
            raise ValueError(f"_multilabel must be false; got {estimator._multilabel!r}")
    if len(estimator.intercepts_[-1]) != outputs or estimator.n_outputs_ != outputs or output not in known:
        raise ValueError(f"the outputs must be {outputs} of {known}; got {estimator.n_outputs_!r} of {output!r}")
