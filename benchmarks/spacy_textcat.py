"""A spaCy text classifier trained with thinc's Adam and with gdfast's: scores, and the time that the optimizer takes.

``python -m benchmarks.spacy_textcat [FILE] [--quick] [--out DIR]``; it needs spaCy. FILE is a CSV file with the columns
``text`` and, of zeros and ones, ``spam``; without it, the messages are made up.
"""

import csv
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import results, tables


def made_up(n: int) -> list[tuple[str, int]]:
    """Return short messages of two kinds, whose words overlap."""
    draw = random.Random(1)
    known = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(4000)]

    def message(kind: int) -> str:
        places = (min(int(draw.expovariate(1 / 500)), 2999) + 300 * kind for _ in range(draw.randint(5, 25)))
        return " ".join(known[place] for place in places)

    return [(message(k % 2), k % 2) for k in range(n)]


def rows_of(path: Path | None, n: int) -> list[tuple[str, dict[str, Any]]]:
    """Return the texts with their classes, in a fixed random order; without a file, n that are made up."""
    if path is None:
        rows = made_up(n)
    else:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["text"], int(row["spam"])) for row in csv.DictReader(file)]
    random.Random(0).shuffle(rows)
    return [(text, {"cats": {"YES": float(label), "NO": 1.0 - label}}) for text, label in rows]


def trained(
    make: Callable[[float], Any], rows: list[Any], held_out: list[Any], epochs: int
) -> tuple[float, float, float]:
    """Return the accuracy on rows held out, the seconds of the training, and those of its optimizer."""
    import spacy
    from spacy.training import Example
    from spacy.util import fix_random_seed, minibatch

    fix_random_seed(0)
    nlp = spacy.blank("en")
    classifier = nlp.add_pipe("textcat")
    examples = [Example.from_dict(nlp.make_doc(text), answer) for text, answer in rows]
    nlp.initialize(lambda: examples)
    optimizer, stepping, begin = make(0.001), 0.0, time.perf_counter()
    for epoch in range(epochs):
        random.Random(epoch).shuffle(examples)
        for batch in minibatch(examples, 64):
            nlp.update(batch, sgd=None)
            start = time.perf_counter()
            classifier.finish_update(optimizer)
            stepping += time.perf_counter() - start
    total = time.perf_counter() - begin
    with nlp.use_params(optimizer.averages):
        found = [doc.cats["YES"] > 0.5 for doc in nlp.pipe(text for text, _ in held_out)]
    right = sum(yes == bool(answer["cats"]["YES"]) for yes, (_, answer) in zip(found, held_out, strict=True))
    return right / len(held_out), total, stepping


def main(
    data: Annotated[Path | None, typer.Argument(help="a CSV file with the columns text and spam")] = None,
    quick: Annotated[bool, typer.Option(help="200 texts, one epoch, one round")] = False,
    texts: Annotated[int, typer.Option(help="texts to train on; 0 for the form's own")] = 0,
    epochs: Annotated[int, typer.Option()] = 2,
    rounds: Annotated[int, typer.Option(help="trainings with each optimizer, in turns; 0 for the form's own")] = 0,
    out: Annotated[Path | None, typer.Option(help="The folder of the table.")] = None,
) -> None:
    """Compare thinc's Adam with gdfast's."""
    import thinc.api

    import gdfast.thinc

    texts, rounds, epochs = (texts or 200, rounds or 1, 1) if quick else (texts or 1500, rounds or 3, epochs)
    facts = tables.head("quick" if quick else "full", rounds)
    rows = rows_of(data, texts + max(texts // 2, 100))
    makers = {"thinc": thinc.api.Adam, "gdfast": gdfast.thinc.Adam}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, make in makers.items():
            found[name].append(trained(make, rows[:texts], rows[texts:], epochs))
    medians = {name: [statistics.median(of) for of in zip(*turns, strict=True)] for name, turns in found.items()}
    lines = [
        [f"{name}'s Adam", f"{score:.4f}", f"{total:.2f}", f"{stepping:.2f}"]
        for name, (score, total, stepping) in medians.items()
    ]
    kind = "made-up messages" if data is None else "messages"
    about = f"{texts} {kind}, {epochs} epochs, batches of 64; medians of the rounds."
    table = tables.table(["optimizer", "held-out accuracy", "seconds", "of which the optimizer"], lines)
    whats = ("accuracy", "seconds", "stepping")
    figures = {what: {name: of[k] for name, of in medians.items()} for k, what in enumerate(whats)}
    print(results.write(out, "spacy_textcat", "A spaCy text classifier", facts, [about, table], figures))


if __name__ == "__main__":
    typer.run(main)
