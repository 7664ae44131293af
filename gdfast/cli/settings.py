"""What can be chosen for a training, checked; and the estimator that it makes."""

import ast
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from gdfast import optimizers
from gdfast.cli.errors import UserError
from gdfast.cli.schedules import SCHEDULES
from gdfast.sklearn import LOSSES
from gdfast.sklearn._losses import Loss
from gdfast.stepping.base import Optimizer
from gdfast.tables.csv_files import Reading
from gdfast.tables.missing import POLICIES

TASKS = ("auto", "classification", "regression")
MODELS = ("linear", "mlp")
PENALTIES = ("l2", "l1", "elasticnet", "none")
STATISTICS = ("first", "all")
ANALYZERS = ("char", "word")
ESTIMATORS = {
    ("linear", "classification"): "GDClassifier",
    ("linear", "regression"): "GDRegressor",
    ("mlp", "classification"): "MLPClassifier",
    ("mlp", "regression"): "MLPRegressor",
}
#: what some losses of numbers take
PARAMETERS = ("epsilon", "quantile", "power")
#: with texts the penalty is this over the number of rows: their rows have length 1, and need large coefficients
TEXT_ALPHA = 0.01


@dataclass(frozen=True)
class Shape:
    """The data that an estimator's parameters depend on: rows to train on, coefficients of all outputs, the matrix."""

    rows: int
    coefficients: int
    sparse: bool = False
    texts: bool = False


