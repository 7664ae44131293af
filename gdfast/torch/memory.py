"""Tensors as memory: which can be stepped, in place or through a copy, and copies with a parameter's memory layout."""

import itertools
import numbers
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.lib.array_utils import byte_bounds
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from gdfast.arrays.structure import NamedArray

#: dtypes of 16 bits, and their formats in the engine
HALF = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
#: what is computed in single precision
SINGLE = (torch.float32, torch.complex64, *HALF)
DTYPES = (*SINGLE, torch.float64, torch.complex128)
#: the dtypes of gradients for parameters of one of them
_FLOATS = (torch.float32, *HALF)
_MAX_WORK = 10_000  # limit of NumPy's search for an element that two arrays share; undecided counts as shared


def check_param(param: torch.Tensor, path: str) -> None:
    """Check that a parameter can be stepped.

    Raises
    ------
    TypeError
        If it is not a plain dense tensor of float32, float64, bfloat16 or float16, or of complex numbers made of the
        first two.
    ValueError
        If it is on another device, or its elements do not each have their own memory that holds their value.
    """
    _check_plain(param, path)
    if param.layout != torch.strided:
        raise TypeError(f"{path} must be a plain dense tensor; got {type(param).__name__} with layout {param.layout}")
    if param.dtype not in DTYPES:
        raise TypeError(
            f"{path} must be float32 or float64, real or complex, or bfloat16 or float16, for gdfast.torch; "
            f"got {param.dtype}"
        )
    if param.is_conj() or param.is_neg() or param._is_zerotensor():
        raise ValueError(
            f"{path} must hold its values itself; got a conjugate or negative view, or zeros without memory. "
            "Pass a clone() of it"
        )
    if param.is_inference():
        raise ValueError(f"{path} must not be made in inference mode, where it cannot be updated; pass a clone() of it")
    if not _lies_apart(param):
        raise ValueError(
            f"{path} must have separate memory for each element; got strides {param.stride()} for shape "
            f"{tuple(param.shape)}. Pass a clone() of it"
        )
    _check_stored(param, path)


def can_step(param: torch.Tensor) -> bool:
    """Whether `check_param` accepts it."""
    try:
        check_param(param, "")
    except (TypeError, ValueError):
        return False
    return True


def check_grad(grad: Any, param: torch.Tensor, path: str) -> None:
    """Check a gradient that cannot be read in place, and is to be copied or stepped by rows.

    Raises
    ------
    TypeError
        If it is not a plain tensor, dense or sparse COO, or its dtype cannot be converted exactly to the one that the
        step computes in.
    ValueError
        If it is on another device, or its shape is not the parameter's.
    """
    if not isinstance(grad, torch.Tensor):
        raise TypeError(f"{path} must be a tensor; got {type(grad).__name__}")
    _check_plain(grad, path)
    if grad.layout not in (torch.strided, torch.sparse_coo):
        raise TypeError(f"{path} must be a dense or a sparse COO tensor; got layout {grad.layout}")
    if grad.shape != param.shape:
        raise ValueError(f"{path} must have its parameter's shape, {tuple(param.shape)}; got {tuple(grad.shape)}")
    dtype = computing_dtype(param.dtype)
    if grad.dtype not in DTYPES or torch.promote_types(grad.dtype, dtype) != dtype:
        raise TypeError(f"{path} must have its parameter's dtype, {param.dtype}, or a narrower one; got {grad.dtype}")
    _check_stored(grad, path)


def check_state(array: Any, work: torch.Tensor, dtype: torch.dtype, path: str) -> None:
    """Check that a state array fits the parameter, or the dense copy of it, that is stepped, and has a dtype.

    Raises
    ------
    TypeError, ValueError
        If it is not a plain tensor of that dtype and the same shape, with its elements in memory. It may be sparse,
        as PyTorch's momentum of sparse gradients is.
    """
    if _kind(array) != _kind(work, dtype):
        raise ValueError(f"{path} must be a tensor like it, {_kind(work, dtype)}; got {_kind(array)}")
    _check_plain(array, path)
    _check_stored(array, path)


