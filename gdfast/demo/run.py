"""The demo: train twice from the same seed, once with each engine, compare the bits, and say what came out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gdfast.demo import picture
from gdfast.demo.data import Data, load
from gdfast.demo.errors import BadOptionError
from gdfast.demo.settings import Settings
from gdfast.demo.training import HIDDEN, Run, arrays, differing, steps_per_epoch, train
from gdfast.engine import threads

ENGINES = ("native", "numpy")


def run(settings: Settings) -> tuple[str, bool]:
    """Train with both engines and draw the first training.

    Parameters
    ----------
    settings : Settings
        The choices.

    Returns
    -------
    report : str
        What came out, in a few lines.
    same : bool
        Whether both engines left the same bytes in every parameter and state array.

    Raises
    ------
    BadOptionError
        If the batch is larger than the data, or the picture cannot be written.
    DivergedError
        If the loss becomes infinite or NaN.
    """
    data = load(settings.seed)
    settings.check_against(len(data.train_labels))
    with _writing(settings.out):
        _try_to_write(settings.out)
    runs = {engine: train(data, settings, engine) for engine in ENGINES}
    first, second = (arrays(run.optimizer) for run in runs.values())
    different = differing(first, second)
    with _writing(settings.out):
        picture.draw(runs["native"], settings, settings.out)
    bits = _bits(different, len(first), sum(array.nbytes for array in first.values()))
    opening, table = _opening(data, settings, runs["native"]), _table(data, runs)
    lines = [*opening, "", *table, "", bits, f"picture        {settings.out}"]
    return "\n".join(lines), not different


def _opening(data: Data, settings: Settings, run: Run) -> list[str]:
    per_epoch, steps = steps_per_epoch(data, settings.batch_size), len(run.losses)
    parameters = sum(array.size for array in run.optimizer.param_groups[0]["params"])
    inputs, classes = data.train_images.shape[1], int(data.train_labels.max()) + 1
    epochs, limit = _count(settings.epochs, "epoch"), _count(threads.resolve(settings.threads), "thread")
    per_step = f"{_count(per_epoch, 'step')} with {_count(settings.batch_size, 'image')}"
    return [
        f"digits         {len(data.train_labels):,} images to learn from, {len(data.test_labels):,} to test",
        f"network        {inputs}-{HIDDEN}-{classes}, {parameters:,} parameters, float32",
        f"optimizer      {settings.optimizer}, {settings.schedule} learning rate up to {settings.highest_lr:g}, "
        f"warm-up in {settings.warmup_steps(steps):,} of {steps:,} steps",
        f"training       {epochs} of {per_step}, seed {settings.seed}, at most {limit}",
    ]


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _table(data: Data, runs: dict[str, Run]) -> list[str]:
    header = f"{'engine':14} {'training':>9} {'optimizer':>11} {'share':>8} {'a step':>10}   test accuracy"
    return [header, *(_row(engine, run, len(data.test_labels)) for engine, run in runs.items())]


def _row(engine: str, run: Run, tested: int) -> str:
    seconds = sum(run.step_seconds)
    per_step = 1e6 * seconds / len(run.step_seconds)
    right = f"{run.accuracies[-1]:.4f} ({round(run.accuracies[-1] * tested)} of {tested})"
    return f"{engine:14} {run.seconds:7.2f} s {seconds:9.3f} s {run.share:8.1%} {per_step:7,.1f} us   {right}"


def _bits(different: list[str], total: int, size: int) -> str:
    if not different:
        return f"same bits      yes: {total} arrays of parameters and state, {size:,} bytes"
    return f"same bits      NO: {len(different)} of {total} arrays differ: {', '.join(different)}"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the option when the picture cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadOptionError("out", f"a file that can be written ({reason})", str(path)) from error


def _try_to_write(path: Path) -> None:
    """Open a file for writing, before the work whose result it is to hold; leave it as it was."""
    existed = path.exists()
    with path.open("ab"):
        pass
    if not existed:
        path.unlink()
