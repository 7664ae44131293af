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

from gdfast import _built  # first: where the native modules are not built, it says what to run
from gdfast.arrays.rows import Rows as Rows
from gdfast.engine.config import __version__ as __version__
from gdfast.engine.config import show_config as show_config
from gdfast.engine.norms import global_norm as global_norm
from gdfast.engine.threads import get_num_threads as get_num_threads
from gdfast.engine.threads import set_num_threads as set_num_threads
from gdfast.optimizers import MODULES as _OPTIMIZERS
from gdfast.stepping.base import Optimizer as Optimizer
from gdfast.stepping.groups import groups as groups
from gdfast.stepping.guard import clip_by_global_norm as clip_by_global_norm

if TYPE_CHECKING:
    from gdfast import callbacks as callbacks
    from gdfast import checkpoint as checkpoint
    from gdfast import lab as lab
    from gdfast import mpi as mpi
    from gdfast import native as native
    from gdfast import plot as plot
    from gdfast import schedules as schedules
    from gdfast.checkpoint import CheckpointError as CheckpointError
    from gdfast.checkpoint import load as load
    from gdfast.checkpoint import save as save
    from gdfast.checkpoint.torch_state import load_torch_state as load_torch_state
    from gdfast.checkpoint.torch_state import torch_state as torch_state
    from gdfast.native import get_include as get_include
    from gdfast.optimizers import ADOPT as ADOPT
    from gdfast.optimizers import ASGD as ASGD
    from gdfast.optimizers import FTRL as FTRL
    from gdfast.optimizers import LAMB as LAMB
    from gdfast.optimizers import LARS as LARS
    from gdfast.optimizers import LBFGS as LBFGS
    from gdfast.optimizers import MADGRAD as MADGRAD
    from gdfast.optimizers import SGD as SGD
    from gdfast.optimizers import AdaBelief as AdaBelief
    from gdfast.optimizers import Adadelta as Adadelta
    from gdfast.optimizers import Adafactor as Adafactor
    from gdfast.optimizers import Adagrad as Adagrad
    from gdfast.optimizers import Adam as Adam
    from gdfast.optimizers import Adamax as Adamax
    from gdfast.optimizers import AdamW as AdamW
    from gdfast.optimizers import Adan as Adan
    from gdfast.optimizers import AdEMAMix as AdEMAMix
    from gdfast.optimizers import CautiousAdamW as CautiousAdamW
    from gdfast.optimizers import Grams as Grams
    from gdfast.optimizers import Lion as Lion
    from gdfast.optimizers import Lookahead as Lookahead
    from gdfast.optimizers import Muon as Muon
    from gdfast.optimizers import NAdam as NAdam
    from gdfast.optimizers import NovoGrad as NovoGrad
    from gdfast.optimizers import QHAdam as QHAdam
    from gdfast.optimizers import RAdam as RAdam
    from gdfast.optimizers import RMSprop as RMSprop
    from gdfast.optimizers import Rprop as Rprop
    from gdfast.optimizers import ScheduleFreeAdamW as ScheduleFreeAdamW
    from gdfast.optimizers import ScheduleFreeSGD as ScheduleFreeSGD
    from gdfast.optimizers import SignSGD as SignSGD
    from gdfast.optimizers import Signum as Signum
    from gdfast.optimizers import Yogi as Yogi
    from gdfast.training.lr_finder import lr_find as lr_find
else:
    # Imported when first asked for: they would double the time that the import takes. Name -> (module, name in it).
    _LATER = {
        **{name: ("gdfast.optimizers", name) for name in _OPTIMIZERS},
        "CheckpointError": ("gdfast.checkpoint", "CheckpointError"),
        "callbacks": ("gdfast.callbacks", None),
        "checkpoint": ("gdfast.checkpoint", None),
        "lab": ("gdfast.lab", None),
        "get_include": ("gdfast.native", "get_include"),
        "load": ("gdfast.checkpoint", "load"),
        "load_torch_state": ("gdfast.checkpoint.torch_state", "load_torch_state"),
        "lr_find": ("gdfast.training.lr_finder", "lr_find"),
        "mpi": ("gdfast.mpi", None),
        "native": ("gdfast.native", None),
        "plot": ("gdfast.plot", None),
        "save": ("gdfast.checkpoint", "save"),
        "schedules": ("gdfast.schedules", None),
        "torch_state": ("gdfast.checkpoint.torch_state", "torch_state"),
    }

    __all__ = sorted({name for name in globals() if not name.startswith("_")} - {"TYPE_CHECKING"} | {*_OPTIMIZERS})

    def __getattr__(name):
        """Import what is not needed by every program, when it is first asked for."""
        if name not in _LATER:
            raise AttributeError(f"module 'gdfast' has no attribute {name!r}")
        import importlib

        module, inner = _LATER[name]
        found = importlib.import_module(module)
        globals()[name] = found = found if inner is None else getattr(found, inner)
        return found

    def __dir__():
        return sorted({*globals(), *_LATER.keys() - {"mpi", "plot"}})  # which cannot be imported without their extras
