"""gdfast: the fastest exact optimizer step on a CPU, on the NumPy arrays a program already has.

>>> import numpy as np
>>> import gdfast
>>> weights = {"W": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}
>>> opt = gdfast.Adam(weights, lr=gdfast.schedules.Cosine(0.1, total_steps=100, warmup_steps=10))
>>> grads = {name: np.ones_like(array) for name, array in weights.items()}
>>> opt.step(grads)  # the arrays in `weights` are updated in place
>>> opt.step_count
1
"""

from typing import TYPE_CHECKING

from gdfast import _native  # first: where the native modules are not built, it says what to run
from gdfast.config import __version__ as __version__
from gdfast.config import show_config as show_config
from gdfast.norms import clip_by_global_norm as clip_by_global_norm
from gdfast.norms import global_norm as global_norm
from gdfast.optimizers.adam import *
from gdfast.optimizers.adam_variants import *
from gdfast.optimizers.adaptive import *
from gdfast.optimizers.base import Optimizer as Optimizer
from gdfast.optimizers.grouping import groups as groups
from gdfast.optimizers.mixed_momentum import *
from gdfast.optimizers.second_moment import *
from gdfast.optimizers.sgd import *
from gdfast.optimizers.sign import *
from gdfast.threads import get_num_threads as get_num_threads
from gdfast.threads import set_num_threads as set_num_threads

if TYPE_CHECKING:
    from gdfast import schedules as schedules
else:

    def __getattr__(name):
        """Import `gdfast.schedules` when it is first asked for: it would double the time that the import takes."""
        if name == "schedules":
            import importlib

            return importlib.import_module("gdfast.schedules")
        raise AttributeError(f"module 'gdfast' has no attribute {name!r}")
