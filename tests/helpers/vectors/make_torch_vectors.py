"""Make torch.npz: what PyTorch 2.13.0 makes of the tests' cases in float64, after 1, 2, 10 and 100 steps.

Run from tests/helpers: `python vectors/make_torch_vectors.py`. Gradients and parameters come from a small generator
of our own, so that the file holds results only and does not depend on any library's random numbers.
"""

from pathlib import Path

import numpy as np

SIZE = 12
SHAPES = ((4, 3), (3, 4))  # of matrices
CHECKPOINTS = (1, 2, 10, 100)


def start() -> np.ndarray:
    """Return the parameters to start from."""
    return np.sin(np.arange(1, SIZE + 1) * 1.7) * 2.0


def gradient(step: int) -> np.ndarray:
    """Return the gradient of a step: of very different sizes, with zeros among them."""
    i = np.arange(SIZE)
    values = np.sin((i + 1) * (step + 1) * 0.61803398875) * 10.0 ** ((i % 5) - 3.0)
    values[(i + step) % 7 == 0] = 0.0
    return values


def run_torch(case, shape: tuple[int, ...] = (SIZE,)) -> dict[str, np.ndarray]:
    """Return parameters and state at the checkpoints, by `<case>/<step>/<name>`; `<case>/<shape>/...` of matrices."""
    import torch

    usual, rounded = torch.get_default_dtype(), torch.Tensor.bfloat16
    torch.set_default_dtype(torch.float64)  # else ASGD and NAdam keep numbers of their own in float32
    torch.Tensor.bfloat16 = torch.Tensor.clone  # Muon's iteration in float64 too
    try:
        return _run_torch(case, shape)
    finally:
        torch.set_default_dtype(usual)
        torch.Tensor.bfloat16 = rounded


def prefix(case, shape: tuple[int, ...], step: int) -> str:
    """Return what the names of a checkpoint's vectors begin with."""
    return "/".join([case.name, *(["x".join(map(str, shape))] if len(shape) > 1 else []), str(step)])


def _run_torch(case, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    import torch

    param = torch.nn.Parameter(torch.tensor(start().reshape(shape)))
    opt = getattr(torch.optim, case.torch)(
        [param], **case.options, **({} if case.torch == "Muon" else {"foreach": False})
    )
    found = {}
    for step in range(max(CHECKPOINTS)):
        param.grad = torch.tensor(gradient(step).reshape(shape))
        opt.step()
        if step + 1 in CHECKPOINTS:
            arrays = {"param": param.detach().numpy().copy()}
            arrays |= {
                key: value.numpy().copy()
                for key, value in opt.state[param].items()
                if value is not None and value.ndim  # not the step, nor other numbers that a rule keeps
            }
            found |= {f"{prefix(case, shape, step + 1)}/{key}": value for key, value in arrays.items()}
    return found


def main() -> None:
    """Write the vectors of every case that PyTorch has."""
    import sys

    import torch

    folder = Path(__file__).parent
    sys.path.insert(0, str(folder.parent))
    from cases import CASES, MATRICES

    assert torch.__version__.startswith("2.13.0"), torch.__version__
    vectors: dict[str, np.ndarray] = {}
    for case in CASES:
        if case.torch:
            vectors |= run_torch(case)
    for case in MATRICES:
        if case.torch:
            for shape in SHAPES:
                vectors |= run_torch(case, shape)
    np.savez_compressed(folder / "torch.npz", **vectors)
    print(f"{len(vectors)} vectors, torch {torch.__version__}")


if __name__ == "__main__":
    main()
