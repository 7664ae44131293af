"""Whole training steps of PyTorch models: `python -m benchmarks.whole_trainings [--quick] [--out DIR]`.

Forward and backward pass, clipping to a norm, step and zeroing, on all threads: with PyTorch's AdamW as it comes, with
its fused one, with gdfast.torch instead of it, with gdfast.torch clipping in its step (`clip_norm`) and in one call
(`step(zero_grad=True, set_to_none=True)`), and with `step_in_backward`, which cannot clip and is compared with PyTorch
without clipping. All take turns in one process, each with a model of its own, the same at the start; before they are
timed their losses are compared.
"""

import gc
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tqdm import tqdm

from benchmarks import results, tables
from benchmarks.marks import find
from benchmarks.peers.process import Watch, keep_freed_memory
from benchmarks.timing import Times, settle
from benchmarks.trainings import (
    ALIKE,
    BATCHES,
    DEFAULT,
    FUSED,
    IN_BACKWARD,
    IN_STEP,
    NO_CLIP,
    ONE_CALL,
    OURS,
    QUICK,
    TRAININGS,
    Contender,
    Training,
    taking_part,
)  # fmt: skip
from benchmarks.workloads import ALL

CHECKED = 6  # steps whose losses are compared
TOLERANCE = 0.02  # of the way that the losses have gone
TURN = 0.1  # seconds, at least two steps
ABOUT = """\
Milliseconds of a whole step: forward and backward pass, clipping to a norm, step, zeroing. In brackets: what comes
after the backward pass. `clip_norm`: gdfast.torch clips in its step, and `zero_grad()` follows; one call: it drops the
gradients too, `step(zero_grad=True, set_to_none=True)`. Medians of the rounds; `×` is how many times faster the whole
step of the one call is, the median over the rounds of the ratio of two times in the same round. `step_in_backward`
cannot clip; the last factor compares it with PyTorch's fused step without clipping. The table of embeddings has
SparseAdam, the rest of its model AdamW; there nobody clips and no row is zeroed in place, so gdfast.torch is compared
as it is. A time is marked as wrong if the losses are not PyTorch's."""


class Loop:
    """A model in training."""

    def __init__(self, training: Training, contender: Contender, stack: ExitStack) -> None:
        torch.manual_seed(0)
        self.training, self.model = training, training.model()
        self.batches = [training.data(training.batch) for _ in range(BATCHES)]
        self.after = stack.enter_context(contender(self.model, training.sparse))
        self.steps = 0

    def step(self) -> tuple[float, float, torch.Tensor]:
        """Make a step; return its seconds, those after the backward pass, and the loss before it."""
        batch = self.batches[self.steps % BATCHES]
        self.steps += 1
        start = time.perf_counter()
        loss = self.training.loss(self.model, batch)
        loss.backward()
        between = time.perf_counter()
        self.after()
        end = time.perf_counter()
        return end - start, end - between, loss.detach()

    def turn(self, n: int) -> tuple[float, float]:
        """Return the mean seconds of n steps, settled and warm, and of what comes after their backward passes."""
        settle()
        self.step()
        was_on = gc.isenabled()
        gc.disable()
        try:
            found = [self.step()[:2] for _ in range(n)]
        finally:
            if was_on:
                gc.enable()
        return sum(whole for whole, _ in found) / n, sum(after for _, after in found) / n


def wrong(losses: dict[str, list[float]]) -> dict[str, str]:
    """Return whose losses are not those of whom they should follow, and how far they are off."""
    found = {}
    for reference, names in ALIKE.items():
        for name in [name for name in names if name in losses]:
            # The embedding model never clips, and has no contender without clipping.
            theirs = losses.get(reference, losses[DEFAULT])
            gone = np.abs(np.subtract(theirs, theirs[0])).max()
            off = np.abs(np.subtract(losses[name], theirs)).max()
            if not off <= TOLERANCE * gone:  # also where one is NaN
                found[name] = f"losses off by {off:.2g} of {gone:.2g}"
    return found


def measure(training: Training, rounds: int, turn: float = TURN) -> results.Figures:
    """Return the figures of a training."""
    with ExitStack() as stack:
        loops = {name: Loop(training, make, stack) for name, make in taking_part(training).items()}
        losses = {name: [loop.step()[2].item() for _ in range(CHECKED)] for name, loop in loops.items()}
        counts = {name: max(2, math.ceil(turn / loop.turn(1)[0])) for name, loop in loops.items()}
        whole, after = ({name: Times() for name in loops} for _ in range(2))
        watch = Watch()
        for _ in range(rounds):
            for name, loop in loops.items():
                seconds = loop.turn(counts[name])
                whole[name].seconds.append(seconds[0])
                after[name].seconds.append(seconds[1])
        others = watch.cpus()
        n_parameters = sum(param.numel() for param in next(iter(loops.values())).model.parameters())
    unclipped = whole.get(NO_CLIP, whole[FUSED])
    return {
        "parameters": n_parameters,
        "batch": training.batch,
        "ms": {name: times.median * 1e3 for name, times in whole.items()},
        "after_ms": {name: times.median * 1e3 for name, times in after.items()},
        "rounds": {name: times.seconds for name, times in whole.items()},
        "faster_than": {
            reference: {name: whole[reference].over(times) for name, times in whole.items()}
            for reference in (DEFAULT, FUSED)
        },
        "in_backward_faster": unclipped.over(whole[IN_BACKWARD]),
        "losses": losses,
        "wrong": wrong(losses),
        "cpus_used_by_others": others,
    }