@dataclass(frozen=True)
class Settings:
    """The choices of one training; as the options of ``gdfast train``.

    Raises
    ------
    UserError
        Naming the option, what was expected and what came.
    """

    target: str | None = None
    text: Sequence[str] = ()
    category: Sequence[str] = ()
    number: Sequence[str] = ()
    drop: Sequence[str] = ()
    keep: Sequence[str] = ()
    missing: str = "error"
    missing_target: str | None = None
    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    comment: str | None = None
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    valid: str | None = None
    folds: int | None = None
    task: str = "auto"
    model: str = "linear"
    hidden: str = "100"
    loss: str = "auto"
    epsilon: float | None = None
    quantile: float | None = None
    power: float | None = None
    penalty: str = "l2"
    alpha: str = "auto"
    balanced: bool = False
    analyzer: str = "char"
    optimizer: str = "auto"
    lr: str = "auto"
    schedule: str = "auto"
    warmup: float = 0.0
    epochs: int | None = None
    batch_size: int | None = None
    early_stopping: bool = False
    test_size: float = 0.2
    seed: int = 0
    threads: int | None = None
    quiet: bool = False
    stream: bool = False
    hash_bits: int | None = None
    statistics: str = "first"

    def __post_init__(self) -> None:
        _check_one_of("--task", self.task, TASKS)
        _check_one_of("--model", self.model, MODELS)
        _check_one_of("--missing", self.missing, POLICIES)
        if self.missing_target is not None:
            _check_one_of("--missing-target", self.missing_target, ("error", "drop"))
        _check_one_of("--statistics", self.statistics, STATISTICS)
        _check_one_of("--penalty", self.penalty, PENALTIES)
        _check_one_of("--analyzer", self.analyzer, ANALYZERS)
        _check_one_of("--schedule", self.schedule, ("auto", *SCHEDULES))
        if self.lr not in ("auto", "find"):
            _positive("--lr", self.lr, "auto, find, or a number above 0")
        if self.alpha != "auto":
            _positive("--alpha", self.alpha, "auto, or a number of at least 0", zero=True)
        _check(0.0 <= self.warmup < 1.0, "--warmup", "a share of the steps, from 0 to below 1", self.warmup)
        _check(
            self.epochs is None or 1 <= self.epochs < 2**31,
            "--epochs",
            "a whole number from 1 to below 2**31",
            self.epochs,
        )
        _check(
            self.batch_size is None or self.batch_size >= 1, "--batch-size", "a whole number from 1 on", self.batch_size
        )
        _check(0.0 <= self.test_size < 1.0, "--test-size", "a share of the rows, from 0 to below 1", self.test_size)
        _check(0 <= self.seed < 2**32, "--seed", "a whole number from 0 to below 2**32", self.seed)
        _check(
            self.threads != 0, "--threads", "a whole number but not 0 (-1 is all CPUs, -2 all but one)", self.threads
        )
        _check(
            self.model == "linear" or self.penalty in ("l2", "none"), "--penalty", "l2 or none for mlp", self.penalty
        )
        _check(4 <= self.bits <= 30, "--hash-bits", "a whole number from 4 to 30", self.hash_bits)
        _check(self.stream or self.hash_bits is None, "--hash-bits", "with --stream", self.hash_bits)
        _check(self.stream or self.statistics == "first", "--statistics", "with --stream", self.statistics)
        _check(self.folds is None or self.folds >= 2, "--folds", "a whole number from 2 on", self.folds)
        for one, other in (("valid", "folds"), ("valid", "group"), ("valid", "time"), ("group", "time")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise UserError(f"--{one} and --{other} both say which rows are held out: give one of them")
        kinds = (self.text, self.category, self.number)
        several = {name for kind in kinds for name in kind if sum(name in other for other in kinds) > 1}
        for name in sorted(several | {*self.drop} & {*self.text, *self.category, *self.number, *self.keep}):
            raise UserError(
                f"column {name!r} must have one of --text, --category, --number, --keep and --drop; got several"
            )
        self.reading()
        self.layers()
        self.loss_parameters()
        self.optimizer_choice()

    @property
    def bits(self) -> int:
        """The bits of the hashes of categories: a network has weights for all of its inputs, and so fewer of these."""
        usual = 20 if self.model == "linear" else 14
        return usual if self.hash_bits is None else self.hash_bits

    def loss_parameters(self) -> dict[str, float]:
        """Return the loss's own parameter, where it was chosen."""
        loss = LOSSES["GDRegressor"].get(self.loss)
        found = {}
        for name in PARAMETERS:
            if (value := getattr(self, name)) is None:
                continue
            losses = [other for other, known in LOSSES["GDRegressor"].items() if _takes(known, name)]
            _check(loss is not None and _takes(loss, name), f"--{name}", f"with --loss {', '.join(losses)}", self.loss)
            assert loss is not None
            assert loss.parameter is not None
            try:
                found[name] = loss.parameter.check(value)
            except ValueError as error:
                raise UserError(f"--{error}") from None
        return found

    def file_options(self) -> dict[str, Any]:
        """Return how the file is written, as far as the user says."""
        return {"sep": self.sep, "decimal": self.decimal, "encoding": self.encoding, "comment": self.comment}

    def reading(self) -> Reading:
        """Return how the data is to be read."""
        numbers = [*self.number, *([self.target] if self.target and self.task == "regression" else [])]
        numbers += [self.weight] if self.weight else []
        return Reading(texts=self.text, categories=self.category, numbers=numbers, **self.file_options())

    def columns(self) -> dict[str, Sequence[str]]:
        """Return the columns that options name, by option."""
        found = {f"--{name}": getattr(self, name) for name in ("text", "category", "number", "drop", "keep")}
        aside = {f"--{name}": getattr(self, name) for name in ("weight", "group", "time")}
        return found | {option: [name] for option, name in aside.items() if name is not None}

    def layers(self) -> tuple[int, ...]:
        """Return the units of each hidden layer."""
        try:
            sizes = tuple(int(part) for part in self.hidden.split(","))
        except ValueError:
            sizes = (0,)
        _check(min(sizes) >= 1, "--hidden", "the units of each hidden layer, such as 100 or 256,128", self.hidden)
        return sizes

    def optimizer_choice(self) -> tuple[type[Optimizer], dict[str, Any]] | None:
        """Return the optimizer's class and options: ``sgd:momentum=0.9,nesterov=True``; None: the estimator's own."""
        if self.optimizer == "auto":
            return None
        name, _, rest = self.optimizer.partition(":")
        names = optimizers.by_name()
        _check(name in names, "--optimizer", f"one of auto, {', '.join(names)}", self.optimizer)
        try:
            call = ast.parse(f"f({rest})", mode="eval").body
            assert isinstance(call, ast.Call)
            assert not call.args
            options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        except (ValueError, SyntaxError, AssertionError):
            options = {"": None}
        known = inspect.signature(names[name]).parameters.keys() - {"params", "lr", "n_threads", "common"}
        if options.keys() - known:
            expected = f"{name}, or {name}:OPTION=VALUE,... with options of {', '.join(sorted(known))}"
            raise UserError(f"--optimizer must be {expected}; got {self.optimizer!r}")
        return names[name], options

    def loss_for(self, task: str) -> str:
        """Return the loss: the one chosen, if the model has it, or its first."""
        losses = tuple(LOSSES[ESTIMATORS[self.model, task]])
        if self.loss != "auto":
            _check(self.loss in losses, "--loss", f"one of {', '.join(losses)} for {self.model} {task}", self.loss)
        return losses[0] if self.loss == "auto" else self.loss

    def estimator(self, task: str, shape: Shape, lr: float | None = None) -> Any:
        """Return the estimator.

        Parameters
        ----------
        task : str
            "classification" or "regression".
        shape : Shape
            Of the data to train on, the rows of early stopping among them.
        lr : float, optional
            The learning rate that was found, for ``--lr find``.
        """
        from gdfast import sklearn

        linear, classify = self.model == "linear", task == "classification"
        options = self.parameters(task)
        if shape.texts and classify:  # a regression needs its targets standardised
            options["standardize"] = False
            if linear and self.alpha == "auto":
                options["alpha"] = TEXT_ALPHA / shape.rows
        if classify and self.balanced:
            options["class_weight"] = "balanced"
        schedule = self.schedule if self.schedule != "auto" else "cosine" if linear else "constant"
        options |= {"tol": None} if schedule != "constant" else {}  # it is run to its end
        estimator = getattr(sklearn, ESTIMATORS[self.model, task])(**options, early_stopping=self.early_stopping)
        if self.lr != "auto" or self.schedule != "auto" or self.warmup:
            estimator.set_params(lr=self._lr(estimator, shape, schedule, lr))
        return estimator

    def parameters(self, task: str) -> dict[str, Any]:
        """Return the estimator's parameters that do not depend on the data."""
        options: dict[str, Any] = {
            "batch_size": self.batch_size or "auto",
            "random_state": self.seed,
            "n_threads": self.threads,
            "verbose": not self.quiet and _shows_progress(),
        }
        if (chosen := self.optimizer_choice()) is not None:
            options["optimizer"] = chosen
        loss = self.loss_for(task)
        if (self.model, task) != ("mlp", "classification"):
            options |= {"loss": loss, **self.loss_parameters()}
        if self.model == "linear":
            options["penalty"] = None if self.penalty == "none" else self.penalty
        else:
            options |= {"hidden_layer_sizes": self.layers()} | ({"alpha": 0.0} if self.penalty == "none" else {})
        options |= {"alpha": float(self.alpha)} if self.alpha != "auto" else {}
        return options | ({"max_iter": self.epochs} if self.epochs else {})

    def _lr(self, estimator: Any, shape: Shape, schedule: str, found: float | None) -> Any:
        """Return the learning rate: the schedule over all steps of the estimator."""
        size = {"n_coefficients": shape.coefficients, "sparse": shape.sparse} if self.model == "linear" else {}
        resolved = estimator.resolved_schedule(shape.rows, **size)
        lr = found or (resolved.initial_lr if self.lr in ("auto", "find") else float(self.lr))
        return SCHEDULES[schedule](lr, resolved.n_steps, int(self.warmup * resolved.n_steps))


def _takes(loss: Loss, name: str) -> bool:
    return loss.parameter is not None and loss.parameter.name == name


def _shows_progress() -> bool:
    """Return whether there is a terminal for a bar, and tqdm to draw it: lines for each epoch would bury the report."""
    return sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None


def _positive(option: str, text: str, expected: str, zero: bool = False) -> None:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    _check(0 < number < float("inf") or (zero and number == 0), option, expected, text)


def _check_one_of(option: str, value: str, known: Sequence[str]) -> None:
    _check(value in known, option, f"one of {', '.join(known)}", value)


def _check(good: bool, option: str, expected: str, got: object) -> None:
    if not good:
        raise UserError(f"{option} must be {expected}; got {got!r}")
