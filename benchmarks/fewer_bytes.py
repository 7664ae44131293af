"""Training in fewer bytes: final losses by format, beside the spread of float32's own seeds.

    python -m benchmarks.fewer_bytes [--quick] [--seeds N] [--keep FILE] [--out DIR]

Trains a character transformer on the standard library's sources and a convolutional network on scikit-learn's digits
with AdamW, each with five seeds, and the estimators' networks with Adam, which take half a second, with twelve times as
many: five seeds of one of them differ by a tenth, and their mean says nothing about a hundredth. It writes the table
into docs/fewer-bytes.md, between its two marks, and the picture of the curves into docs/pictures. With `--quick`, two
seeds of a third of the steps, and only the table is printed. With `--out` the table, its figures and the picture go to
DIR, and the page stays as it is. PyTorch computes the gradients of the first two; parameters and state are NumPy arrays
that gdfast steps. A run depends on its seed alone.
"""

import argparse
import json
import multiprocessing
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gdfast
from benchmarks import results, tables
from benchmarks.formats import FORMATS, bytes_of
from gdfast.sklearn import MLPClassifier, MLPRegressor

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- made by `python -m benchmarks.fewer_bytes` -->\n", "<!-- end -->\n"
SEEDS = 5
#: runs of an estimator's network for one of another
MORE = 12
#: share of a run, at its end, whose mean loss is the final one
LAST = 12


class Characters(nn.Module):
    """A transformer of two layers that predicts the next of 128 characters."""

    def __init__(self, width: int = 64, length: int = 64) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(128, width), nn.Parameter(torch.randn(length, width) * 0.02)
        layer = [nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, batch_first=True, norm_first=True) for _ in "12"]
        self.layers, self.out = nn.ModuleList(layer), nn.Linear(width, 128)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        x = self.embed(text) + self.place
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        return self.out(x)


def characters(seed: int, steps: int = 600) -> tuple[nn.Module, float, Iterator[Callable[[nn.Module], torch.Tensor]]]:
    """Return a model, a learning rate, and a loss a step, on the sources of Python's standard library."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join(path.read_text("ascii", "ignore") for path in sorted(folder.glob("[a-d]*.py")))
    data = torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int64) % 128)

    def losses() -> Iterator[Callable[[nn.Module], torch.Tensor]]:
        rng = np.random.default_rng(seed)
        for _ in range(steps):
            starts = rng.integers(0, len(data) - 65, 16)
            rows = torch.stack([data[start : start + 65] for start in starts])
            yield lambda model, rows=rows: cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    return Characters(), 3e-3, losses()


def digits(seed: int, steps: int = 300) -> tuple[nn.Module, float, Iterator[Callable[[nn.Module], torch.Tensor]]]:
    """Return a convolutional network, a learning rate, and a loss a step, on digits of 8 by 8."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(pixels.astype(np.float32) / 16).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip

    def losses() -> Iterator[Callable[[nn.Module], torch.Tensor]]:
        rng = np.random.default_rng(seed)
        for _ in range(steps):
            chosen = torch.from_numpy(rng.integers(0, len(y), 64))
            noise = torch.from_numpy(rng.standard_normal((64, 1, 8, 8)).astype(np.float32) * 0.5)
            yield lambda model, chosen=chosen, noise=noise: cross_entropy(model(x[chosen] + noise), y[chosen])

    return model, 1e-3, losses()


def classifier(seed: int, epochs: int, optimizer: Any) -> Any:
    """Return the estimator's network for classes, fitted to digits of 8 by 8."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    net = MLPClassifier(hidden_layer_sizes=(256,), optimizer=optimizer, lr=1e-3, tol=None, alpha=1e-4)
    return net.set_params(batch_size=64, max_iter=epochs, random_state=seed).fit(
        (pixels / 16).astype(np.float32), labels
    )


def regressor(seed: int, epochs: int, optimizer: Any) -> Any:
    """Return the estimator's network for numbers, fitted to a wave on a plane."""
    x = np.random.default_rng(7).uniform(-2, 2, (2000, 2)).astype(np.float32)
    y = np.sin(3 * x[:, 0]) * np.cos(2 * x[:, 1])
    net = MLPRegressor(hidden_layer_sizes=(128, 128), optimizer=optimizer, lr=1e-3, tol=None, alpha=0.0)
    return net.set_params(batch_size=64, max_iter=epochs, random_state=seed).fit(x, y)


