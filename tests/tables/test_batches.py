"""The order in which rows come, batches made whole mini-batches, and reading ahead: its errors and its end."""

import threading

import numpy as np
import pytest

from gdfast.tables.batches import Batch, in_steps, mixed_groups, mixed_sequence, read_ahead

GROUPS = [7, 20, 1, 13, 9, 20, 4]
STARTS = np.cumsum([0, *GROUPS])


def reader(read=None):
    def pieces(group, rows):
        if read is not None:
            read.append(group)
        for at in range(STARTS[group], STARTS[group + 1], rows):
            yield np.arange(at, min(at + rows, STARTS[group + 1]))

    return pieces


def rows_of(mixed):
    parts = [np.concatenate(pieces)[order] for pieces, order in mixed]
    return np.concatenate(parts) if parts else np.arange(0)


def grouped(**how):
    read = how.pop("read", None)
    return rows_of(mixed_groups(reader(read), GROUPS, 12, **{"seed": 3, "epoch": 0, "mix": 3, **how}))


def sequence(**how):
    pieces = (np.arange(at, min(at + 5, 74)) for at in range(0, 74, 5))
    return rows_of(mixed_sequence(pieces, **{"seed": 3, "epoch": 0, "mix": 3, **how}))


@pytest.mark.parametrize("mixed", [grouped, sequence])
def test_every_row_comes_once_in_an_order_of_the_seed_and_the_epoch(mixed):
    orders = [mixed(), mixed(seed=4), mixed(epoch=1), mixed(mix=2)]
    for order in orders:
        assert sorted(order) == list(range(74))
    assert len({tuple(order) for order in orders}) == 4
    np.testing.assert_array_equal(mixed(), orders[0])
    np.testing.assert_array_equal(mixed(seed=None), np.arange(74))


@pytest.mark.parametrize("mixed", [grouped, sequence])
@pytest.mark.parametrize("seed", [3, None])
def test_a_start_leaves_out_the_rows_before_it(mixed, seed):
    whole = mixed(seed=seed)
    for start in range(76):
        np.testing.assert_array_equal(mixed(seed=seed, start=start), whole[start:])


def test_what_lies_before_the_start_is_not_read():
    read = []
    grouped(read=read, start=73)
    assert len(read) == 1


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("sizes", [[10], [3, 3, 3, 3], [25, 1, 1, 9, 8], [8, 8], [16, 3], [1] * 20])
def test_batches_become_whole_mini_batches(sizes, sparse):
    from scipy.sparse import csr_array

    rng, n, at = np.random.default_rng(0), sum(sizes), 0
    X, y, w = rng.normal(size=(n, 3)), np.arange(n), rng.random(n)
    batches, expected = [], []
    for size in sizes:
        order = rng.permutation(size)
        part = X[at : at + size]
        batches.append(Batch(csr_array(part) if sparse else part, y[at : at + size], w[at : at + size], order))
        expected += (at + order).tolist()
        at += size
    found = list(in_steps(batches, 8))
    assert all(len(batch) % 8 == 0 for batch in found[:-1])
    assert all(len(batch) for batch in found)
    order = [row for batch in found for row in batch.y[batch.order]]
    assert order == expected
    for batch in found:
        dense = batch.X.toarray() if sparse else batch.X
        np.testing.assert_array_equal(dense[batch.order], X[batch.y[batch.order]])
        np.testing.assert_array_equal(batch.weights[batch.order], w[batch.y[batch.order]])


def test_one_item_is_read_ahead_by_another_thread():
    threads = []

    def items():
        for i in range(3):
            threads.append(threading.current_thread().name)
            yield i

    assert list(read_ahead(items())) == [0, 1, 2]
    assert all(name.startswith("gdfast-reader") for name in threads)


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise OSError("the disk is gone")

    found = read_ahead(items())
    assert next(found) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


def test_who_stops_early_leaves_no_thread_and_nothing_open():
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    before = threading.active_count()
    found = read_ahead(items())
    assert next(found) == 0
    found.close()
    assert closed
    assert threading.active_count() == before
    assert list(read_ahead([1, 2])) == [1, 2]  # what has no close
