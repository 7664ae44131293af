"""The options that say what to learn, and with what: shared by ``train`` and ``lr-find``."""

from typing import Annotated, Any

import typer

from gdfast.cli.app import number
from gdfast.cli.schedules import SCHEDULES
from gdfast.cli.settings import ANALYZERS, ESTIMATORS, MODELS, PENALTIES, STATISTICS, TASKS
from gdfast.sklearn import LOSSES
from gdfast.tables.missing import POLICIES
from gdfast.tables.reading import BUNDLED


def _word(help: str, *names: str, **others: Any) -> Any:
    return typer.Option(*names, help=help, metavar=others.pop("metavar", "NAME"), **others)


def _columns(help: str) -> Any:
    return _word(f"{help}; may be repeated.", metavar="COLUMN", show_default=False)


def separator(text: str) -> str:
    """Return a separator; a tab may be written as a word."""
    return {"tab": "\t", "\\t": "\t"}.get(text, text)


def _one_of(known: tuple[str, ...], help: str = "") -> Any:
    return typer.Option(help=f"{', '.join(known)}{help}.", metavar="NAME")


def _losses(model: str) -> str:
    return "; ".join(", ".join(LOSSES[ESTIMATORS[model, task]]) for task in TASKS[1:])


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A .csv, .tsv, .csv.gz, .parquet, .npz or .svm file, - for CSV from standard input, or one of "
        f"scikit-learn's sets: {', '.join(BUNDLED)}, ...",
    ),
]
Target = Annotated[str | None, _word("Column to predict.", metavar="COLUMN", show_default="the data's own")]
Text = Annotated[list[str], _columns("Column of texts")]
Category = Annotated[list[str], _columns("Column of categories, also if they are numbers, NA or None")]
Number = Annotated[list[str], _columns("Column of numbers, also if they begin with zeros, as codes do")]
Drop = Annotated[list[str], _columns("Column to leave out")]
Keep = Annotated[list[str], _columns("Column to use although it looks like row numbers, or is constant")]
Missing = Annotated[str, _one_of(POLICIES, ": what to do about missing values")]
MissingTarget = Annotated[str | None, _word("error, drop: the same for the target.", show_default="as --missing")]
Sep = Annotated[str | None, _word("Separator of cells in CSV.", metavar="CHAR", parser=separator, show_default="found")]
Decimal = Annotated[str | None, _word("Decimal sign in CSV, . or ,.", metavar="CHAR", show_default="found")]
Encoding = Annotated[str | None, _word("Encoding of CSV, such as utf-16, cp1252.", show_default="found")]
Comment = Annotated[
    str | None, _word("Lines of CSV that begin with it are left out.", metavar="CHAR", show_default="# on top")
]
Weight = Annotated[str | None, _word("What each row counts.", metavar="COLUMN", show_default=False)]
Group = Annotated[str | None, _word("Rows that stay together on one side.", metavar="COLUMN", show_default=False)]
Time = Annotated[str | None, _word("Hold out the last rows by it.", metavar="COLUMN", show_default=False)]
Valid = Annotated[str | None, _word("Rows for the report, in another file.", metavar="FILE", show_default=False)]
Folds = Annotated[int | None, number("Cross-validate with n folds, then train on all rows.", int, show_default=False)]
Task = Annotated[str, _one_of(TASKS)]
ModelName = Annotated[str, _one_of(MODELS)]
Hidden = Annotated[str, _word("Units of each hidden layer of mlp.", metavar="N,N,...")]
Loss = Annotated[str, _word(f"Linear models: {_losses('linear')}. mlp: {_losses('mlp')}.")]
Epsilon = Annotated[float | None, number("Of losses such as huber, in units of the target.", show_default="0.1")]
Quantile = Annotated[float | None, number("Of --loss quantile, between 0 and 1.", show_default="0.5")]
Power = Annotated[float | None, number("Of --loss tweedie.", show_default="1.5")]
Penalty = Annotated[str, _one_of(PENALTIES)]
Alpha = Annotated[str, _word("Weight of the penalty.", metavar="NUMBER")]
Balanced = Annotated[bool, typer.Option("--balanced", help="All classes count alike, however rare.")]
Analyzer = Annotated[str, _one_of(ANALYZERS, ": what texts are n-grams of")]
Optimizer = Annotated[str, _word("auto, or such as adam, lion, sgd:momentum=0.9.", metavar="NAME[:OPTION=VALUE,...]")]
Rate = Annotated[str, _word("Highest learning rate: auto, find, or a number.", metavar="NUMBER")]
Schedule = Annotated[str, _one_of(("auto", *SCHEDULES))]
Warmup = Annotated[float, number("Share of the steps in which lr rises.")]
Epochs = Annotated[int | None, number("How often every row is seen.", int, show_default="automatic")]
BatchSize = Annotated[int | None, number("Rows in a step.", int, show_default="automatic")]
EarlyStopping = Annotated[
    bool, typer.Option("--early-stopping", help="Score a tenth of the rows each epoch; keep the best epoch.")
]
TestSize = Annotated[float, number("Share of the rows to hold out for the report; 0: none.")]
Seed = Annotated[int, number("Of the split, the weights and the order.", int)]
Threads = Annotated[int | None, number("Maximum number of threads; -1: all CPUs.", int, show_default="automatic")]
Stream = Annotated[
    bool, typer.Option("--stream", help="Read .parquet or .csv batch by batch: for more rows than fit into memory.")
]
HashBits = Annotated[
    int | None,
    number("With --stream: words and categories are hashed to 2**N.", int, show_default="20, mlp 14"),
]
Statistics = Annotated[str, _one_of(STATISTICS, ": rows whose scales and classes --stream takes")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")]

#: the headings of the help, and the options below each
GROUPS: dict[str, tuple[Any, ...]] = {
    "The file": (Sep, Decimal, Encoding, Comment, Stream, HashBits, Statistics),
    "Columns and rows": (Target, Text, Category, Number, Drop, Keep, Missing, MissingTarget, Weight),
    "Judging": (TestSize, Valid, Group, Time, Folds),
    "The model": (Task, ModelName, Hidden, Loss, Epsilon, Quantile, Power, Penalty, Alpha, Balanced, Analyzer),
    "The training": (Optimizer, Rate, Schedule, Warmup, Epochs, BatchSize, EarlyStopping, Seed, Threads),
}
for _heading, _options in GROUPS.items():
    for _option in _options:
        _option.__metadata__[0].rich_help_panel = _heading
