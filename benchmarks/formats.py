"""A step of AdamW in every format of numbers: `python -m benchmarks.formats [--quick] [--out DIR]`.

Each format on one thread and on all, in turns with PyTorch's fused step in float32 and in bfloat16, and with the
optimizers in eight bits of torchao and bitsandbytes where they are installed. The bytes a parameter are counted in the
arrays. `--quick` leaves torchao (which compiles for a minute) and bitsandbytes out.
"""

import functools
import gc
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import ml_dtypes
import numpy as np
import typer

import gdfast
from benchmarks import results, tables
from benchmarks.peers.base import Run
from benchmarks.peers.limit_peer import WAYS, Limit
from benchmarks.peers.process import Watch, keep_freed_memory, one_level_of_openmp
from benchmarks.timing import Times, interleave
from benchmarks.workloads import Workload, forget_arrays, thread_counts, threads_text

SHAPE = "16.8M"
HALF = ml_dtypes.bfloat16
#: name -> dtype of the parameters, dtype of the gradients, options: those whose losses `fewer_bytes` compares
FORMATS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "float32": (np.float32, np.float32, {}),
    "bfloat16 state": (np.float32, np.float32, {"state_dtype": "bfloat16"}),
    "8bit state": (np.float32, np.float32, {"state_dtype": "8bit"}),
    "bfloat16 gradients, 8bit state": (np.float32, HALF, {"state_dtype": "8bit"}),
    "bfloat16 split, bfloat16 state": (HALF, HALF, {"state_dtype": "bfloat16"}),
    "bfloat16 split, 8bit state": (HALF, HALF, {"state_dtype": "8bit"}),
    "bfloat16 stochastic, 8bit state": (HALF, HALF, {"state_dtype": "8bit", "master": None}),
}
#: those that are timed: also what PyTorch does with everything in bfloat16, and the same with stochastic rounding
TIMED = FORMATS | {
    "bfloat16 stochastic, bfloat16 state": (HALF, HALF, {"state_dtype": "bfloat16", "master": None}),
    "bfloat16 nearest, bfloat16 state": (
        HALF, HALF, {"state_dtype": "bfloat16", "master": None, "rounding": "nearest"},
    ),
}  # fmt: skip
OPTIONS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 1e-2}
Arrays = list[np.ndarray]
NOTES = """\
Times are of `opt.step()`, in nanoseconds a parameter, medians of the rounds; `× float32` is that time divided by the
time of gdfast's own float32 step (the median over the rounds of the ratio in the same round; less is better). The limit
is a float32 loop with AdamW's memory traffic and one addition per array; for the share of the limit its time is scaled
to the bytes that a format reads and writes: 1 is as fast as memory allows. A dash: left out."""


class Bytes(NamedTuple):
    """Bytes a parameter of a large array."""

    param: float
    state: float
    grad: float

    @property
    def moved(self) -> float:
        """What a step reads and writes."""
        return 2 * (self.param + self.state) + self.grad

    @property
    def in_all(self) -> float:
        """What lies in memory."""
        return sum(self)


@functools.cache
def bytes_of(form: str) -> Bytes:
    """Count the bytes a parameter takes in a format: its own, those of its state, those of its gradient."""
    dtype, grad_dtype, options = TIMED[form]
    param = np.zeros(1 << 20, dtype)
    opt = gdfast.AdamW(param, **options)
    state = sum(array.nbytes for array in opt.state["0"].values())
    return Bytes(param.nbytes / param.size, state / param.size, np.dtype(grad_dtype).itemsize)


def ours(form: str, work: Workload) -> Run:
    """`gdfast.AdamW` in one of the formats."""
    dtype, grad_dtype, options = TIMED[form]
    params, grads = ([array.astype(to, copy=False) for array in arrays] for arrays, to in zip(
        work.arrays(), (dtype, grad_dtype), strict=True))  # fmt: skip
    opt = gdfast.AdamW(params, n_threads=work.threads, **OPTIONS, **options)
    return _run(partial(opt.step, grads), lambda: params)


def torchs(make: Callable[[Any], Any], dtype: str, work: Workload) -> Run:
    """An optimizer of PyTorch's kind, on parameters and gradients of a dtype of PyTorch."""
    import torch

    torch.set_num_threads(work.threads)
    params, grads = ([torch.from_numpy(a).to(getattr(torch, dtype)) for a in arrays] for arrays in work.arrays())
    params = [torch.nn.Parameter(param) for param in params]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    opt = make(params)
    return _run(opt.step, lambda: [param.detach().float().numpy() for param in params])


def _run(step: Callable[[], object], params: Callable[[], Arrays]) -> Run:
    def set_grads(grads: Any) -> None:
        raise NotImplementedError("the gradients of these runs stay as they are")

    return Run(step, params, set_grads)


