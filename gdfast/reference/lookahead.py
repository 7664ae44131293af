"""The meeting of fast and slow parameters, on NumPy arrays."""

from gdfast.reference.elementwise import Array, Scalar, approach, flush


def lookahead(p: Array, g: Array, slow: Array, decay: Scalar, l1: Scalar, alpha: Scalar) -> Array:
    """Move the slow parameters towards the fast ones, which go on from there."""
    slow[...] = flush(approach(slow, p, alpha))
    return slow
