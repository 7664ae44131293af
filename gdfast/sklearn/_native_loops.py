"""The native loops of the linear models, and BLAS for native code: found at run time."""

import importlib
from contextlib import nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from gdfast.engine import isa


def linear_loops() -> Any:
    """Return the module of loops for the instruction-set level in use."""
    return importlib.import_module(f"gdfast.engine._linear_loops_{isa.level_name(isa.rules)}")


def blas_gemm() -> tuple[Any, Any]:
    """Return capsules with the addresses of SciPy's sgemm and dgemm."""
    from scipy.linalg import cython_blas

    return cython_blas.__pyx_capi__["sgemm"], cython_blas.__pyx_capi__["dgemm"]


def limited_blas(needed: bool) -> Any:
    """Return a context in which BLAS uses one thread per call, because our own threads call it."""
    return _thread_pools().limit(limits=1, user_api="blas") if needed else nullcontext()


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()