def main_table(found: dict[str, results.Figures]) -> str:
    """Return one line for each training."""
    title = [
        "training",
        DEFAULT,
        FUSED,
        OURS,
        "clip_norm",
        "one call",
        f"× {DEFAULT}",
        f"× {FUSED}",
        "step_in_backward",
        "×",
    ]
    return tables.table(title, (_row(name, of) for name, of in found.items()))


def _row(name: str, of: results.Figures) -> list[str]:
    best = ONE_CALL if ONE_CALL in of["ms"] else OURS

    def cell(who: str) -> str:
        if who not in of["ms"]:
            return "-"
        return f"{of['ms'][who]:.3g} ({of['after_ms'][who]:.2g})" + (" **wrong**" if who in of["wrong"] else "")

    factors = [tables.times(of["faster_than"][peer][best]) for peer in (DEFAULT, FUSED)]
    cells = [cell(who) for who in (DEFAULT, FUSED, OURS, IN_STEP, ONE_CALL)]
    last = [cell(IN_BACKWARD), tables.times(of["in_backward_faster"])]
    disturbed = " (*)" if Watch.disturbs(of["cpus_used_by_others"]) else ""
    return [f"{name}, batch of {of['batch']}{disturbed}", *cells, *factors, *last]


def elsewhere(figures: dict[str, results.Figures]) -> list[list[str]]:
    """Return lines for whole trainings that other benchmarks have measured in the same folder."""
    rows = []
    spacy = find(figures, "spacy_textcat", "seconds")
    if spacy:
        rows.append(["spaCy text classifier", "thinc's Adam", f"{spacy['thinc']:.3g} s", f"{spacy['gdfast']:.3g} s"])
    for task, of in (find(figures, "fitting", "tasks") or {}).items():
        ours = next(iter(of["ms"]))  # the fewest epochs come first
        peer = next(name for name in of["ms"] if not name.startswith("gdfast"))
        rows.append(
            [f"linear model, {task}", f"scikit-learn's {peer}", *(f"{of['ms'][w]:.4g} ms" for w in (peer, ours))]
        )
    for work, of in (find(figures, "networks", "ms") or {}).items():
        rows += [
            [f"an epoch of a network, {work}", peer, *(f"{of[who]:.3g} ms" for who in (peer, "gdfast"))]
            for peer in of
            if peer != "gdfast"
        ]
    return rows


def problems(found: dict[str, results.Figures]) -> list[str]:
    """Return a line for each contender whose losses are wrong."""
    return [f"- {name}: {who}: {why}" for name, of in found.items() for who, why in of["wrong"].items()]


def report(found: dict[str, results.Figures], others: list[list[str]]) -> list[str]:
    """Return the parts of the page."""
    parts = [ABOUT, main_table(found)]
    if any(Watch.disturbs(of["cpus_used_by_others"]) for of in found.values()):
        parts.append(tables.DISTURBED)
    if wrongs := problems(found):
        parts += ["## Wrong", "\n".join(wrongs)]
    if others:
        parts += ["## Whole trainings elsewhere", tables.table(["training", "beside", "its time", "gdfast's"], others)]
    return parts


def run(trainings: Sequence[Training], rounds: int, out: Path | None, facts: dict[str, str], **options: Any) -> str:
    """Measure trainings, and write the page anew after each, so that what is measured is kept if it is stopped."""
    torch.set_num_threads(ALL)
    keep_freed_memory()
    found: dict[str, results.Figures] = {}
    others = elsewhere(results.read(out)) if out else []
    text = ""
    with tqdm(trainings, unit="training") as progress:
        for training in progress:
            progress.set_description(training.name)
            found[training.name] = measure(training, rounds, **options)
            gc.collect()
            parts = report(found, others)
            text = results.write(out, "whole_trainings", "Whole training steps", facts, parts, {"trainings": found})
    return text


def main(
    quick: Annotated[bool, typer.Option(help="Three small trainings and few rounds.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the table.")] = Path("results"),
    rounds: Annotated[int, typer.Option(help="Rounds of each; 0 for the form's own.")] = 0,
) -> None:
    """Measure whole training steps."""
    rounds = rounds or (3 if quick else 11)
    print(run(QUICK if quick else TRAININGS, rounds, out, tables.head("quick" if quick else "full", rounds)))


if __name__ == "__main__":
    typer.run(main)
