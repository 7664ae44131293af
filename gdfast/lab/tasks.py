"""The data that the lab's estimators learn from: points, words of messages, images of digits."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from gdfast.lab.texts import MESSAGES

__all__ = ["digits", "first_points", "rows_of", "vocabulary"]

Array: TypeAlias = np.ndarray[Any, Any]


def first_points(task: str) -> list[list[float]]:
    """Return points to begin with."""
    rng = np.random.default_rng(5)
    if task == "line":
        x = rng.uniform(-0.9, 0.9, 36)
        y = 0.6 * x - 0.15 + 0.1 * rng.standard_normal(36)
        return [[*pair, 0] for pair in np.round(np.clip(np.column_stack([x, y]), -1, 1), 3).tolist()]
    if task == "classes":
        angle = rng.uniform(0.0, np.pi, 80)
        label = np.arange(80) % 2
        x = np.where(label, 0.28 - 0.55 * np.cos(angle), 0.55 * np.cos(angle) - 0.28) + 0.06 * rng.standard_normal(80)
        y = np.where(label, 0.22 - 0.6 * np.sin(angle), 0.6 * np.sin(angle) - 0.22) + 0.06 * rng.standard_normal(80)
        rounded = np.round(np.clip(np.column_stack([x, y]), -1, 1), 3).tolist()
        return [[*pair, int(one)] for pair, one in zip(rounded, label, strict=True)]
    return []


def rows_of(task: str, points: Sequence[tuple[float, float, int]]) -> tuple[Array, Array]:
    """Return the rows of a task and their targets; `points` are those of a line and of classes."""
    if task in ("line", "classes"):
        table = np.array(points, float).reshape(-1, 3)
        return (table[:, :1], table[:, 1]) if task == "line" else (table[:, :2], table[:, 2].astype(int))
    if task == "words":
        return _messages()
    images, labels, _ = digits()
    return images, labels


@cache
def vocabulary() -> list[str]:
    """Return the words of the messages that more than one of them has."""
    words = [word for text, _ in MESSAGES for word in set(text.split())]
    return sorted(word for word in set(words) if words.count(word) > 1)


@cache
def _messages() -> tuple[Array, Array]:
    known = vocabulary()
    rows = [[float(word in text.split()) for word in known] for text, _ in MESSAGES]
    return np.array(rows), np.array([label for _, label in MESSAGES])


@cache
def digits() -> tuple[Array, Array, Array]:
    """Return every third image, its digit, and the mean image."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = loaded.data[::3] / 16
    mean = images.mean(0)
    return images - mean, loaded.target[::3], mean
