"""Tensors as flat memory: what can be updated in place, and copies in the order of a parameter's elements."""

from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

DTYPES = (torch.float32, torch.float64)


def check_param(param: torch.Tensor, path: str) -> None:
    """Check that a parameter can be updated in place.

    Raises
    ------
    TypeError
        If it is not a plain dense tensor of float32 or float64.
    ValueError
        If it is on another device, or its elements do not fill one stretch of memory.
    """
    if param.device.type != "cpu":
        raise ValueError(f"{path} must be on the CPU for gdfast.torch; got device {str(param.device)!r}")
    if param.layout != torch.strided or is_traceable_wrapper_subclass(param):
        raise TypeError(f"{path} must be a plain dense tensor; got {type(param).__name__} with layout {param.layout}")
    if param.dtype not in DTYPES:
        raise TypeError(f"{path} must be float32 or float64 for gdfast.torch; got {param.dtype}")
    if not _is_dense(param):
        raise ValueError(
            f"{path} must fill one stretch of memory, in any order of its dimensions; got strides "
            f"{param.stride()} for shape {tuple(param.shape)}"
        )


def flat(tensor: torch.Tensor) -> "np.ndarray[Any, Any]":
    """Return the memory of a dense tensor as a flat array."""
    row = tensor.detach().as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    array: np.ndarray[Any, Any] = row.numpy()
    return array


def alike(tensor: torch.Tensor, param: torch.Tensor) -> bool:
    """Whether the elements of a tensor of a parameter's shape lie in memory as the parameter's do."""
    return tensor.layout == torch.strided and all(
        a == b or size <= 1 for a, b, size in zip(tensor.stride(), param.stride(), param.shape, strict=True)
    )


def like(param: torch.Tensor, source: torch.Tensor | float) -> torch.Tensor:
    """Return a new tensor that lies in memory as a parameter does, filled from a tensor or with a number."""
    made = torch.empty_like(param, requires_grad=False, memory_format=torch.preserve_format)
    if not isinstance(source, torch.Tensor):
        return made.fill_(source)
    return made.copy_(source.detach() if source.layout == torch.strided else source.detach().to_dense())


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill one stretch of memory, each its own place."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 0:
            return True
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True