def check_number(number: object, path: str) -> None:
    """Check that an entry of the state is a number, or a tensor of one in the CPU's memory.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    if not isinstance(number, torch.Tensor):
        if not isinstance(number, numbers.Real):
            raise TypeError(f"{path} must be a real number or a tensor of one; got {number!r}")
        return
    _check_plain(number, path)
    if number.layout != torch.strided or number.numel() != 1 or number.is_complex():
        raise ValueError(
            f"{path} must be a real number or a tensor of one; got {number.dtype}, shape {tuple(number.shape)}, "
            f"layout {number.layout}"
        )
    _check_stored(number, path)


def checked(sparse: torch.Tensor, path: str) -> torch.Tensor:
    """Return a sparse tensor with its own copy of the indices, which have been checked.

    Raises
    ------
    ValueError
        If its indices do not lie in its shape, or are not as many as its values.
    """
    indices, values = sparse._indices().clone(), sparse._values().detach()
    try:
        return torch.sparse_coo_tensor(indices, values, sparse.shape, check_invariants=True)
    except RuntimeError as error:
        raise ValueError(f"{path} must be a valid sparse tensor: {error}") from error


def workspace(param: torch.Tensor, by_rows: bool) -> torch.Tensor:
    """Return what the engine steps: the parameter itself, or a dense copy (row by row, if `by_rows`)."""
    if by_rows:
        return param if param.is_contiguous() else like(param, param).contiguous()
    return param if _is_dense(param) else like(param, param)


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that a step computes in."""
    return torch.float32 if dtype in HALF else dtype


def array_of(tensor: torch.Tensor) -> "np.ndarray[Any, Any]":
    """Return a tensor's memory as an array; bfloat16, which NumPy lacks, as uint16."""
    tensor = tensor.detach()
    array: np.ndarray[Any, Any] = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def flat(tensor: torch.Tensor) -> "np.ndarray[Any, Any]":
    """Return the memory of a dense tensor as a flat array, each complex number as two real ones."""
    real = _real(tensor.detach())
    return array_of(real.as_strided((real.numel(),), (1,), real.storage_offset()))


def alike(tensor: torch.Tensor, param: torch.Tensor) -> bool:
    """Whether a tensor of a parameter's shape has the parameter's memory layout."""
    if tensor.layout != torch.strided:
        return False
    dims = zip(tensor.stride(), param.stride(), param.shape, strict=True)
    deferred = tensor.is_conj() or tensor.is_neg() or tensor._is_zerotensor()
    return not deferred and all(a == b or size <= 1 for a, b, size in dims)


