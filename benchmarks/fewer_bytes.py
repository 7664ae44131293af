"""Training in fewer bytes: final losses by format, beside the spread of float32's own seeds.

    python -m benchmarks.fewer_bytes [FOLDER [SEEDS]]

Trains a character transformer on the standard library's sources and a convolutional network on scikit-learn's digits
with AdamW, each with five seeds, and writes a table and a picture of the curves to the folder (docs/report by default).
PyTorch computes the gradients; the parameters and state are NumPy arrays that gdfast steps.
"""

import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gdfast

AVERAGED = 50  # steps at the end whose mean loss is the final one
#: name -> dtype of the parameters, dtype of the gradients, options
FORMATS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "float32": (np.float32, np.float32, {}),
    "bfloat16 state": (np.float32, np.float32, {"state_dtype": "bfloat16"}),
    "8bit state": (np.float32, np.float32, {"state_dtype": "8bit"}),
    "bfloat16 gradients, 8bit state": (np.float32, ml_dtypes.bfloat16, {"state_dtype": "8bit"}),
    "bfloat16 split, bfloat16 state": (ml_dtypes.bfloat16, ml_dtypes.bfloat16, {"state_dtype": "bfloat16"}),
    "bfloat16 split, 8bit state": (ml_dtypes.bfloat16, ml_dtypes.bfloat16, {"state_dtype": "8bit"}),
    "bfloat16 stochastic, 8bit state": (
        ml_dtypes.bfloat16,
        ml_dtypes.bfloat16,
        {"state_dtype": "8bit", "master": None},
    ),
}


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


def characters(seed: int) -> tuple[nn.Module, float, Iterator[Callable[[nn.Module], torch.Tensor]]]:
    """Return a model, a learning rate, and a loss a step, on the sources of Python's standard library."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = "".join(path.read_text("ascii", "ignore") for path in sorted(folder.glob("[a-d]*.py")))
    data = torch.from_numpy(np.frombuffer(text.encode(), np.uint8).astype(np.int64) % 128)

    def losses() -> Iterator[Callable[[nn.Module], torch.Tensor]]:
        rng = np.random.default_rng(seed)
        for _ in range(600):
            starts = rng.integers(0, len(data) - 65, 16)
            rows = torch.stack([data[start : start + 65] for start in starts])
            yield lambda model, rows=rows: cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    return Characters(), 3e-3, losses()


def digits(seed: int) -> tuple[nn.Module, float, Iterator[Callable[[nn.Module], torch.Tensor]]]:
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
        for _ in range(300):
            chosen = torch.from_numpy(rng.integers(0, len(y), 64))
            noise = torch.from_numpy(rng.standard_normal((64, 1, 8, 8)).astype(np.float32) * 0.5)
            yield lambda model, chosen=chosen, noise=noise: cross_entropy(model(x[chosen] + noise), y[chosen])

    return model, 1e-3, losses()


TASKS = {"characters, transformer": characters, "noisy digits, convolutional": digits}


def train(task: Callable[[int], Any], seed: int, form: str) -> list[float]:
    """Return the loss of each step."""
    torch.manual_seed(seed)
    model, lr, losses = task(seed)
    dtype, grad_dtype, options = FORMATS[form]
    shown = [param.detach().numpy() for param in model.parameters()]  # the model's own memory
    params = shown if dtype is np.float32 else [array.astype(dtype) for array in shown]
    opt = gdfast.AdamW(params, lr=lr, seed=seed, **options)
    curve = []
    for loss_of in losses:
        loss = loss_of(model)
        model.zero_grad()
        loss.backward()
        opt.step([param.grad.numpy().astype(grad_dtype) for param in model.parameters()])
        if params is not shown:
            for array, param in zip(shown, params, strict=True):
                array[...] = param
        curve.append(loss.item())
    return curve


def bytes_of(form: str) -> float:
    """Return how many bytes a parameter takes, gradient included, of a large array."""
    dtype, grad_dtype, options = FORMATS[form]
    param = np.zeros(1 << 20, dtype)
    opt = gdfast.AdamW(param, **options)
    state = sum(array.nbytes for array in opt.state["0"].values())
    return (param.nbytes + state) / param.size + np.dtype(grad_dtype).itemsize


def table(finals: dict[str, dict[str, np.ndarray]]) -> str:
    """Return the final losses, mean and standard deviation over the seeds, as a table in Markdown."""
    lines = ["| format | bytes a parameter | " + " | ".join(finals) + " |", "|---|---|" + "---|" * len(finals)]
    for form in FORMATS:
        cells = [f"{of[form].mean():.3f} ± {of[form].std(ddof=1):.3f}" for of in finals.values()]
        lines.append(f"| {form} | {bytes_of(form):.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(curves: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Draw the mean curve of each format, smoothed, over the range of float32's seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, (task, of) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        for form, runs in of.items():
            smooth = np.array([np.convolve(run, np.ones(25) / 25, "valid") for run in runs])
            if form == "float32":
                axes.fill_between(np.arange(smooth.shape[1]), smooth.min(0), smooth.max(0), alpha=0.25, color="gray")
            axes.plot(smooth.mean(0), lw=1, label=form)
        axes.set(title=task, xlabel="step", ylabel="training loss", yscale="log")
    axes.legend(fontsize="x-small")
    figure.savefig(path, dpi=110)


def main(folder: str = "docs/report", seeds: str = "5") -> None:
    """Train all, write the table and the picture."""
    torch.set_num_threads(1)
    curves = {
        name: {form: np.array([train(task, seed, form) for seed in range(int(seeds))]) for form in FORMATS}
        for name, task in TASKS.items()
    }
    finals = {name: {form: runs[:, -AVERAGED:].mean(1) for form, runs in of.items()} for name, of in curves.items()}
    text = table(finals)
    print(text)
    intro = (
        f"# Training in fewer bytes\n\nWritten by `python -m benchmarks.fewer_bytes`: AdamW, {seeds} seeds; loss of "
        f"the last {AVERAGED} steps, mean and\nstandard deviation over the seeds. Bytes count parameter, gradient and "
        "state of a large array.\n\n"
    )
    Path(folder, "fewer-bytes.md").write_text(f"{intro}{text}\n\n![The curves](fewer-bytes.png)\n")
    draw(curves, Path(folder, "fewer-bytes.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