def peers(quick: bool) -> dict[str, Callable[[Workload], Run]]:
    """Return how each of the others is set up, as far as they are installed."""

    def fused(params: Any) -> Any:
        import torch

        return torch.optim.AdamW(params, fused=True, **OPTIONS)

    def of_torchao(name: str, **options: Any) -> Callable[[Any], Any]:
        def make(params: Any) -> Any:
            from torchao import optim

            return getattr(optim, name)(params, **OPTIONS, **options)

        return make

    def of_bitsandbytes(params: Any) -> Any:
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(params, **OPTIONS)

    known: dict[str, tuple[str, Callable[[Any], Any], str]] = {
        "PyTorch fused, float32": ("torch", fused, "float32"),
        "PyTorch fused, bfloat16": ("torch", fused, "bfloat16"),
        "torchao AdamW8bit, float32": ("torchao", of_torchao("AdamW8bit"), "float32"),
        "torchao AdamW8bit, bfloat16 stochastic": (
            "torchao", of_torchao("AdamW8bit", bf16_stochastic_round=True), "bfloat16",
        ),
        "torchao _AdamW, bfloat16 stochastic": (
            "torchao", of_torchao("_AdamW", bf16_stochastic_round=True), "bfloat16",
        ),
        "bitsandbytes AdamW8bit, float32": ("bitsandbytes", of_bitsandbytes, "float32"),
    }  # fmt: skip
    return {
        name: partial(torchs, make, dtype)
        for name, (needs, make, dtype) in known.items()
        if find_spec(needs) and find_spec("torch") and not (quick and needs != "torch")
    }


def measure(work: Workload, rounds: int, quick: bool) -> tuple[dict[str, Times], dict[str, str], float | None]:
    """Return the times by contender, why others have none, and the CPUs that other processes used meanwhile."""
    keep_freed_memory()
    makers: dict[str, Callable[[Workload], Run]] = {form: partial(ours, form) for form in TIMED}
    makers |= peers(quick) | {f"limit {way}": Limit(way).setup for way in WAYS}
    runs, problems = {}, {}
    for name, make in makers.items():
        try:
            runs[name] = make(work)
            runs[name].step()
        except Exception as error:
            if name in TIMED:
                raise
            runs.pop(name, None)
            problems[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    one_level_of_openmp()
    forget_arrays()
    watch = Watch()
    times = interleave(runs, rounds)
    others = watch.cpus()
    runs.clear()
    gc.collect()
    return times, problems, others


def figures_of(work: Workload, times: dict[str, Times]) -> results.Figures:
    """Return nanoseconds a parameter, and how many times slower each is than each of our formats."""
    limit = min((name for name in times if name.startswith("limit")), key=lambda name: times[name].median)
    plain = bytes_of("float32").moved
    return {
        "ns_per_parameter": {name: t.median / work.elements * 1e9 for name, t in times.items()},
        "slower_than": {form: {name: t.over(times[form]) for name, t in times.items()} for form in TIMED},
        "share_of_limit": {form: times[limit].over(times[form]) * bytes_of(form).moved / plain for form in TIMED},
    }


def table(found: dict[str, results.Figures]) -> str:
    """Return one line for each contender, with two columns for each number of threads."""
    names = list(dict.fromkeys(name for of in found.values() for name in of["ns_per_parameter"]))
    title = ["AdamW", "bytes: parameter and state", "with gradient"]
    for threads in found:
        title += [f"{threads}: ns", "× float32", "share of the limit"]
    rows = []
    for name in names:
        size = bytes_of(name) if name in TIMED else None
        row = [name, f"{size.param:g} + {size.state:.2f}", f"{size.in_all:.2f}"] if size else [name, "", ""]
        for of in found.values():
            if name in of["ns_per_parameter"]:
                share = of["share_of_limit"].get(name)
                row += [f"{of['ns_per_parameter'][name]:.3f}", f"{of['slower_than']['float32'][name]:.3g}"]
                row.append("" if share is None else f"{share:.2f}")
            else:
                row += ["-", "-", ""]
        rows.append(row)
    return tables.table(title, rows)


def main(
    quick: Annotated[bool, typer.Option(help="Few rounds, without torchao and bitsandbytes.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the table.")] = Path("results"),
    rounds: Annotated[int, typer.Option(help="Rounds of each; 0 for the form's own.")] = 0,
    shape: Annotated[str, typer.Option(help="How many parameters; a name of benchmarks.workloads.SIZES.")] = SHAPE,
) -> None:
    """Measure a step of AdamW in every format."""
    rounds = rounds or (3 if quick else 11)
    facts = tables.head("quick" if quick else "full", rounds) | {"parameters": shape}
    found, left_out = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers
        for threads in thread_counts():
            work = Workload("adamw", shape, threads=threads)
            times, problems, others = measure(work, rounds, quick)
            facts[f"CPUs that others used, {threads_text(threads)}"] = "unknown" if others is None else f"{others:.2f}"
            left_out |= problems
            found[threads_text(threads)] = figures_of(work, times)
    sizes = {form: {**bytes_of(form)._asdict(), "in_all": bytes_of(form).in_all} for form in TIMED}
    parts = [NOTES, table(found)]
    if left_out:
        parts += ["## Contenders that could not take part", "\n".join(f"- {n}: {why}" for n, why in left_out.items())]
    figures = {"bytes": sizes, shape: found, "problems": left_out}
    print(results.write(out, "formats", "AdamW in every format of numbers", facts, parts, figures))


if __name__ == "__main__":
    typer.run(main)
