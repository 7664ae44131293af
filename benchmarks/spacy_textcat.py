"""A spaCy text classifier trained with thinc's Adam and with gdfast's: scores, and the time that the optimizer takes.

Run ``python -m benchmarks.spacy_textcat FILE`` with a CSV file that has the columns ``text`` and, of zeros and ones,
``spam``; it needs spaCy.
"""

import csv
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def rows_of(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the texts with their classes, in a fixed random order."""
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
    data: Path,
    texts: Annotated[int, typer.Option(help="texts to train on")] = 1500,
    epochs: Annotated[int, typer.Option()] = 2,
    rounds: Annotated[int, typer.Option(help="trainings with each optimizer, in turns")] = 3,
) -> None:
    """Compare thinc's Adam with gdfast's."""
    import thinc.api

    import gdfast.thinc

    rows = rows_of(data)
    makers = {"thinc": thinc.api.Adam, "gdfast": gdfast.thinc.Adam}
    for turn in range(rounds):
        for name, make in makers.items():
            score, total, stepping = trained(make, rows[:texts], rows[texts:], epochs)
            print(
                f"round {turn}: {name:6s} accuracy {score:.4f}, {total:.1f} s, of which the optimizer {stepping:.2f} s"
            )


if __name__ == "__main__":
    typer.run(main)
