"""PyTorch's numbers, float64, to a relative 1e-12. The vectors are made by vectors/make_torch_vectors.py."""

from pathlib import Path

import numpy as np
import pytest
from cases import CASES
from vectors.make_torch_vectors import CHECKPOINTS, gradient, run_torch, start

VECTORS = np.load(Path(__file__).parent / "vectors" / "torch.npz")
IN_TORCH = [case for case in CASES if case.torch]


def compare(opt, param, expected, prefix):
    names = [name.removeprefix(prefix) for name in expected if name.startswith(prefix)]
    assert "param" in names
    for name in names:
        actual = param if name == "param" else opt.state["0"][name]
        np.testing.assert_allclose(actual, expected[prefix + name], rtol=1e-12, atol=1e-15, err_msg=prefix + name)


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize("case", IN_TORCH, ids=str)
def test_same_numbers_as_pytorch(case, engine):
    param = start()
    opt = case.make(param, engine=engine)
    for step in range(max(CHECKPOINTS)):
        opt.step(gradient(step))
        if step + 1 in CHECKPOINTS:
            compare(opt, param, VECTORS, f"{case.name}/{step + 1}/")


@pytest.mark.parametrize("case", IN_TORCH, ids=str)
def test_defaults_and_state_names_are_those_of_pytorch(case):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.optim, case.torch)([torch.nn.Parameter(torch.zeros(1))]).defaults
    ours = dict(case.optimizer(start()).param_groups[0])
    del ours["params"]
    for name, value in ours.items():
        assert theirs.get(name, 0.0) == value, name  # what PyTorch lacks is off


@pytest.mark.parametrize("case", IN_TORCH, ids=str)
def test_vectors_are_what_pytorch_says(case):
    pytest.importorskip("torch", minversion="2.13.0")
    for name, value in run_torch(case).items():
        np.testing.assert_allclose(VECTORS[name], value, rtol=1e-13, err_msg=name)