#: what PyTorch differentiates, with its number of steps
TASKS = {"characters, transformer": (characters, 600), "noisy digits, convolutional": (digits, 300)}
#: the estimators' networks, with their number of epochs
ESTIMATORS = {"digits, `MLPClassifier`": (classifier, 24), "a wave, `MLPRegressor`": (regressor, 60)}


def train(task: str, form: str, seed: int, quick: bool) -> list[float]:
    """Return the loss of each step, or of each epoch for an estimator."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    dtype, grad_dtype, options = FORMATS[form]
    if task in ESTIMATORS:
        fit, epochs = ESTIMATORS[task]
        return list(fit(seed, epochs // (3 if quick else 1), ("adam", options)).loss_curve_)
    make, steps = TASKS[task]
    model, lr, losses = make(seed, steps // (3 if quick else 1))
    shown = [param.detach().numpy() for param in model.parameters()]  # the model's own memory
    params = shown if dtype is np.float32 else [array.astype(dtype) for array in shown]
    opt = gdfast.AdamW(params, lr=lr, seed=seed, **options)
    curve = []
    for loss_of in losses:
        if params is not shown:
            for array, param in zip(shown, params, strict=True):
                array[...] = param
        loss = loss_of(model)
        model.zero_grad()
        loss.backward()
        opt.step([param.grad.numpy().astype(grad_dtype) for param in model.parameters()])
        curve.append(loss.item())
    return curve


def train_named(named: tuple[str, tuple[str, str, int, bool]]) -> tuple[str, list[float]]:
    """Return a name, and the curve of the run that it is of."""
    return named[0], train(*named[1])


def runs(seeds: int) -> list[tuple[str, str, int]]:
    """Return task, format and seed of each run. The estimators keep float32 parameters and make their own gradients."""
    whole = [form for form, (dtype, grad_dtype, _) in FORMATS.items() if dtype is grad_dtype is np.float32]
    tasks = {**{task: [*FORMATS] for task in TASKS}, **dict.fromkeys(ESTIMATORS, whole)}
    return [
        (task, form, seed)
        for task, forms in tasks.items()
        for seed in range(seeds * (MORE if task in ESTIMATORS else 1))
        for form in forms
    ]


Curves = dict[str, dict[str, np.ndarray]]


def finals(found: np.ndarray) -> np.ndarray:
    """Return the final loss of each seed."""
    return found[:, -max(found.shape[1] // LAST, 1) :].mean(1)


def off(curves: Curves) -> dict[str, dict[str, dict[str, float]]]:
    """Return by task and format how far the mean final loss is from float32's, and whether in its seeds' spread."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for task, of in curves.items():
        plain = finals(of["float32"])
        for form, found in of.items():
            mean = finals(found).mean()
            result.setdefault(task, {})[form] = {
                "mean": float(mean),
                "off_percent": float(100 * (mean / plain.mean() - 1)),
                "within_spread": bool(plain.min() <= mean <= plain.max()),
            }
    return result


def marks_of(curves: Curves, seeds: int) -> results.Figures:
    """Return the figures for the marks of the report; of fewer than five seeds, none."""
    far = off(curves)
    cells = [cell for of in far.values() for form, cell in of.items() if form != "float32"]
    worst = max(abs(cell["off_percent"]) for cell in cells)
    within = 100 * sum(cell["within_spread"] for cell in cells) / len(cells)
    enough = seeds >= SEEDS
    return {
        "tasks": far,
        "worst_off_percent": worst if enough else None,
        "within_spread_percent": within if enough else None,
    }


