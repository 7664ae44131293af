"""The optimizers, by family. Each family module lists its classes in ``__all__``; a new one needs no other line."""

from gdfast.optimizers.adam import *
from gdfast.optimizers.adaptive import *
from gdfast.optimizers.base import Optimizer as Optimizer
from gdfast.optimizers.sgd import *
