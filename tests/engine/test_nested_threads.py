"""Fits and steps inside the workers of other libraries: the same bits as outside, and every worker ends."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.model_selection import cross_val_score

import gdfast
from arrays import assert_same_bits

X, Y = make_classification(2_000, 40, n_informative=20, random_state=0)


def estimator(network):
    from gdfast.sklearn import GDClassifier, MLPClassifier

    if network:
        return MLPClassifier((32,), max_iter=3, tol=None, random_state=0)
    return GDClassifier(random_state=0, max_iter=5, tol=None)


def stepped(_=0):
    """Parameters large enough for several threads, after two steps."""
    param = np.linspace(0.0, 1.0, 300_000)
    opt = gdfast.Adam(param, n_threads=2)
    for _ in range(2):
        opt.step(np.cos(param))
    return param


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
@pytest.mark.parametrize("network", [False, True], ids=["linear", "network"])
def test_joblib_workers(network, backend):
    import joblib

    outside = cross_val_score(estimator(network), X, Y, cv=4)
    with joblib.parallel_backend(backend, n_jobs=2):
        inside = cross_val_score(estimator(network), X, Y, cv=4)
    assert outside.tolist() == inside.tolist()
    if backend != "loky":  # whose workers cannot import this file
        for param in joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(stepped)() for _ in range(4)):
            assert_same_bits(param, stepped())


@pytest.mark.slow
def test_workers_of_a_data_loader():
    torch = pytest.importorskip("torch")

    class Stepped(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return stepped()

    expected = stepped()  # which starts the helpers that the workers do not inherit
    for batch in torch.utils.data.DataLoader(Stepped(), num_workers=2, multiprocessing_context="fork"):
        assert_same_bits(batch[0].numpy(), expected)
