"""Parameters, optimizers and comparisons of `gdfast.torch` with what lies in fewer bits."""

import inspect
import io

import pytest
from torch_cases import torch

from arrays import assert_same_bits

ml_dtypes = pytest.importorskip("ml_dtypes")
nn = torch.nn
SHAPES = [(70, 60), (), (5,), (2, 0), (129,)]
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
#: how something can lie in fewer bits
WAYS = {
    "split": ("bfloat16", {}),
    "split, 8bit": ("bfloat16", {"state_dtype": "8bit", "state_dtype_min_size": 0, "seed": 7}),
    "float32 master": ("bfloat16", {"master": "float32"}),
    "stochastic": ("bfloat16", {"master": None, "seed": 2**32 - 1}),
    "stochastic, bfloat16": ("bfloat16", {"master": None, "state_dtype": "bfloat16", "state_dtype_min_size": 0}),
    "nearest": ("bfloat16", {"master": None, "rounding": "nearest"}),
    "float16": ("float16", {}),
    "float16, 8bit": ("float16", {"state_dtype": "8bit", "state_dtype_min_size": 0}),
    "float16 alone": ("float16", {"master": None, "rounding": "nearest"}),
    "float32, 8bit": ("float32", {"state_dtype": "8bit", "state_dtype_min_size": 0, "seed": 3}),
    "float32, bfloat16": ("float32", {"state_dtype": "bfloat16"}),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS)


def array_of(tensor):
    """Return a copy of a tensor as an array, of ml_dtypes.bfloat16 where it is bfloat16."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16).copy()
    return tensor.numpy().copy()


def parameters(dtype, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in SHAPES]


def set_grads(params, step, dtype=None):
    """Set gradients, of any dtype, and return them as arrays."""
    generator = torch.Generator().manual_seed(100 + step)
    for param in params:
        param.grad = None
        param.grad_dtype = dtype or param.dtype
        param.grad = torch.randn(param.shape, generator=generator).to(dtype or param.dtype)
    return [array_of(param.grad) for param in params]


def optimizer_of(case, way, params, **more):
    """Return an optimizer, or None where the rule has no state that can be so short."""
    try:
        return case.ours(params, **{**WAYS[way][1], **more})
    except ValueError as error:
        assert "none of its states" in str(error)  # noqa: PT017
        return None


def twin(opt, arrays, way, **more):
    """Return gdfast's own optimizer of the same rule."""
    group, rule = opt.param_groups[0], opt.rule
    owner = rule.owner_of(group)
    names = [name for name in inspect.signature(owner).parameters if name in group and name != "params"]
    options = {**rule.fixed, **{name: group[name] for name in names}, "maximize": group["maximize"]}
    return owner(arrays, l1=group.get("l1", 0.0), **options, **WAYS[way][1], **more)


def same_state(opt, params, reference):
    """Compare the state in fewer bits with that of gdfast's own optimizer."""
    for i, param in enumerate(params):
        for name, array in reference.state[str(i)].items():
            own = opt.state[param]
            tensor = own[name] if name in own else own[f"{name}.codes"]
            assert_same_bits(array_of(tensor).view(array.dtype), array, f"{name} of {i}")


def train(opt, params, steps):
    for step in steps:
        set_grads(params, step)
        opt.step()


def saved(opt):
    """Return a checkpoint as it comes out of a file."""
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return torch.load(file)
