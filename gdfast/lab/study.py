"""Data to learn from, and the estimators of gdfast.sklearn that learn, a mini-batch at a time.

A step is one call of an estimator's `partial_fit` with the rows of one mini-batch; what is changed on the way is
changed in the estimator's own optimizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from gdfast.checkpoint.settings import to_data
from gdfast.lab import rules, tasks
from gdfast.lab.errors import LabError
from gdfast.lab.settings import MOST_CHANGES, MOST_STEPS, number
from gdfast.lab.texts import MESSAGES
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier

__all__ = ["CURVES", "TASKS", "Change", "Settings", "Study", "read", "write"]

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
    "lookahead_k",
)
MOST_POINTS = 400
MOST_BATCH, MOST_HIDDEN = 512, 64
FIELD = 48  # points each way of the map of probabilities
LINE = 65
SHOWN_DIGITS = 40
ALPHA = 1e-4
HELD = 0.3


@dataclass(frozen=True)
class Change:
    """A hyperparameter that is set before a step, counted from 0."""

    step: int
    name: str
    value: Any


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
    changes : tuple of Change
        What is changed on the way, in the order of the steps.
    """

    task: str
    points: tuple[tuple[float, float, int], ...]
    rule: str
    values: Mapping[str, Any]
    batch: int
    noise: float
    hidden: int
    seed: int
    changes: tuple[Change, ...]


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
    points = data.get("points") if data.get("points") is not None else tasks.first_points(task)
    if not isinstance(points, list) or len(points) > MOST_POINTS:
        raise LabError(f"points must be a list of at most {MOST_POINTS}")
    return Settings(
        task,
        tuple(map(_point, points)),
        rule,
        {name: _value(rule, name, value) for name, value in values.items()},
        int(number("batch", data.get("batch", 16), 1, MOST_BATCH)),
        number("noise", data.get("noise", 0.0), 0.0, 1.0),
        int(number("hidden", data.get("hidden", 32 if task == "digits" else 0), 0, MOST_HIDDEN)),
        int(number("seed", data.get("seed", 0), 0, 2**32 - 1)),
        _changes(rule, data.get("changes", [])),
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
        "changes": [[change.step, change.name, to_data(change.value)] for change in settings.changes],
    }


def _value(rule: str, name: str, data: Any) -> Any:
    if name in NOT_OFFERED:
        raise LabError(f"{name} is set by the estimator, not here")
    return rules.as_value(rule, name, data)


def _changes(rule: str, data: Any) -> tuple[Change, ...]:
    if not isinstance(data, list) or len(data) > MOST_CHANGES:
        raise LabError(f"changes must be a list of at most {MOST_CHANGES}")
    return tuple(sorted((_change(rule, one) for one in data), key=lambda change: change.step))


def _change(rule: str, data: Any) -> Change:
    if not isinstance(data, list) or len(data) != 3 or not isinstance(data[1], str):
        raise LabError(f"a change must be a step, a name and a value; got {data!r}")
    step, name, value = data
    value = _value(rule, name, value)
    if rules.specs(rule)[name].fixed:
        raise LabError(f"{rule}: {name} cannot change on the way")
    return Change(int(number("a change's step", step, 0, MOST_STEPS)), name, value)


