"""The meeting of fast and slow parameters, on NumPy arrays."""

from gdfast.reference.elementwise import Array, Scalar, flush


def lookahead(p: Array, g: Array, slow: Array, decay: Scalar, l1: Scalar, alpha: Scalar) -> Array:
    """Move the slow parameters towards the fast ones, which go on from there."""
    slow[...] = flush(slow + alpha * (p - slow))
    return slow
