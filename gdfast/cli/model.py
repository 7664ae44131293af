"""A trained model: the way from columns to predictions, in one file that runs no code when it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gdfast.checkpoint import CheckpointError
from gdfast.checkpoint.plain import read_data, write_data
from gdfast.cli.errors import UserError
from gdfast.cli.guess import check_about
from gdfast.cli.settings import PARAMETERS, Settings
from gdfast.sklearn import LOSSES
from gdfast.sklearn._losses import check_loss_parameters
from gdfast.tables.csv_files import Reading
from gdfast.tables.encoding import Encoder
from gdfast.tables.errors import listed, raise_all
from gdfast.tables.missing import POLICIES, apply_missing_policy
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

KIND = "model of gdfast train"
FILE = "model.safetensors"
#: increased by one when an older version of gdfast could misread the model
VERSION = 1
#: of what is said about a file
LONGEST = 300
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
    decimal : {None, ".", ","}
        The decimal sign of the file that it was trained on, where that showed it.
    """

    encoder: Encoder
    estimator: Any
    target: str
    missing: str = "error"
    about: dict[str, Any] = field(default_factory=dict)
    decimal: str | None = None

    @property
    def classifies(self) -> bool:
        """Whether it predicts classes."""
        return hasattr(self.estimator, "classes_")

    def reading(self, classes: Array | None = None, **options: Any) -> Reading:
        """Return how a file is to be read, so that each column has the type of training.

        Parameters
        ----------
        classes : (classes,) array, optional
            Those of the target, where the estimator does not know them yet.
        **options
            How the file is written; see `Reading`.
        """
        found = self.encoder.reading(usual_decimal=self.decimal, **options)
        classes = self.estimator.classes_ if self.estimator is not None and self.classifies else classes
        if classes is not None and classes.dtype.kind == "U":
            return replace(found, words=[*found.words, self.target])
        return replace(found, numbers=[*found.numbers, self.target])

    def predict(self, table: Table, missing: str = "error", *, scores: bool = False) -> dict[str, Array]:
        """Return ``{"prediction": ...}`` and, where there are probabilities, ``"probability_<class>"``, all (rows,).

        With `scores`, other losses of classes have ``"score_<class>"``, of two classes that of the last.

        Raises
        ------
        UserError
            If the table lacks a column or values.
        """
        raise_all([said for name, said in table.problems.items() if name in self.encoder.names])
        matrix = self.encoder.encode(apply_missing_policy(table, self._there(table), missing, may_drop=False))
        try:
            return self.answers(matrix, scores=scores)
        except ValueError as error:
            raise UserError(" ".join(str(error).split())) from None

    def answers(self, matrix: Any, *, scores: bool = False) -> dict[str, Array]:
        """Return as `predict` what it says of rows that are encoded.

        Raises
        ------
        UserError
            If a number is not finite: values of the data, or the model's, are too large.
        """
        with np.errstate(all="ignore"):  # what overflows is refused below
            found = {"prediction": self.estimator.predict(matrix)}
            if self.classifies and hasattr(self.estimator, "predict_proba"):
                probabilities = self.estimator.predict_proba(matrix)
                found |= {f"probability_{c}": probabilities[:, i] for i, c in enumerate(self.estimator.classes_)}
            elif self.classifies and scores:
                each = self.estimator.decision_function(matrix).reshape(len(found["prediction"]), -1)
                names = self.estimator.classes_[-each.shape[1] :]
                found |= {f"score_{c}": each[:, i] for i, c in enumerate(names)}
        for name, column in found.items():
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                odd = column[~np.isfinite(column)]
                raise UserError(
                    f"{len(odd):,} of {len(column):,} rows get {odd[0]} as {name.partition('_')[0]}: values of the "
                    "data, or of the model, are too large"
                )
        return found

    def fitted(self) -> dict[str, Any]:
        """Return the fitted attributes that a prediction needs."""
        return {name: getattr(self.estimator, name) for name in PARTS[type(self.estimator).__name__][1]}

    def _there(self, table: Table) -> list[str]:
        return [name for name in self.encoder.names if name in table.columns and name not in self.encoder.hashed]

    def settings(self, chosen: Settings) -> Settings:
        """Return what was chosen, with the kind, layers and loss of this model, to train it further."""
        linear = hasattr(self.estimator, "coef_")
        task = "classification" if self.classifies else "regression"
        layers = "100" if linear else ",".join(str(len(b)) for b in self.estimator.intercepts_[:-1])
        loss = getattr(self.estimator, "loss", "auto")
        if chosen.target not in (None, self.target):
            raise UserError(f"--target must be that of the model, {self.target!r}; got {chosen.target!r}")
        if chosen.folds is not None:
            raise UserError("--folds and --continue exclude each other: each fold would have seen its rows before")
        kind = "linear" if linear else "mlp"
        usual = Settings()
        for option, given, own, default in (
            ("--task", chosen.task, task, usual.task),
            ("--model", chosen.model, kind, usual.model),
            ("--hidden", chosen.hidden.replace(" ", ""), layers, usual.hidden),
            ("--loss", chosen.loss, loss, usual.loss),
        ):
            if given not in (own, default):
                raise UserError(f"{option} must be that of the model, {own}; got {given!r}")
        for option, names, columns in (
            ("--text", chosen.text, self.encoder.texts),
            ("--category", chosen.category, self.encoder.categories),
        ):
            if other := next((name for name in names if name not in columns), None):
                raise UserError(f"{option} must be as in the model, {listed(columns) or 'none'}; got {other!r}")
        known = LOSSES[type(self.estimator).__name__].get(loss)
        if known is not None and known.parameter is not None and getattr(chosen, known.parameter.name) is None:
            chosen = replace(chosen, loss=loss, **{known.parameter.name: getattr(self.estimator, known.parameter.name)})
        return replace(chosen, target=self.target, task=task, model=kind, hidden=layers, loss=loss)

    def save(self, path: Path) -> None:
        """Write the file; an old one is replaced whole."""
        kind = type(self.estimator).__name__
        params, values = (*PARTS[kind][0], *_loss_parameters(kind)), self.fitted()
        if "classes_" in values:
            values["classes_"] = values["classes_"].tolist()
        data = {
            "version": VERSION,
            "estimator": kind,
            "params": {name: getattr(self.estimator, name) for name in params},
            "fitted": values,
            "columns": self.encoder.to_data(),
            "target": self.target,
            "missing": self.missing,
            "decimal": self.decimal,
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
        except UserError as error:
            raise UserError(f"{path} {_short(error)}") from None
        except LookupError as error:
            raise UserError(f"{path} holds no {KIND}: it lacks {_short(error)}") from None
        except (ArithmeticError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path} holds no {KIND}: {_short(error)}") from None

    @classmethod
    def _from_data(cls, data: Any) -> "Model":
        from gdfast import sklearn

        version = data.get("version", 1)
        if type(version) is not int or version != VERSION:
            raise UserError(f"is a model of version {version!r}, and this gdfast reads {VERSION}: update gdfast")
        params, fitted = PARTS[data["estimator"]]
        params = (*params, *(name for name in _loss_parameters(data["estimator"]) if name in data["params"]))
        if data["fitted"].keys() != {*fitted}:
            raise ValueError(f"{data['estimator']} must have {', '.join(fitted)}; got {', '.join(data['fitted'])}")
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
        about, decimal = data["about"], data.get("decimal")
        if not isinstance(about, dict) or decimal not in (None, ".", ","):
            raise TypeError(f"about must be a dict, and decimal a point, a comma or nothing; got {decimal!r}")
        check_about(about, getattr(estimator, "classes_", None))
        return cls(encoder, estimator, target, policy, about, decimal)


def _loss_parameters(estimator: str) -> tuple[str, ...]:
    """Return the parameters of an estimator's losses: to train it further, and not in models of earlier versions."""
    return PARAMETERS if estimator in ("GDRegressor", "MLPRegressor") else ()


def _short(error: Exception) -> str:
    """Return what is wrong in one line: what a file says instead of a number may be long."""
    said = " ".join(str(error).split())
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}..."