def _point(data: Any) -> tuple[float, float, int]:
    if not isinstance(data, list) or len(data) != 3 or data[2] not in (0, 1):
        raise LabError(f"a point must be x, y and a class of 0 or 1; got {data!r}")
    return number("x", data[0], -1.0, 1.0), number("y", data[1], -1.0, 1.0), int(data[2])


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
    values : dict
        The hyperparameters that hold now.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.step_count = 0
        self.ended: str | None = None
        self._rng = np.random.default_rng(settings.seed)
        rows, targets = tasks.rows_of(settings.task, settings.points)
        order = self._rng.permutation(len(rows))
        kept = len(rows) - int(HELD * len(rows))
        self.X, self.y = rows[order[:kept]], targets[order[:kept]]
        self.held_X, self.held_y = rows[order[kept:]], targets[order[kept:]]
        if settings.noise:
            self.y = self._disturbed(self.y)
        if len(self.X) < 2 or (settings.task == "classes" and len(set(self.y.tolist())) < 2):
            raise LabError("there must be at least two points to learn from, and two classes where there are classes")
        self._left: Array = np.empty(0, int)
        self._classes = np.unique(targets)
        self._due = list(settings.changes)
        self.values = dict(settings.values)
        self.model = self._make()

    def advance(self, steps: int) -> list[list[float]]:
        """Learn from a number of mini-batches; return a row of `CURVES` after the last, none if it has ended."""
        for _ in range(steps):
            if self.ended is not None:
                break
            self._step()
        return [] if self.ended is not None or not self.step_count else [self.curves()]

    def change(self, name: str, data: Any) -> bool:
        """Set a hyperparameter before the next step.

        Returns
        -------
        bool
            Whether it holds from here on; otherwise it is settled when the estimator is made, and the study is to begin
            again with `with_value`.

        Raises
        ------
        LabError
            If there is no such hyperparameter, it cannot be this, or there were too many changes.
        """
        value = _value(self.settings.rule, name, data)
        if self.step_count == 0 or rules.specs(self.settings.rule)[name].fixed:
            return False
        made = Change(self.step_count, name, value)
        kept = tuple(old for old in self.settings.changes if (old.step, old.name) != (made.step, name))
        if len(kept) >= MOST_CHANGES or made.step > MOST_STEPS:
            raise LabError(f"a study remembers {MOST_CHANGES} changes in its first {MOST_STEPS:,} steps; start again")
        self.settings = replace(self.settings, changes=(*kept, made))
        self._due = [due for due in self._due if (due.step, due.name) != (made.step, name)]
        self._set(made)
        return True

    def with_value(self, name: str, data: Any) -> Settings:
        """Return the settings of the study from its start, the sliders as they stand and this one set."""
        value = _value(self.settings.rule, name, data)
        return replace(self.settings, values={**self.values, name: value}, changes=())

    def _set(self, change: Change) -> None:
        self.values = {**self.values, change.name: change.value}
        self.model.set_params(**optimizer_of(self.settings.rule, self.values))

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
            return {"words": tasks.vocabulary(), "messages": [[text, label] for text, label in MESSAGES]}
        if self.settings.task == "digits":
            images = np.round((self.held_X[:SHOWN_DIGITS] + tasks.digits()[2]) * 15).astype(int)
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

    def _disturbed(self, y: Array) -> Array:
        if self.settings.task == "line":
            return np.asarray(y + self.settings.noise * self._rng.standard_normal(len(y)))
        wrong = self._rng.random(len(y)) < self.settings.noise
        return np.where(wrong, self._rng.integers(0, int(y.max()) + 1, len(y)), y)

    def _make(self) -> Any:
        kind, arguments = estimator_of(self.settings, len(self.X))
        return kind(**arguments)

    def _step(self) -> None:
        if not len(self._left):
            self._left = self._rng.permutation(len(self.X))
        while self._due and self._due[0].step <= self.step_count:
            self._set(self._due.pop(0))
        rows, self._left = self._left[: self.settings.batch], self._left[self.settings.batch :]
        classes = {} if self.settings.task == "line" else {"classes": self._classes}
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


def optimizer_of(rule: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an estimator that say how it steps."""
    options = {name: value for name, value in values.items() if name != "lr"}
    return {"optimizer": (rules.RULES[rule], options), "lr": values.get("lr", rules.defaults(rule)["lr"])}


def estimator_of(settings: Settings, rows: int) -> tuple[type, dict[str, Any]]:
    """Return the class and the parameters of the estimator that learns from a number of rows."""
    arguments = {
        **optimizer_of(settings.rule, settings.values),
        "batch_size": min(settings.batch, rows),
        "alpha": ALPHA,
        "standardize": False,
        "random_state": settings.seed,
        "n_threads": 1,
    }
    if settings.task == "line":
        return GDRegressor, arguments
    if settings.task == "digits" or (settings.task == "classes" and settings.hidden):
        layers = (settings.hidden,) if settings.hidden else ()
        return MLPClassifier, {"hidden_layer_sizes": layers, "activation": "tanh", **arguments}
    return GDClassifier, arguments
