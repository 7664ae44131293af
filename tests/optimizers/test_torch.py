"""PyTorch's numbers, float64, to a relative 1e-12. The vectors are made by vectors/make_torch_vectors.py."""

from pathlib import Path

import numpy as np
import pytest
from cases import CASES, MATRICES
from vectors.make_torch_vectors import CHECKPOINTS, SHAPES, SIZE, gradient, prefix, run_torch, start

VECTORS = np.load(Path(__file__).parents[1] / "helpers" / "vectors" / "torch.npz")
IN_TORCH = [(case, (SIZE,)) for case in CASES if case.torch]
IN_TORCH += [(case, shape) for case in MATRICES if case.torch for shape in SHAPES]
every_case = pytest.mark.parametrize(("case", "shape"), IN_TORCH, ids=str)


def compare(opt, param, expected, place):
    names = [name.removeprefix(place) for name in expected if name.startswith(place)]
    assert "param" in names
    for name in names:
        actual = param if name == "param" else opt.state["0"][name]
        np.testing.assert_allclose(actual, expected[place + name], rtol=1e-12, atol=1e-15, err_msg=place + name)


@pytest.mark.parametrize("engine", ["native", "numpy"])
@every_case
def test_same_numbers_as_pytorch(case, shape, engine):
    param = start().reshape(shape)
    opt = case.make(param, engine=engine)
    for step in range(max(CHECKPOINTS)):
        opt.step(gradient(step).reshape(shape))
        if step + 1 in CHECKPOINTS:
            compare(opt, param, VECTORS, f"{prefix(case, shape, step + 1)}/")


@every_case
def test_defaults_and_state_names_are_those_of_pytorch(case, shape):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.optim, case.torch)([torch.nn.Parameter(torch.zeros(shape))]).defaults
    ours = dict(case.optimizer(start().reshape(shape)).param_groups[0])
    del ours["params"]
    for name, value in ours.items():
        assert theirs.get(name, 0.0) == value, name  # what PyTorch lacks is off


@every_case
def test_vectors_are_what_pytorch_says(case, shape):
    pytest.importorskip("torch", minversion="2.13.0")
    for name, value in run_torch(case, shape).items():
        np.testing.assert_allclose(VECTORS[name], value, rtol=1e-13, err_msg=name)
