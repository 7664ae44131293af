"""The options that say what to learn, and with what: shared by ``train`` and ``lr-find``."""

from typing import Annotated, Any

import typer

from gdfast.cli.app import number
from gdfast.cli.missing import POLICIES
from gdfast.cli.settings import ANALYZERS, ESTIMATORS, MODELS, PENALTIES, TASKS
from gdfast.cli.tables import BUNDLED
from gdfast.demo.settings import SCHEDULES
from gdfast.sklearn import LOSSES


def _word(help: str, **others: Any) -> Any:
    return typer.Option(help=help, metavar=others.pop("metavar", "NAME"), **others)


def _one_of(known: tuple[str, ...], help: str = "") -> Any:
    return typer.Option(help=f"{', '.join(known)}{help}.", metavar="NAME")


def _losses(model: str) -> str:
    return "; ".join(", ".join(LOSSES[ESTIMATORS[model, task]]) for task in TASKS[1:])


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help=f"A .csv, .tsv, .parquet, .npz or .svm file, or one of scikit-learn's sets: {', '.join(BUNDLED)}, ...",
    ),
]
Target = Annotated[str | None, _word("Column to predict.", metavar="COLUMN", show_default="the data's own")]
Text = Annotated[list[str], _word("Column of texts; may be repeated.", metavar="COLUMN", show_default=False)]
Drop = Annotated[list[str], _word("Column to leave out; may be repeated.", metavar="COLUMN", show_default=False)]
Missing = Annotated[str, _one_of(POLICIES, ": what to do about missing values")]
Task = Annotated[str, _one_of(TASKS)]
ModelName = Annotated[str, _one_of(MODELS)]
Hidden = Annotated[str, _word("Units of each hidden layer of mlp.", metavar="N,N,...")]
Loss = Annotated[str, _word(f"Linear models: {_losses('linear')}. mlp: {_losses('mlp')}.")]
Penalty = Annotated[str, _one_of(PENALTIES)]
Alpha = Annotated[str, _word("Weight of the penalty.", metavar="NUMBER")]
Balanced = Annotated[bool, typer.Option("--balanced", help="All classes count alike, however rare.")]
Analyzer = Annotated[str, _one_of(ANALYZERS, ": what texts are n-grams of")]
Optimizer = Annotated[str, _word("Such as adam, lion, or sgd:momentum=0.9.", metavar="NAME[:OPTION=VALUE,...]")]
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
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing unless something is wrong.")]
