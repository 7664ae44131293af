"""How good a model is on rows that it has not seen: numbers, and the lines that show them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gdfast.cli.model import Model
from gdfast.tables.errors import counted, listed
from gdfast.tables.table import Table

Array = np.ndarray[Any, Any]

#: a confusion matrix of more classes would not fit
MOST_SHOWN = 15
#: the share by which an error has to be below that of a guess
LEAST_GAIN = 1e-4
#: an R2 or accuracy that makes one ask for the reason
SUSPICIOUS = 0.99


def scores(model: Model, table: Table, true: Array, weights: Array | None = None) -> dict[str, Any]:
    """Return the scores on rows, as plain data; see `compare`."""
    return compare(model, model.answers(model.encoder.encode(table), scores=True), true, weights)


def compare(model: Model, found: dict[str, Array], true: Array, weights: Array | None = None) -> dict[str, Any]:
    """Return the scores of predictions, and those of the simplest guess from the training rows ("guess").

    Of classes: accuracy, F1 (of the last class where there are two, else the mean over the classes that occur), ROC AUC
    (of three classes or more the mean of each against the rest), log loss where there are probabilities, precision and
    recall of each class, and the confusion matrix. Of numbers: R2, MAE and RMSE; the guess is the mean, for MAE the
    median.
    """
    predicted = found["prediction"]
    if not model.classifies:
        return _of_numbers(model, predicted, true, weights)
    from sklearn import metrics

    classes, rest = model.estimator.classes_, {"sample_weight": weights}
    known_rows, matrix = np.isin(true, classes), confusion(true, predicted, classes)
    others = len(np.unique(true[~known_rows]))  # classes that are never found
    occurring = np.isin(classes, np.concatenate([true, predicted.astype(classes.dtype)]))
    precision, recall, each, _ = metrics.precision_recall_fscore_support(
        true, predicted, labels=classes, zero_division=0.0, **rest
    )
    scores = {
        "accuracy": float(metrics.accuracy_score(true, predicted, **rest)),
        "balanced accuracy": float(recall.sum() / len(np.unique(true))),
        "f1": float(each[-1] if len(classes) == 2 else each.sum() / (occurring.sum() + others)),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "confusion matrix": matrix.tolist(),
    }
    if f"probability_{classes[0]}" in found:
        probabilities = np.column_stack([found[f"probability_{c}"] for c in classes])
        scores["log loss"] = _log_loss(true, probabilities, classes, weights)
    compared = classes if len(classes) > 2 else classes[1:]
    of = [found[name] for c in compared for name in (f"probability_{c}", f"score_{c}") if name in found]
    weighed = true if weights is None else true[weights > 0]
    if of and np.array_equal(np.unique(weighed), classes):
        areas = [metrics.roc_auc_score(true == c, each, **rest) for c, each in zip(compared, of, strict=True)]
        scores["roc auc"] = float(np.mean(areas))
    known = model.about.get("guess")
    shares = known["shares"] if known else matrix.sum(axis=1) / max(matrix.sum(), 1)
    usual = classes[shares.argmax()]
    right = metrics.accuracy_score(true, np.full(len(true), usual), **rest)
    scores["unknown"] = int((~known_rows).sum())
    scores["balanced"] = model.about.get("balanced") is True
    scores["guess"] = {"class": usual.item(), "accuracy": float(right), "balanced accuracy": 1 / len(np.unique(true))}
    if known:
        scores["guess"]["log loss"] = _log_loss(true, np.tile(shares, (len(true), 1)), classes, weights)
    return scores


def confusion(true: Array, predicted: Array, classes: Array) -> Array:
    """Return how many rows of each class are predicted as which, (classes, classes); rows of others are left out."""
    known, counts = np.isin(true, classes), np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (np.searchsorted(classes, true[known]), np.searchsorted(classes, predicted[known])), 1)
    return counts


def error_of(estimator: Any, matrix: Any, true: Array, weights: Array | None = None) -> tuple[str, float]:
    """Return how wrong an estimator is, after the name of the measure: log loss, share of wrong classes, or RMSE."""
    with np.errstate(all="ignore"):  # a training that diverges says so itself
        if not hasattr(estimator, "classes_"):
            squares = (estimator.predict(matrix) - true) ** 2
            return "RMSE", float(np.sqrt(np.average(squares, weights=weights)))
        if not hasattr(estimator, "predict_proba"):
            return "share of wrong classes", float(np.average(estimator.predict(matrix) != true, weights=weights))
        return "log loss", _log_loss(true, estimator.predict_proba(matrix), estimator.classes_, weights)


def _log_loss(true: Array, probabilities: Array, classes: Array, weights: Array | None) -> float:
    """Return the mean of -log(probability of the true class), which is 0 for a class that the model does not know.

    No probability is taken for less than the rounding error.
    """
    number = np.minimum(np.searchsorted(classes, true), len(classes) - 1)
    of_true = np.where(classes[number] == true, probabilities[np.arange(len(true)), number], 0.0)
    return float(np.average(-np.log(np.maximum(of_true, np.finfo(np.float64).eps)), weights=weights))


def _of_numbers(model: Model, predicted: Array, true: Array, weights: Array | None) -> dict[str, Any]:
    guess = model.about.get("guess") or {"mean": float(np.mean(true)), "median": float(np.median(true))}
    mean, median = np.full(len(true), guess["mean"]), np.full(len(true), guess["median"])
    found = _errors(true, predicted, weights)
    found["guess"] = {**_errors(true, mean, weights), "mae": _errors(true, median, weights)["mae"]}
    if model.estimator.loss == "quantile":
        from sklearn.metrics import mean_pinball_loss

        share = model.estimator.quantile
        for scores, said in ((found, predicted), (found["guess"], np.full(len(true), np.quantile(true, share)))):
            scores["pinball loss"] = float(mean_pinball_loss(true, said, alpha=share, sample_weight=weights))
    return found


def _errors(true: Array, predicted: Array, weights: Array | None) -> dict[str, Any]:
    from sklearn import metrics

    with np.errstate(all="ignore"):  # an error too large to square is infinite
        return {
            "r2": float(metrics.r2_score(true, predicted, sample_weight=weights)) if len(true) > 1 else float("nan"),
            "mae": float(metrics.mean_absolute_error(true, predicted, sample_weight=weights)),
            "rmse": float(metrics.root_mean_squared_error(true, predicted, sample_weight=weights)),
        }


def verdict(found: dict[str, Any]) -> str | None:
    """Return the sentence that says in what a model is no better than the simplest guess; None if it is better.

    Of a quantile it has to have a smaller pinball loss than the quantile of the rows. Of other numbers it has to have a
    smaller squared error (R2) and a smaller absolute one (MAE). Of classes it has to be
    right more often and, where there are probabilities, have a smaller log loss; where all classes count alike, it has
    to find more of each on average. What would not show in four digits is no difference.
    """
    guess = found["guess"]
    better = {
        name: bool(found[name] < guess[name] * (1 - LEAST_GAIN))
        for name in ("rmse", "mae", "log loss")
        if name in found and name in guess
    }
    if "pinball loss" in found:
        if found["pinball loss"] < guess["pinball loss"] * (1 - LEAST_GAIN):
            return None
        return "No better than always saying the quantile of the rows that are scored."
    if "r2" in found:
        if not any(better.values()):
            return "No better than always saying the mean of the training rows."
        if not better["rmse"]:
            return "By R2 no better than always saying the mean of the training rows; only by MAE."
        return None if better["mae"] else "By MAE no better than always saying the median of the training rows."
    if found.get("balanced"):
        found_more = found["balanced accuracy"] > guess["balanced accuracy"] + LEAST_GAIN
        return None if found_more else "No better than a guess: it finds no more of each class on average."
    usual = f"always saying {guess['class']!r}, the most frequent class of the training rows"
    if found["accuracy"] > min(guess["accuracy"], 1 - LEAST_GAIN):  # always right is good, also if a guess would be
        worse = (
            "Right more often than a guess, but its probabilities are no better than always saying the classes' shares."
        )
        return None if better.get("log loss", True) else worse
    if better.get("log loss"):
        return f"Right no more often than {usual}; only its probabilities are better."
    return f"No better than {usual}."


def leak_of(found: dict[str, Any], target: str, columns: Mapping[str, Array], y: Array) -> str | None:
    """Return the sentence that names the columns from which the target can be computed, or nearly.

    Where one bound divides two classes, these are named whatever the scores; others only if the scores are near to
    perfect.
    """
    from gdfast.tables.leaks import determining, dividing

    perfect = found.get("r2", found.get("accuracy", 0.0)) >= SUSPICIOUS
    shares = {} if "r2" in found else dividing(columns, y)
    names = determining(columns, y, "r2" not in found) if perfect else []
    names = [name for name in columns if name in names or shares.get(name) == 1.0]
    names, how = (names, "computed") if names else (list(shares), "told")
    if not names:
        return None
    alone = "alone" if len(names) == 1 else "each alone"
    if how == "told":
        alone += f", for {np.floor(100 * min(shares.values())):.0f} % of the rows of each class"
    return (
        f"{target!r} can be {how} from {listed(map(repr, names), 3)}, {alone}: if that is not known beforehand "
        f"(leakage), --drop {names[0]!r}"
    )


def lines(model: Model, found: dict[str, Any]) -> list[str]:
    """Return the report on held-out rows, line by line."""
    warning = [_line("beware", said) for said in (verdict(found), found.get("leak")) if said]
    guess = found["guess"]
    if not model.classifies:
        return [
            _line("R2", f"{found['r2']:.4f}  (always the mean: {guess['r2']:.4f})"),
            _line("MAE", f"{found['mae']:.4g}  (always the median: {guess['mae']:.4g})"),
            _line("RMSE", f"{found['rmse']:.4g}  (always the mean: {guess['rmse']:.4g})"),
            *_pinball(found),
            *warning,
        ]
    classes = [str(label) for label in model.estimator.classes_.tolist()]
    matrix = np.array(found["confusion matrix"])
    of = f"of class {classes[-1]}" if len(classes) == 2 else f"mean of {len(classes)} classes"
    shown = [
        _line("accuracy", f"{found['accuracy']:.4f}  (always the most frequent class: {guess['accuracy']:.4f})"),
        _line("F1", f"{found['f1']:.4f}  ({of})"),
    ]
    if found.get("balanced"):
        value = f"{found['balanced accuracy']:.4f}  (a guess: {guess['balanced accuracy']:.4f})"
        shown.append(_line("mean recall", value))
    if "roc auc" in found:
        shown.append(_line("ROC AUC", f"{found['roc auc']:.4f}"))
    if "log loss" in found:
        shares = f"  (always the classes' shares: {guess['log loss']:.4f})" if "log loss" in guess else ""
        shown.append(_line("log loss", f"{found['log loss']:.4f}{shares}"))
    if found.get("unknown"):
        are = "is" if found["unknown"] == 1 else "are"
        said = f"{counted(found['unknown'], 'row')} {are} of classes without a row in the training: always wrong."
        shown.append(_line("", said))
    if len(classes) > MOST_SHOWN:
        return [*shown, _line("", f"{len(classes)} classes are too many to list them here."), *warning]
    return [*shown, *_each(classes, found), *_confusion(classes, matrix), *warning]


def _pinball(found: dict[str, Any]) -> list[str]:
    if "pinball loss" not in found:
        return []
    loss, guess = found["pinball loss"], found["guess"]["pinball loss"]
    return [_line("pinball loss", f"{loss:.4g}  (always the quantile of these rows: {guess:.4g})")]


def _short(classes: list[str]) -> list[str]:
    return [name if len(name) <= 12 else name[:11] + "~" for name in classes]


def _each(classes: list[str], found: dict[str, Any]) -> list[str]:
    names = _short(classes)
    left = max(len("class"), *(len(name) for name in names))
    rows = [
        f"  {name:>{left}} {precision:>9.4f} {recall:>9.4f}"
        for name, precision, recall in zip(names, found["precision"], found["recall"], strict=True)
    ]
    return [f"  {'class':>{left}} {'precision':>9} {'recall':>9}", *rows]


def _confusion(classes: list[str], matrix: Array) -> list[str]:
    names = _short(classes)
    width = max(5, *(len(name) for name in names), len(str(matrix.max())))
    left = max(len("true"), *(len(name) for name in names))
    head = "".join(f" {name:>{width}}" for name in names)
    rows = [
        f"  {name:>{left}}{''.join(f' {count:>{width}}' for count in row)}"
        for name, row in zip(names, matrix, strict=True)
    ]
    return ["confusion matrix, predicted in columns", f"  {'true':>{left}}{head}", *rows]


def importance_lines(measured: str, found: list[Any]) -> list[str]:
    """Return the lines on what matters most."""
    if not found:
        return []
    width = max(len(name) for name, _ in found)
    return [_line("matters most", measured), *(f"  {name:<{width}}  {value:.4g}" for name, value in found)]


def fold_lines(found: list[dict[str, Any]]) -> list[str]:
    """Return mean and deviation over folds of each score that is one number."""
    names = {
        "accuracy": "accuracy",
        "balanced accuracy": "mean recall",
        "f1": "F1",
        "roc auc": "ROC AUC",
        "log loss": "log loss",
    }
    names |= {"r2": "R2", "mae": "MAE", "rmse": "RMSE"}
    shown = []
    for name, label in names.items():
        values = [scores[name] for scores in found if name in scores]
        if len(values) == len(found):
            guesses = [scores["guess"][name] for scores in found if name in scores["guess"]]
            guess = f"  (simplest guess: {np.mean(guesses):.4g})" if guesses else ""
            shown.append(_line(label, f"{np.mean(values):.4g} +- {np.std(values):.2g}{guess}"))
    said = [verdict(scores) for scores in found]
    bad = sum(sentence is not None for sentence in said)
    shown += [_line("beware", f"No better than the simplest guess in {bad} of {len(found)} folds.")] * (bad > 0)
    return shown + [
        _line("beware", said) for said in sorted({scores["leak"] for scores in found if scores.get("leak")})
    ]


def _line(name: str, value: str) -> str:
    return f"{name:<15}{value}"
