"""An embedding of which few rows have gradients: what is rare must train in fewer bits as it does in float32."""

import numpy as np
import pytest

import gdfast
from gdfast.arrays.formats import FORMATS

ROWS, WIDTH = 200, 128


def gradients(seed, steps=600):
    """A few rows a step, the first ones often, the last ten never; as row numbers and their gradients."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, ROWS + 1)
    share[-10:] = 0
    for _ in range(steps):
        rows = np.unique(rng.choice(ROWS, 6, p=share / share.sum()))
        yield rows, (rng.standard_normal((len(rows), WIDTH)) * 1e-2 + 1e-3).astype(np.float32)


def dense(rows, values):
    grad = np.zeros((ROWS, WIDTH), np.float32)
    grad[rows] = values
    return grad


@pytest.mark.parametrize("width", [WIDTH, 100])  # rows of whole blocks, and rows that share them
@pytest.mark.parametrize("form", FORMATS)
def test_rows_of_a_dense_gradient_move_as_in_float32(form, width):
    short, whole = np.zeros((ROWS, width), np.float32), np.zeros((ROWS, width), np.float32)
    opt, exact = gdfast.Adam(short, lr=1e-3, state_dtype=form), gdfast.Adam(whole, lr=1e-3)
    for rows, values in gradients(1):
        for each in (opt, exact):
            each.step(dense(rows, values)[:, :width].copy())
    assert not short[-10:].any()  # what never had a gradient never moves
    assert np.abs(short - whole).max() <= 0.25 * np.abs(whole).max()
    moved, expected = np.abs(short[:-10]).mean(1), np.abs(whole[:-10]).mean(1)
    named = expected > 0
    assert np.all(moved[~named] == 0)
    assert np.all(moved[named] <= 1.5 * expected[named])
    assert np.all(moved[named] >= 0.6 * expected[named])
    v, exact_v = opt.state_value("0", "exp_avg_sq"), exact.state["0"]["exp_avg_sq"]
    assert v.mean(dtype=float) == pytest.approx(exact_v.mean(dtype=float), rel=0.05)
    assert np.all(v[exact_v > 0] > 0)  # a zero under the root would let a parameter run away


@pytest.mark.parametrize("form", FORMATS)
def test_rows_of_a_sparse_gradient_move_as_in_float32(form):
    short, whole = np.zeros((ROWS, WIDTH), np.float32), np.zeros((ROWS, WIDTH), np.float32)
    opt, exact = gdfast.Adam(short, lr=1e-3, state_dtype=form), gdfast.Adam(whole, lr=1e-3)
    for rows, values in gradients(2):
        for each in (opt, exact):
            each.step(gdfast.Rows(rows, values))
    still = ~whole.any(1)
    assert still[-10:].all()
    assert not short[still].any()
    assert np.abs(short - whole).max() <= 0.25 * np.abs(whole).max()
    assert np.abs(short).mean() == pytest.approx(np.abs(whole).mean(), rel=0.05)
