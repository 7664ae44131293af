"""Fits and steps inside the workers of other libraries, each way in a process of its own.

`python nested_threads.py WAY ARGUMENTS`.
The workers are forked, which only a process without the threads of other libraries may do.
"""

import sys

import joblib
import numpy as np
from sklearn.datasets import make_classification
from sklearn.model_selection import cross_val_score

import gdfast
from gdfast.sklearn import GDClassifier, MLPClassifier

ESTIMATORS = {
    "linear": GDClassifier(random_state=0, max_iter=5, tol=None),
    "network": MLPClassifier((32,), max_iter=3, tol=None, random_state=0),
}


def stepped():
    """Parameters large enough for several threads, after two steps."""
    param = np.linspace(0.0, 1.0, 300_000)
    opt = gdfast.Adam(param, n_threads=2)
    for _ in range(2):
        opt.step(np.cos(param))
    return param.tobytes()


def cross_validate(name, backend):
    """Check that the scores of workers are those outside of them."""
    X, y = make_classification(2_000, 40, n_informative=20, random_state=0)
    outside = cross_val_score(ESTIMATORS[name], X, y, cv=4)
    with joblib.parallel_backend(backend, n_jobs=2):
        inside = cross_val_score(ESTIMATORS[name], X, y, cv=4)
    assert outside.tolist() == inside.tolist(), (outside, inside)


def step(backend):
    """Check that the parameters that workers step are those stepped outside of them."""
    expected = stepped()  # which starts the helpers that forked workers do not inherit
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(stepped)() for _ in range(4))
    assert found == [expected] * 4


def load():
    """Check the same of the workers of PyTorch's DataLoader."""
    import torch

    class Stepped(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.frombuffer(bytearray(stepped()), dtype=torch.uint8)

    expected = stepped()
    loader = torch.utils.data.DataLoader(Stepped(), num_workers=2, multiprocessing_context="fork")
    found = [batch[0].numpy().tobytes() for batch in loader]
    assert found == [expected] * 4


if __name__ == "__main__":
    way, *arguments = sys.argv[1:]
    {"cross_validate": cross_validate, "step": step, "load": load}[way](*arguments)
    print("the same")
