"""optax's numbers, float64, to a relative 1e-12. The vectors are made by vectors/make_optax_vectors.py."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, MATRICES
from vectors.make_optax_vectors import FILE, MATRIX_TWINS, TWINS
from vectors.make_torch_vectors import CHECKPOINTS, SHAPES, SIZE, gradient, prefix, start

VECTORS = np.load(FILE)
IN_OPTAX = [(case, (SIZE,)) for case in CASES if case.name in TWINS]
MATRICES_IN_OPTAX = [(case, shape) for case in MATRICES if case.name in MATRIX_TWINS for shape in SHAPES]


@pytest.mark.parametrize("engine", ["native", "numpy"])
@pytest.mark.parametrize(("case", "shape"), [*IN_OPTAX, *MATRICES_IN_OPTAX], ids=str)
def test_same_numbers_as_optax(case, shape, engine):
    param = start().reshape(shape)
    opt = case.make(param, l1=0.0, engine=engine)
    for step in range(max(CHECKPOINTS)):
        opt.step(gradient(step).reshape(shape))
        if step + 1 in CHECKPOINTS:
            expected = VECTORS[prefix(case, shape, step + 1)]
            np.testing.assert_allclose(param, expected, rtol=1e-12, atol=1e-15, err_msg=f"step {step + 1}")


def test_every_rule_of_optax_has_a_case():
    assert {case.name for case, _ in IN_OPTAX} == set(TWINS)
    assert {case.name for case, _ in MATRICES_IN_OPTAX} == set(MATRIX_TWINS)


def test_vectors_are_what_optax_says(tmp_path):
    """In a process of its own: one that has started JAX should not be forked, as other tests do."""
    if find_spec("optax") is None:
        pytest.skip("optax is not installed")
    path = tmp_path / "again.npz"
    script = Path(__file__).parents[1] / "helpers" / "vectors" / "make_optax_vectors.py"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, script, path], check=True, timeout=300, env=environment)
    again = np.load(path)
    assert set(again) == set(VECTORS)
    for name in VECTORS:
        np.testing.assert_allclose(VECTORS[name], again[name], rtol=1e-13, err_msg=name)
