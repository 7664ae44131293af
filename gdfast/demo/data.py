"""The digits of scikit-learn: 1,797 images of 8 x 8 pixels, ten classes."""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from gdfast.demo.network import Array


@dataclass(frozen=True)
class Data:
    """Images, one a row, and their classes, for the training and for the test."""

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array


def load(seed: int, test_share: float = 0.2) -> Data:
    """Return the digits, split at random with every class in its proportion.

    Parameters
    ----------
    seed : int
        Of the split, from 0 to below 2**32.
    test_share : float
        The share of the images that is kept for the test.

    Returns
    -------
    Data
        float32: pixels from 0 to 1, less the mean training image.
    """
    digits = load_digits()
    split = train_test_split(
        digits.data / 16, digits.target, test_size=test_share, stratify=digits.target, random_state=seed
    )
    train, test, train_labels, test_labels = split
    mean = train.mean(axis=0)
    return Data((train - mean).astype(np.float32), train_labels, (test - mean).astype(np.float32), test_labels)
