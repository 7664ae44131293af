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
from gdfast.optimizers.adafactor import *
from gdfast.optimizers.adam import *
from gdfast.optimizers.adam_variants import *
from gdfast.optimizers.adaptive import *
from gdfast.optimizers.base import Optimizer as Optimizer
from gdfast.optimizers.dual_averaging import *
from gdfast.optimizers.grouping import groups as groups
from gdfast.optimizers.layerwise import *
from gdfast.optimizers.lbfgs import *
from gdfast.optimizers.lookahead import *
from gdfast.optimizers.mixed_momentum import *
from gdfast.optimizers.muon import *
from gdfast.optimizers.schedule_free import *
from gdfast.optimizers.second_moment import *
from gdfast.optimizers.sgd import *
from gdfast.optimizers.sign import *
from gdfast.rows import Rows as Rows
from gdfast.threads import get_num_threads as get_num_threads
from gdfast.threads import set_num_threads as set_num_threads

if TYPE_CHECKING:
    from gdfast import callbacks as callbacks
    from gdfast import checkpoint as checkpoint
    from gdfast import lab as lab
    from gdfast import plot as plot
    from gdfast import schedules as schedules
    from gdfast.checkpoint import CheckpointError as CheckpointError
    from gdfast.checkpoint import load as load
    from gdfast.checkpoint import save as save
    from gdfast.finder import lr_find as lr_find
    from gdfast.optimizers.torchstate import load_torch_state as load_torch_state
    from gdfast.optimizers.torchstate import torch_state as torch_state
else:
    # Imported when first asked for: they would double the time that the import takes. Name -> (module, name in it).
    _LATER = {
        "CheckpointError": ("gdfast.checkpoint", "CheckpointError"),
        "callbacks": ("gdfast.callbacks", None),
        "checkpoint": ("gdfast.checkpoint", None),
        "lab": ("gdfast.lab", None),
        "load": ("gdfast.checkpoint", "load"),
        "load_torch_state": ("gdfast.optimizers.torchstate", "load_torch_state"),
        "lr_find": ("gdfast.finder", "lr_find"),
        "plot": ("gdfast.plot", None),
        "save": ("gdfast.checkpoint", "save"),
        "schedules": ("gdfast.schedules", None),
        "torch_state": ("gdfast.optimizers.torchstate", "torch_state"),
    }

    def __getattr__(name):
        """Import what is not needed by every program."""
        if name not in _LATER:
            raise AttributeError(f"module 'gdfast' has no attribute {name!r}")
        import importlib

        module, inner = _LATER[name]
        found = importlib.import_module(module)
        return found if inner is None else getattr(found, inner)