def _check(estimator: Any) -> None:
    """Check that a fitted estimator's numbers fit one another: who writes a file can write anything into it.

    Raises
    ------
    ValueError, TypeError
        Or others, where a number stands for an array.
    """
    classes, outputs = getattr(estimator, "classes_", None), 1
    losses = LOSSES[type(estimator).__name__]
    loss = getattr(estimator, "loss", next(iter(losses)))
    if not isinstance(loss, str) or loss not in losses:
        raise ValueError(f"loss must be one of {', '.join(losses)}; got {loss!r}")
    if classes is None:
        check_loss_parameters(estimator, losses)
    else:
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
    if coef.dtype.kind != "f" or intercept.dtype.kind != "f":
        raise ValueError(f"coef_ and intercept_ must be floats; got {coef.dtype} and {intercept.dtype}")
    _check_finite("coef_ and intercept_", coef, intercept)


def _check_finite(names: str, *arrays: Array) -> None:
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError(f"{names} must be finite numbers")


def _check_network(estimator: Any, outputs: int) -> None:
    estimator.check_weights()
    _check_finite("coefs_ and intercepts_", *estimator.coefs_, *estimator.intercepts_)
    if estimator.n_layers_ != len(estimator.coefs_) + 1:
        raise ValueError(f"n_layers_ must be {len(estimator.coefs_) + 1}; got {estimator.n_layers_!r}")
    output = estimator.out_activation_
    known: tuple[str, ...] = ("identity", "exp")
    if hasattr(estimator, "classes_"):
        known = ("softmax",) if outputs > 1 else ("logistic",)
        if estimator._multilabel is not False:
            raise ValueError(f"_multilabel must be false; got {estimator._multilabel!r}")
    if len(estimator.intercepts_[-1]) != outputs or estimator.n_outputs_ != outputs or output not in known:
        raise ValueError(f"the outputs must be {outputs} of {known}; got {estimator.n_outputs_!r} of {output!r}")