def table(curves: Curves) -> str:
    """Return the final losses, mean and standard deviation over the seeds, as a table in Markdown."""
    lines = ["| format | bytes a parameter | " + " | ".join(curves) + " |", "|---|---|" + "---|" * len(curves)]
    for form in FORMATS:
        ends = [finals(of[form]) if form in of else None for of in curves.values()]
        cells = ["\u2013" if found is None else f"{found.mean():.4f} ± {found.std(ddof=1):.4f}" for found in ends]
        lines.append(f"| {form} | {bytes_of(form).in_all:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(curves: Curves, path: Path) -> None:
    """Draw the mean curve of each format, smoothed, over the range of float32's seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    for axes, (task, of) in zip(figure.subplots(2, 2).flat, curves.items(), strict=True):
        width = max(of["float32"].shape[1] // 24, 1)
        for form, found in of.items():
            smooth = np.array([np.convolve(run, np.ones(width) / width, "valid") for run in found])
            at = np.arange(smooth.shape[1]) + width
            if form == "float32":
                axes.fill_between(at, smooth.min(0), smooth.max(0), alpha=0.25, color="gray")
            axes.plot(at, smooth.mean(0), lw=1, label=form)
        unit = "epoch" if task in ESTIMATORS else "step"
        axes.set(title=task.replace("`", ""), xlabel=unit, ylabel="training loss", yscale="log")
        axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=90, metadata={"Software": None})


def said(seeds: int) -> str:
    """Return in words how many runs there are."""
    return f"{seeds} seeds ({MORE * seeds} of the estimators' networks)"


def page(text: str, curves: Curves) -> str:
    """Return a page with this table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    seeds = len(next(iter(next(iter(curves.values())).values())))
    made = f"{BEGIN}\nMean ± standard deviation over {said(seeds)}:\n\n{table(curves)}{END}"
    return f"{before}{made}{rest.partition(END)[2]}"


def kept_results(path: Path | None) -> dict[str, list[float]]:
    """Return the curves that an earlier run left in a file."""
    return json.loads(path.read_text()) if path is not None and path.exists() else {}


def main() -> None:
    """Train all; print the table, and write it and the picture if the run is a whole one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two seeds, a third of the steps; the page stays")
    parser.add_argument("--seeds", type=int, help="5, or 2 with --quick")
    parser.add_argument("--keep", type=Path, help="a JSON file for finished curves: a run that was stopped goes on")
    parser.add_argument("--out", type=Path, help="a folder for fewer_bytes.md and fewer_bytes.json")
    parser.add_argument("--page", type=Path, default=DOCS / "fewer-bytes.md")
    parser.add_argument("--picture", type=Path, default=DOCS / "pictures" / "fewer-bytes.png")
    options = parser.parse_args()
    seeds = options.seeds or (2 if options.quick else SEEDS)
    todo = runs(seeds)
    found = kept_results(options.keep)
    names = {f"{task}: {form}, seed {seed}": (task, form, seed, options.quick) for task, form, seed in todo}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for name, curve in pool.imap(train_named, [(n, run) for n, run in names.items() if n not in found]):
            found[name] = curve
            if options.keep:
                options.keep.write_text(json.dumps(found))
    curves: Curves = {}
    for name, (task, form, _, _) in names.items():
        rows = curves.setdefault(task, {}).setdefault(form, np.empty((0, len(found[name]))))
        curves[task][form] = np.vstack([rows, found[name]])
    print(table(curves))
    facts = tables.head("quick" if options.quick else "full", seeds) | {"form": said(seeds)}
    about = f"Final training losses: mean ± standard deviation over {said(seeds)}, by format and task."
    figures = marks_of(curves, 0 if options.quick else seeds)
    results.write(options.out, "fewer_bytes", "Training in fewer bytes", facts, [about, table(curves)], figures)
    if options.out:
        draw(curves, options.out / "fewer_bytes.png")
    elif not options.quick:
        options.page.write_text(page(options.page.read_text("utf-8"), curves), "utf-8")
        draw(curves, options.picture)


if __name__ == "__main__":
    main()
