"""Data to learn from, and the estimators of gdfast.sklearn that learn, a mini-batch at a time.

A step is one call of an estimator's `partial_fit` with the rows of one mini-batch; what is changed on the way is
changed in the estimator's own optimizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from gdfast.checkpoint.settings import to_data
from gdfast.lab import rules
from gdfast.lab.errors import LabError
from gdfast.lab.settings import number
from gdfast.lab.texts import MESSAGES
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier

__all__ = ["CURVES", "TASKS", "Settings", "Study", "read", "write"]

Array: TypeAlias = np.ndarray[Any, Any]

TASKS: Mapping[str, str] = {
    "line": "A line through points: regression with GDRegressor. Click to add points.",
    "classes": "Two classes of points: logistic regression with GDClassifier, or a network with MLPClassifier where "
    "there are hidden units. Click to add points.",
    "words": "Messages, wanted or not: GDClassifier over the words that they contain. A bar is the weight of a word.",
    "digits": "Handwritten digits: a small network, MLPClassifier, and held-out images as it reads them.",
}
#: What a row of the curves says.
CURVES = ("step", "loss", "held_loss", "held_score", "lr")
#: What the estimators set themselves, by their penalty.
NOT_OFFERED = (
    "weight_decay",
    "l1",
    "maximize",
    "centralize",
    "clip_adaptive",
    "ema_decay",
    "dtype",
    "rounding",
    "state_dtype",
)
MOST_POINTS = 400
MOST_BATCH, MOST_HIDDEN = 512, 64
FIELD = 48  # points each way of the map of probabilities
LINE = 65
SHOWN_DIGITS = 40
ALPHA = 1e-4
HELD = 0.3


@dataclass(frozen=True)
class Settings:
    """What is learned, by whom, from how many rows at a time.

    Attributes
    ----------
    task : str
        A key of `TASKS`.
    points : tuple of (x, y, class)
        In [-1, 1]; for "line" and "classes".
    rule, values
        The optimizer and its hyperparameters.
    batch : int
        Rows of a mini-batch.
    noise : float
        Added to the targets of a line, as a deviation; for classes the share of labels that are wrong.
    hidden : int
        Units of the hidden layer; 0 for a linear model.
    seed : int
        Of the order of the rows, the noise, the held-out rows and the first weights.
    """

    task: str
    points: tuple[tuple[float, float, int], ...]
    rule: str
    values: Mapping[str, Any]
    batch: int
    noise: float
    hidden: int
    seed: int


def read(data: Any) -> Settings:
    """Return the settings that JSON data says.

    Raises
    ------
    LabError
        Naming what is wrong in it.
    """
    if not isinstance(data, dict):
        raise LabError(f"a study must be an object with its task; got {type(data).__name__}")
    task, rule, values = data.get("task"), data.get("rule", "Adam"), data.get("values", {"lr": 0.05})
    if not isinstance(task, str) or task not in TASKS:
        raise LabError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    if not isinstance(rule, str) or rule not in rules.RULES or rule == "Muon":
        raise LabError(f"rule must be an optimizer of gdfast for all arrays; got {rule!r}")
    if not isinstance(values, dict):
        raise LabError(f"values must be an object; got {values!r}")
    for name in values:
        if name in NOT_OFFERED:
            raise LabError(f"{name} is set by the estimator, not here")
    points = data.get("points") if data.get("points") is not None else first_points(task)
    if not isinstance(points, list) or len(points) > MOST_POINTS:
        raise LabError(f"points must be a list of at most {MOST_POINTS}")
    return Settings(
        task,
        tuple(map(_point, points)),
        rule,
        {name: rules.as_value(rule, name, value) for name, value in values.items()},
        int(number("batch", data.get("batch", 16), 1, MOST_BATCH)),
        number("noise", data.get("noise", 0.0), 0.0, 1.0),
        int(number("hidden", data.get("hidden", 32 if task == "digits" else 0), 0, MOST_HIDDEN)),
        int(number("seed", data.get("seed", 0), 0, 2**32 - 1)),
    )


def write(settings: Settings) -> dict[str, Any]:
    """Return settings as JSON data, from which `read` makes the same."""
    return {
        "task": settings.task,
        "points": [list(point) for point in settings.points],
        "rule": settings.rule,
        "values": {name: to_data(value) for name, value in settings.values.items()},
        "batch": settings.batch,
        "noise": settings.noise,
        "hidden": settings.hidden,
        "seed": settings.seed,
    }


def _point(data: Any) -> tuple[float, float, int]:
    if not isinstance(data, list) or len(data) != 3 or data[2] not in (0, 1):
        raise LabError(f"a point must be x, y and a class of 0 or 1; got {data!r}")
    return number("x", data[0], -1.0, 1.0), number("y", data[1], -1.0, 1.0), int(data[2])


def first_points(task: str) -> list[list[float]]:
    """Return points to begin with."""
    rng = np.random.default_rng(5)
    if task == "line":
        x = rng.uniform(-0.9, 0.9, 36)
        y = 0.6 * x - 0.15 + 0.1 * rng.standard_normal(36)
        return [[*pair, 0] for pair in np.round(np.clip(np.column_stack([x, y]), -1, 1), 3).tolist()]
    if task == "classes":
        angle = rng.uniform(0.0, np.pi, 80)
        label = np.arange(80) % 2
        x = np.where(label, 0.28 - 0.55 * np.cos(angle), 0.55 * np.cos(angle) - 0.28) + 0.06 * rng.standard_normal(80)
        y = np.where(label, 0.22 - 0.6 * np.sin(angle), 0.6 * np.sin(angle) - 0.22) + 0.06 * rng.standard_normal(80)
        rounded = np.round(np.clip(np.column_stack([x, y]), -1, 1), 3).tolist()
        return [[*pair, int(one)] for pair, one in zip(rounded, label, strict=True)]
    return []


class Study:
    """An estimator in training.

    Parameters
    ----------
    settings : Settings

    Attributes
    ----------
    step_count : int
        Mini-batches so far.
    ended : str or None
        Why it goes no further, in words.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.step_count = 0
        self.ended: str | None = None
        self._rng = np.random.default_rng(settings.seed)
        rows, targets = rows_of(settings)
        order = self._rng.permutation(len(rows))
        kept = len(rows) - int(HELD * len(rows))
        self.X, self.y = rows[order[:kept]], targets[order[:kept]]
        self.held_X, self.held_y = rows[order[kept:]], targets[order[kept:]]
        if settings.noise:
            self.y = self._disturbed(self.y)
        if len(self.X) < 2 or (settings.task == "classes" and len(set(self.y.tolist())) < 2):
            raise LabError("there must be at least two points to learn from, and two classes where there are classes")
        self._left: Array = np.empty(0, int)
        self._values = dict(settings.values)  # that hold now: what is fixed waits for a new beginning
        self.model = self._make()

    def advance(self, steps: int) -> list[list[float]]:
        """Learn from a number of mini-batches; return a row of `CURVES` after the last, none if it has ended."""
        for _ in range(steps):
            if self.ended is not None:
                break
            self._step()
        return [] if self.ended is not None or not self.step_count else [self.curves()]

    def change(self, name: str, data: Any) -> bool:
        """Set a hyperparameter; return whether it holds from the next step on, or the study is to begin again."""
        value = self._value(name, data)
        self.settings = replace(self.settings, values={**self.settings.values, name: value})
        if self.step_count == 0 or rules.specs(self.settings.rule)[name].fixed:
            return False
        self._values = {**self._values, name: value}
        self.model.set_params(**self._optimizer())
        return True

    def curves(self) -> list[float]:
        """Return the numbers of `CURVES`."""
        loss = float(self.model.loss_curve_[-1])
        held = (np.nan, np.nan) if not len(self.held_X) else self._held()
        lr = self._groups()[0]["lr"]
        return [self.step_count, loss, *held, float(lr(self.step_count) if callable(lr) else lr)]

    def view(self) -> Array:
        """Return what is drawn of the model: a line's values, a map of probabilities, weights, or read digits."""
        with np.errstate(all="ignore"):
            return self._view().ravel().astype(np.float32)

    def _view(self) -> Array:
        if self.settings.task == "line":
            across = np.linspace(-1.0, 1.0, LINE)[:, None]
            return np.asarray(self.model.predict(across))
        if self.settings.task == "classes":
            x, y = np.meshgrid(np.linspace(-1, 1, FIELD), np.linspace(-1, 1, FIELD))
            return np.asarray(self.model.predict_proba(np.column_stack([x.ravel(), y.ravel()]))[:, 1])
        if self.settings.task == "words":
            return np.asarray(self.model.coef_)
        shown = self.model.predict_proba(self.held_X[:SHOWN_DIGITS])
        return np.column_stack([self.held_y[:SHOWN_DIGITS], shown.argmax(1), shown.max(1)])

    def still(self) -> dict[str, Any]:
        """Return what of the data the page draws and does not change, as JSON data."""
        if self.settings.task == "words":
            return {"words": vocabulary(), "messages": [[text, label] for text, label in MESSAGES]}
        if self.settings.task == "digits":
            images = np.round((self.held_X[:SHOWN_DIGITS] + _digits()[2]) * 15).astype(int)
            return {"images": images.tolist()}
        return {}

    def find(self) -> dict[str, Any]:
        """Return a sweep of the learning-rate finder over the rows that are trained on, as JSON data.

        Raises
        ------
        LabError
            If the estimator cannot make one.
        """
        try:
            found = self._make().lr_find(self.X, self.y)
        except ValueError as error:
            raise LabError(str(error)) from None
        seen = np.isfinite(found.smoothed)
        return {
            "lrs": found.lrs[seen].tolist(),
            "losses": found.smoothed[seen].tolist(),
            "suggestions": dict(found.suggestions),
        }

    def _value(self, name: str, data: Any) -> Any:
        if name in NOT_OFFERED:
            raise LabError(f"{name} is set by the estimator, not here")
        return rules.as_value(self.settings.rule, name, data)

    def _disturbed(self, y: Array) -> Array:
        if self.settings.task == "line":
            return np.asarray(y + self.settings.noise * self._rng.standard_normal(len(y)))
        wrong = self._rng.random(len(y)) < self.settings.noise
        return np.where(wrong, self._rng.integers(0, int(y.max()) + 1, len(y)), y)

    def _optimizer(self) -> dict[str, Any]:
        """Return the estimator's parameters that say how it steps."""
        rule, options = self.settings.rule, {name: value for name, value in self._values.items() if name != "lr"}
        return {"optimizer": (rules.RULES[rule], options), "lr": self._values.get("lr", rules.defaults(rule)["lr"])}

    def _make(self) -> Any:
        chosen = self.settings
        common = {
            **self._optimizer(),
            "batch_size": min(chosen.batch, len(self.X)),
            "alpha": ALPHA,
            "standardize": False,
            "random_state": chosen.seed,
            "n_threads": 1,
        }
        if chosen.task == "line":
            return GDRegressor(**common)
        if chosen.task == "digits" or (chosen.task == "classes" and chosen.hidden):
            return MLPClassifier((chosen.hidden,) if chosen.hidden else (), activation="tanh", **common)
        return GDClassifier(**common)

    def _step(self) -> None:
        if not len(self._left):
            self._left = self._rng.permutation(len(self.X))
        rows, self._left = self._left[: self.settings.batch], self._left[self.settings.batch :]
        classes = {} if self.settings.task == "line" else {"classes": np.unique(rows_of(self.settings)[1])}
        try:
            with np.errstate(all="ignore"):
                self.model.partial_fit(self.X[rows], self.y[rows], **classes)
        except (TypeError, ValueError) as error:
            self.ended = f"{self.settings.rule}, step {self.step_count + 1}: {error}"
            return
        self.step_count += 1

    def _groups(self) -> Any:
        """Return the groups of the estimator's own optimizer."""
        if isinstance(self.model, MLPClassifier):
            return self.model._trainer.optimizer.param_groups
        return self.model._optimizer_state["param_groups"]

    def _held(self) -> tuple[float, float]:
        """Return the loss of the held-out rows, and R² or the share that is right."""
        with np.errstate(all="ignore"):
            if self.settings.task == "line":
                errors = np.square(self.model.predict(self.held_X) - self.held_y)
                return float(errors.mean() / 2), float(1.0 - errors.mean() / np.var(self.held_y))
            shares = self.model.predict_proba(self.held_X)
            places = np.searchsorted(self.model.classes_, self.held_y)
            right = np.maximum(shares[np.arange(len(places)), places], 1e-300)
            return float(-np.log(right).mean()), float(np.mean(shares.argmax(1) == places))


def rows_of(settings: Settings) -> tuple[Array, Array]:
    """Return the rows and their targets."""
    if settings.task in ("line", "classes"):
        points = np.array(settings.points, float).reshape(-1, 3)
        return (points[:, :1], points[:, 1]) if settings.task == "line" else (points[:, :2], points[:, 2].astype(int))
    if settings.task == "words":
        return _messages()
    images, labels, _ = _digits()
    return images, labels


@cache
def vocabulary() -> list[str]:
    """Return the words of the messages that more than one of them has."""
    words = [word for text, _ in MESSAGES for word in set(text.split())]
    return sorted(word for word in set(words) if words.count(word) > 1)


@cache
def _messages() -> tuple[Array, Array]:
    known = vocabulary()
    rows = [[float(word in text.split()) for word in known] for text, _ in MESSAGES]
    return np.array(rows), np.array([label for _, label in MESSAGES])


@cache
def _digits() -> tuple[Array, Array, Array]:
    """Return every third image, its digit, and the mean image."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.data[::3] / 16
    mean = images.mean(0)
    return images - mean, digits.target[::3], mean