def like(param: torch.Tensor, source: torch.Tensor | float, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return a new tensor with a parameter's memory layout but without gaps, filled from a tensor or with a number.

    The number becomes both the real and the imaginary part of complex elements.
    """
    made = torch.empty_like(param, dtype=dtype, requires_grad=False, memory_format=torch.preserve_format)
    if not isinstance(source, torch.Tensor):
        _real(made).fill_(source)
        return made
    return made.copy_(source.detach().to_dense())


def like_grad(work: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """Return a dense copy of a gradient with the memory layout of its parameter, in a dtype that the engine reads."""
    return like(work, grad, grad.dtype if {work.dtype, grad.dtype} <= {*_FLOATS} else None)


def zero_all(grads: Iterable[Any]) -> None:
    """Set gradients to zero; also those whose elements share memory (expanded tensors)."""
    with torch.inference_mode():  # in which every kind of tensor may be written
        for grad in grads:
            if not grad._is_zerotensor():  # which cannot be written, and need not be
                _zero(grad)


def _zero(grad: torch.Tensor) -> None:
    if grad.layout == torch.strided:
        grad = grad.detach()
        for dim, stride in enumerate(grad.stride()):
            grad = grad.narrow(dim, 0, min(1, grad.shape[dim])) if stride == 0 else grad
    grad.zero_()


def lie_apart(addresses: "np.ndarray[Any, Any]", n_bytes: "np.ndarray[Any, Any]") -> bool:
    """Whether no two gradients share memory: otherwise one could be zeroed before it is read."""
    order = np.argsort(addresses)
    begins, ends = addresses[order], (addresses + n_bytes)[order]
    return bool((begins[1:] >= ends[:-1])[addresses[order[:-1]] > 0].all())


@contextmanager
def swapped(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[None]:
    """Exchange parameters with their averages for a ``with`` block, and back at its end, also after an error.

    A parameter of 16 bits cannot hold its average: it is kept in a copy meanwhile, and shows the nearest numbers.
    """
    kept = {i: param.clone() for i, (param, _) in enumerate(pairs) if param.dtype in HALF}
    wide = [pair for i, pair in enumerate(pairs) if i not in kept]
    _exchange(wide)
    for i in kept:
        pairs[i][0].copy_(pairs[i][1])
    try:
        yield
    finally:
        _exchange(wide)
        for i, values in kept.items():
            pairs[i][0].copy_(values)


def _exchange(pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for param, average in pairs:
        kept = param.clone()
        param.copy_(average)
        average.copy_(kept)


def check_apart(copied: Sequence[NamedArray], others: Sequence[NamedArray]) -> None:
    """Check that parameters that are stepped as copies share no element with each other or with other arrays.

    Raises
    ------
    ValueError
        If two do.
    """
    arrays = (*copied, *others)
    spans = sorted((*byte_bounds(named.array), i) for i, named in enumerate(arrays) if named.array.size)
    for at, (_, end, i) in enumerate(spans):
        for begin, _, k in itertools.islice(spans, at + 1, None):
            if begin >= end:
                break
            first, second = arrays[min(i, k)], arrays[max(i, k)]
            if min(i, k) < len(copied) and _share(first.array, second.array):
                raise ValueError(
                    f"{first.path} and {second.path} must not share memory: each element is updated once a step"
                )


def _share(a: "np.ndarray[Any, Any]", b: "np.ndarray[Any, Any]") -> bool:
    return np.may_share_memory(a, b, max_work=_MAX_WORK)  # type: ignore[arg-type]  # its stub knows 0 and -1 only


def _check_plain(tensor: torch.Tensor, path: str) -> None:
    if tensor.device.type != "cpu":
        raise ValueError(f"{path} must be on the CPU for gdfast.torch; got device {str(tensor.device)!r}")
    if is_traceable_wrapper_subclass(tensor):
        raise TypeError(f"{path} must be a plain dense tensor; got {type(tensor).__name__}, which wraps others")
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:  # a FakeTensor, a MaskedTensor
        raise TypeError(
            f"{path} must be a plain dense tensor; got {type(tensor).__name__}, which has its own operations"
        )
    if is_functorch_wrapped_tensor(tensor) or torch._is_functional_tensor(tensor):
        raise TypeError(f"{path} must be a plain dense tensor; got one inside a transformation of torch.func")


def _check_stored(tensor: torch.Tensor, path: str) -> None:
    """Check that a tensor's storage holds all its elements: a storage can be resized below a tensor that uses it."""
    if tensor.layout == torch.sparse_coo:
        _check_stored(tensor._indices(), path)
        _check_stored(tensor._values(), path)
        return
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    needed = (tensor.storage_offset() + last + 1) * tensor.itemsize
    if tensor.numel() and tensor.untyped_storage().nbytes() < needed:
        raise ValueError(f"{path} must have its elements in memory; its storage has been resized")


def _kind(tensor: object, dtype: torch.dtype | None = None) -> str:
    """Describe what a parameter and its state must have in common, but for the dtype where one is given."""
    if not isinstance(tensor, torch.Tensor):
        return repr(tensor)
    layout = f", layout {tensor.layout}" if tensor.layout not in (torch.strided, torch.sparse_coo) else ""
    return f"{dtype or tensor.dtype}, shape {tuple(tensor.shape)}, device {tensor.device}{layout}"


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def _extents(tensor: torch.Tensor) -> list[tuple[int, int]]:
    """Return the strides and sizes of dimensions with more than one element, in the order of the strides."""
    dims = zip(tensor.stride(), tensor.shape, strict=True)
    return sorted((stride, size) for stride, size in dims if size > 1 and tensor.numel())


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill one contiguous block of memory, without overlap, in any order of the dimensions."""
    expected = 1
    for stride, size in _extents(tensor):
        if stride != expected:
            return False
        expected *= size
    return True


def _lies_apart(tensor: torch.Tensor) -> bool:
    """Whether no two elements overlap: each stride exceeds the extent of all smaller ones together."""
    reach = 1
    for stride, size in _extents(tensor):
        if stride < reach:
            return False
        reach = (size - 1) * stride + reach
    return True
