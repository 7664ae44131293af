"""L-BFGS: the two-loop recursion over preallocated buffers, and SciPy's line search."""

from gdfast.optimizers.lbfgs.optimizer import LBFGS as LBFGS
