"""The marks whose figures separate benchmarks measure, and leave as NAME.json in the folder of the report."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from benchmarks.marks import Mark, find
from benchmarks.results import Figures
from benchmarks.workloads import ALL, threads_text

BOTH = [threads_text(threads) for threads in sorted({1, ALL})]
OWN, STATE_8, SPLIT = "float32", "8bit state", "bfloat16 split, bfloat16 state"
STOCHASTIC, NEAREST = "bfloat16 stochastic, 8bit state", "bfloat16 nearest, bfloat16 state"


class Asked(NamedTuple):
    """A mark: what it says, which benchmark's figure, where that stands in the JSON, and what is asked."""

    what: str
    name: str
    path: tuple[str, ...]
    asked: float
    unit: str = "×"
    at_most: bool = False


def formats() -> Iterator[Asked]:
    """Steps and state in fewer bytes."""

    def faster(form: str, threads: str, than: str, asked: float) -> Asked:
        said = "gdfast's own float32" if than == OWN else than
        what = f"AdamW, 16.8M, {threads}, {form}: faster than {said}"
        return Asked(what, "formats", ("16.8M", threads, "slower_than", form, than), asked)

    for threads in BOTH:
        yield faster(STATE_8, threads, OWN, 1.3)
        yield faster(STATE_8, threads, "torchao AdamW8bit, float32", 40.0)
        yield faster(STATE_8, threads, "bitsandbytes AdamW8bit, float32", 20.0)
    yield faster(SPLIT, BOTH[-1], OWN, 1.25)
    yield faster(STOCHASTIC, BOTH[-1], OWN, 1.4)
    yield faster(NEAREST, BOTH[-1], "PyTorch fused, bfloat16", 1.0)
    yield Asked("AdamW, state in 8 bits: bytes a parameter", "formats", ("bytes", STATE_8, "state"), 2.1, "", True)
    what = "AdamW, bfloat16 model, state in 8 bits: bytes a parameter, with gradient"
    yield Asked(what, "formats", ("bytes", STOCHASTIC, "in_all"), 6.1, "", True)


def losses() -> Iterator[Asked]:
    """Final losses in fewer bytes."""
    what = "final losses in fewer bytes, {}"
    worst = what.format("the worst mean: off the one of float32 by")
    yield Asked(worst, "fewer_bytes", ("worst_off_percent",), 1.0, "%", True)
    within = what.format("means within the spread of float32's seeds")
    yield Asked(within, "fewer_bytes", ("within_spread_percent",), 100.0, "%")


def many_processes() -> Iterator[Asked]:
    """One optimizer on several ranks."""
    torch = ("slower_than_gdfast", "PyTorch, all_reduce and ZeroRedundancyOptimizer")
    what = "sharded AdamW, 16.8M, 2 ranks, exchange included"
    yield Asked(f"{what}: faster than PyTorch's", "many_processes", ("of_16.8M", *torch), 4.5)
    share = ("of_16.8M", "state_over_share")
    yield Asked(f"{what}: state of a rank, times its share", "many_processes", share, 1.01, "×", True)
    yield Asked(f"{what}: buffers", "many_processes", ("of_16.8M", "buffers_mib"), 64.0, "MiB", True)


def beyond_memory() -> Iterator[Asked]:
    """Rows on disk, and on a cluster."""
    rows = "linear fit from Parquet, 10 GB of rows"
    yield Asked(f"{rows}: rate, times reading alone", "streams", ("of_10_gb", "rate_over_reading"), 0.8)
    yield Asked(f"{rows}: memory in all", "streams", ("of_10_gb", "peak_mb"), 500.0, "MB", True)
    for suffix, asked in (("Parquet", 3.0), ("CSV", 1.0)):
        clicks = f"a click log from {suffix}, one pass"
        yield Asked(f"{clicks}: faster than vowpal wabbit", "streams", (f"clicks_{suffix}_faster",), asked)
        yield Asked(f"{clicks}: AUC above its", "streams", (f"clicks_{suffix}_auc_above",), 0.0, "")
    sorted_rows = "linear fit on 2 Dask workers, rows sorted by class: held-out score off one process by"
    yield Asked(sorted_rows, "dask_workers", ("score_off",), 0.002, "", True)


def small() -> Iterator[Asked]:
    """What is all overhead: tensors, and fits of small sets."""
    for shape, asked in (("1k", 8.0), ("200 x 64", 15.0)):
        path = ("faster_than_fused", f"adam, {shape}, float32, {BOTH[-1]}")
        yield Asked(f"gdfast.torch, adam, {shape}: faster than PyTorch fused", "torch", path, asked)
    peers = dict.fromkeys(("iris", "wine", "breast_cancer", "digits"), ("LogisticRegression", 2.0))
    for name, (peer, asked) in (peers | {"diabetes": ("Ridge", 5.0)}).items():
        yield Asked(f"fit of {name}: times {peer}'s", "small_fits", ("sets", name, "times_the_peer"), asked, "×", True)
        yield Asked(f"fit of {name}: score above its", "small_fits", ("sets", name, "score_above"), -0.01, "")


def others() -> Iterator[Asked]:
    """Fits to another's accuracy, and busy neighbours."""
    for task, asked in (("binary, 150k x 100", 7.0), ("multinomial, 75k x 100, 10 classes", 18.0)):
        path = ("tasks", task, "faster_than", "scikit-learn-intelex")
        yield Asked(f"{task}, to lbfgs's accuracy: faster than scikit-learn-intelex", "fitting", path, asked)
    what = "one busy neighbour, the worst of gdfast's works: times one thread's time"
    yield Asked(what, "neighbours", ("worst_of_ours",), 1.3, "×", True)


def marks_elsewhere(found: Mapping[str, Figures]) -> list[Mark]:
    """Return these marks, with what was found in the folder; None where a benchmark was not run or lacks the figure.

    Parameters
    ----------
    found : mapping
        What `results.read` returned.
    """
    return [_mark(asked, found) for asked in all_asked()]


def all_asked() -> Iterator[Asked]:
    """Yield all of them."""
    for group in (formats, losses, many_processes, beyond_memory, small, others):
        yield from group()


def _mark(asked: Asked, found: Mapping[str, Figures]) -> Mark:
    quick = str(find(found, asked.name, "head", "form")).startswith("quick")
    value = find(found, asked.name, *asked.path)
    what = f"{asked.what} (quick form)" if quick and value is not None else asked.what
    return Mark(what, value, asked.asked, asked.unit, asked.at_most)
