"""The models of `whole_trainings`: plain PyTorch, with their data, and how each contender steps them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

import gdfast.torch

VOCABULARY, LENGTH = 512, 64
CLIP, LR = 1.0, 1e-3
BATCHES = 8  # different ones, taken in turn
Batch = tuple[torch.Tensor, torch.Tensor]
Loss = Callable[[nn.Module, Batch], torch.Tensor]


@dataclass(frozen=True)
class Training:
    """A model and its data. `sparse`: it has a table whose gradients are rows, and no clipping, which needs all."""

    name: str
    batch: int
    model: Callable[[], nn.Module]
    data: Callable[[int], Batch]
    loss: Loss
    sparse: bool = False


class Transformer(nn.Module):
    """A transformer that predicts the next of 512 words."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCABULARY, width), nn.Parameter(torch.randn(LENGTH, width) * 0.02)
        layers = [
            nn.TransformerEncoderLayer(width, max(2, width // 64), 4 * width, 0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        ]
        self.layers, self.out = nn.ModuleList(layers), nn.Linear(width, VOCABULARY)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embed(words) + self.place
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=True)
        return self.out(x)


def convolutional() -> nn.Module:
    """A small network for images of 28 by 28: 0.46M parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


class Ratings(nn.Module):
    """A rating from the rows of a user and an item in one table, and a small network."""

    def __init__(self, rows: int, width: int = 32) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width, sparse=True)
        self.network = nn.Sequential(nn.Linear(2 * width, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        return self.network(self.table(pairs).flatten(1)).squeeze(1)


def words(batch: int) -> Batch:
    text = torch.randint(VOCABULARY, (batch, LENGTH + 1))
    return text[:, :-1], text[:, 1:]


def images(batch: int) -> Batch:
    return torch.randn(batch, 1, 28, 28), torch.randint(10, (batch,))


def of_classes(model: nn.Module, batch: Batch) -> torch.Tensor:
    return cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


def transformer(name: str, batch: int, width: int, depth: int) -> Training:
    """Return a training of a transformer."""
    return Training(f"transformer, {name}", batch, lambda: Transformer(width, depth), words, of_classes)


def ratings(name: str, batch: int, rows: int) -> Training:
    """Return a training of a table of which a batch takes a few rows."""

    def pairs(size: int) -> Batch:
        return torch.randint(rows, (size, 2)), torch.randn(size)

    return Training(
        f"embedding, {name}", batch, lambda: Ratings(rows), pairs, lambda m, b: mse_loss(m(b[0]), b[1]), sparse=True
    )


TRAININGS = [
    transformer("0.5M", 8, 128, 2),
    transformer("5M", 4, 256, 6),
    transformer("29M", 1, 512, 9),
    Training("convolutional, 0.5M", 8, convolutional, images, of_classes),
    ratings("1M rows of 32", 256, 1_000_000),
]
QUICK = [transformer("0.5M", 8, 128, 2), TRAININGS[3], ratings("100k rows of 32", 256, 100_000)]

#: what makes of a model what is to be called after each backward pass, until the `with` block ends
Contender = Callable[[nn.Module, bool], Any]


def optimizers(module: Any, model: nn.Module, sparse: bool, **options: Any) -> list[Any]:
    """Return AdamW of all parameters, or SparseAdam of the table and AdamW of the others."""
    if not sparse:
        return [module.AdamW(model.parameters(), lr=LR, **options)]
    tables = [param for name, param in model.named_parameters() if name.startswith("table.")]
    others = [param for name, param in model.named_parameters() if not name.startswith("table.")]
    return [module.SparseAdam(tables, lr=LR), module.AdamW(others, lr=LR, **options)]


def three_calls(module: Any, clip: bool = True, **options: Any) -> Contender:
    """`clip_grad_norm_`, `step`, `zero_grad`."""

    @contextmanager
    def contender(model: nn.Module, sparse: bool) -> Iterator[Callable[[], None]]:
        opts, params = optimizers(module, model, sparse, **options), list(model.parameters())

        def after() -> None:
            if clip and not sparse:
                torch.nn.utils.clip_grad_norm_(params, CLIP)
            for opt in opts:
                opt.step()
            for opt in opts:
                opt.zero_grad()

        yield after

    return contender


@contextmanager
def one_call(model: nn.Module, sparse: bool) -> Iterator[Callable[[], None]]:
    """`gdfast.torch.AdamW(..., clip_norm=1.0)`, and `step(zero_grad=True, set_to_none=True)`."""
    (opt,) = optimizers(gdfast.torch, model, sparse, clip_norm=CLIP)
    yield lambda: opt.step(zero_grad=True, set_to_none=True)


@contextmanager
def clip_in_step(model: nn.Module, sparse: bool) -> Iterator[Callable[[], None]]:
    """`gdfast.torch.AdamW(..., clip_norm=1.0)`, then `zero_grad()`, as the loops of other libraries do it."""
    (opt,) = optimizers(gdfast.torch, model, sparse, clip_norm=CLIP)

    def after() -> None:
        opt.step()
        opt.zero_grad()

    yield after


@contextmanager
def in_backward(model: nn.Module, sparse: bool) -> Iterator[Callable[[], None]]:
    """`gdfast.torch.step_in_backward`."""
    opts = optimizers(gdfast.torch, model, sparse)
    handles = [gdfast.torch.step_in_backward(model, opt) for opt in opts]

    def after() -> None:
        for opt in opts:
            opt.step()

    yield after
    for handle in handles:
        handle.remove()


DEFAULT, FUSED, OURS = "PyTorch", "PyTorch fused", "gdfast.torch"
IN_STEP, ONE_CALL = "gdfast.torch, clip_norm", "gdfast.torch, one call"
NO_CLIP, IN_BACKWARD = "PyTorch fused, without clipping", "gdfast.torch, step_in_backward"
CONTENDERS: dict[str, Contender] = {
    DEFAULT: three_calls(torch.optim),
    FUSED: three_calls(torch.optim, fused=True),
    OURS: three_calls(gdfast.torch),
    IN_STEP: clip_in_step,
    ONE_CALL: one_call,
    NO_CLIP: three_calls(torch.optim, clip=False, fused=True),
    IN_BACKWARD: in_backward,
}
#: whose losses are to be the same
ALIKE = {DEFAULT: [FUSED, OURS, IN_STEP, ONE_CALL], NO_CLIP: [IN_BACKWARD]}


def taking_part(training: Training) -> dict[str, Contender]:
    """Return the contenders. Rows of a table are not zeroed in place, nor is anything clipped beside them."""
    left_out = (IN_STEP, ONE_CALL, NO_CLIP) if training.sparse else ()
    return {name: make for name, make in CONTENDERS.items() if name not in left_out}
