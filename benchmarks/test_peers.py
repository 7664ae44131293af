"""Every contender does the same mathematics: after a few steps with changing gradients all agree with gdfast."""

import numpy as np
import pytest

from benchmarks.peers import CONTENDERS, DROP_IN, LIMITS, Contender, Run
from benchmarks.workloads import IN_TORCH, MODELS, RULES, Workload

# Held against how far the parameters moved (about 1e-3 to 1e-1), not against the parameters: float32 roundings of a few
# steps stay within this, a wrong formula does not.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
OTHERS = [c for c in CONTENDERS if c.name != "gdfast" and c not in LIMITS]


def moved(run: Run, work: Workload, steps: int = 3) -> list[np.ndarray]:
    """Return how far the parameters are after steps with gradients that differ from step to step."""
    start = [p.copy() for p in run.params()]
    rng = np.random.default_rng(7)
    for _ in range(steps):
        run.set_grads([rng.standard_normal(size, work.dtype) for size in work.sizes])
        with run.around():
            run.step()
    return [p - first for p, first in zip(run.params(), start, strict=True)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("contender", OTHERS, ids=str)
def test_same_mathematics(contender: Contender, rule: str, threads: int) -> None:
    if not contender.available():
        pytest.skip(f"{contender.needs} is not installed")
    if not contender.supports(rule):
        pytest.skip(f"{contender} has no {rule}")
    work = Workload(rule, "10k", threads=threads)
    want = moved(CONTENDERS[0].setup(work), work)
    got = moved(contender.setup(work), work)
    assert [p.dtype for p in got] == [p.dtype for p in want]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE)


@pytest.mark.parametrize("contender", OTHERS, ids=str)
def test_same_mathematics_for_many_arrays_in_float64(contender: Contender) -> None:
    if not contender.available():
        pytest.skip(f"{contender.needs} is not installed")
    work = Workload("adam", "200 x 64", "float64", threads=1)
    want = moved(CONTENDERS[0].setup(work), work)
    for a, b in zip(moved(contender.setup(work), work), want, strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)  # optax has its corrections in float32


@pytest.mark.parametrize("rule", IN_TORCH)
@pytest.mark.parametrize("contender", DROP_IN[1:], ids=str)
def test_same_mathematics_through_tensors(contender: Contender, rule: str) -> None:
    if not contender.available():
        pytest.skip(f"{contender.needs} is not installed")
    if not contender.supports(rule):
        pytest.skip(f"{contender} has no {rule}")
    work = Workload(rule, "10k", threads=1)
    want = moved(DROP_IN[0].setup(work), work)
    for a, b in zip(moved(contender.setup(work), work), want, strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_the_limit_touches_every_element(limit: Contender, threads: int) -> None:
    work = Workload("amsgrad", "100k", threads=threads)
    params, grads = work.arrays()
    run = limit.setup(work)
    run.step()
    for got, param, grad in zip(run.params(), params, grads, strict=True):
        np.testing.assert_array_equal(got, param + grad)


def test_the_models_are_what_they_are_called() -> None:
    assert [(name, len(sizes), round(sum(sizes) / 1e6, 1)) for name, sizes in MODELS.items()] == [
        ("ResNet-18", 62, 11.7),
        ("GPT-2 small", 148, 124.4),
    ]
