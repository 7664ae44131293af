"""L-BFGS: the two-loop recursion over its own buffers, and SciPy's line search."""

from gdfast.optimizers.lbfgs.optimizer import LBFGS as LBFGS
