"""The optimizers, one module for each family; their base class is in `gdfast.stepping`.

A new class is named here, twice, and in `gdfast/__init__.py`, and needs a loop in src/rules and a function in
gdfast/reference.

It uses `gdfast.stepping` and the rooms below.
"""

import sys
from typing import TYPE_CHECKING

from gdfast.stepping.base import Optimizer

if TYPE_CHECKING:
    from gdfast.optimizers.adafactor import Adafactor as Adafactor
    from gdfast.optimizers.adam import Adam as Adam
    from gdfast.optimizers.adam import AdamW as AdamW
    from gdfast.optimizers.adam_variants import Adamax as Adamax
    from gdfast.optimizers.adam_variants import Grams as Grams
    from gdfast.optimizers.adam_variants import NAdam as NAdam
    from gdfast.optimizers.adam_variants import RAdam as RAdam
    from gdfast.optimizers.adaptive import Adadelta as Adadelta
    from gdfast.optimizers.adaptive import Adagrad as Adagrad
    from gdfast.optimizers.adaptive import RMSprop as RMSprop
    from gdfast.optimizers.adaptive import Rprop as Rprop
    from gdfast.optimizers.cautious import CautiousAdamW as CautiousAdamW
    from gdfast.optimizers.dual_averaging import FTRL as FTRL
    from gdfast.optimizers.dual_averaging import MADGRAD as MADGRAD
    from gdfast.optimizers.layerwise import LAMB as LAMB
    from gdfast.optimizers.layerwise import LARS as LARS
    from gdfast.optimizers.layerwise import NovoGrad as NovoGrad
    from gdfast.optimizers.lbfgs import LBFGS as LBFGS
    from gdfast.optimizers.lookahead import Lookahead as Lookahead
    from gdfast.optimizers.mixed_momentum import Adan as Adan
    from gdfast.optimizers.mixed_momentum import AdEMAMix as AdEMAMix
    from gdfast.optimizers.mixed_momentum import QHAdam as QHAdam
    from gdfast.optimizers.muon import Muon as Muon
    from gdfast.optimizers.schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW
    from gdfast.optimizers.schedule_free import ScheduleFreeSGD as ScheduleFreeSGD
    from gdfast.optimizers.second_moment import ADOPT as ADOPT
    from gdfast.optimizers.second_moment import AdaBelief as AdaBelief
    from gdfast.optimizers.second_moment import Yogi as Yogi
    from gdfast.optimizers.sgd import ASGD as ASGD
    from gdfast.optimizers.sgd import SGD as SGD
    from gdfast.optimizers.sign import Lion as Lion
    from gdfast.optimizers.sign import SignSGD as SignSGD
    from gdfast.optimizers.sign import Signum as Signum

#: The module of each class. It is imported when the class is first asked for: a program needs one of them.
MODULES = {
    "ADOPT": "second_moment",
    "ASGD": "sgd",
    "AdEMAMix": "mixed_momentum",
    "AdaBelief": "second_moment",
    "Adadelta": "adaptive",
    "Adafactor": "adafactor",
    "Adagrad": "adaptive",
    "Adam": "adam",
    "AdamW": "adam",
    "Adamax": "adam_variants",
    "Adan": "mixed_momentum",
    "CautiousAdamW": "cautious",
    "FTRL": "dual_averaging",
    "Grams": "adam_variants",
    "LAMB": "layerwise",
    "LARS": "layerwise",
    "LBFGS": "lbfgs",
    "Lion": "sign",
    "Lookahead": "lookahead",
    "MADGRAD": "dual_averaging",
    "Muon": "muon",
    "NAdam": "adam_variants",
    "NovoGrad": "layerwise",
    "QHAdam": "mixed_momentum",
    "RAdam": "adam_variants",
    "RMSprop": "adaptive",
    "Rprop": "adaptive",
    "SGD": "sgd",
    "ScheduleFreeAdamW": "schedule_free",
    "ScheduleFreeSGD": "schedule_free",
    "SignSGD": "sign",
    "Signum": "sign",
    "Yogi": "second_moment",
}

if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name):
        """Import a class when it is first asked for."""
        if name not in MODULES:
            raise AttributeError(f"module 'gdfast.optimizers' has no attribute {name!r}")
        import importlib

        found = globals()[name] = getattr(importlib.import_module(f"gdfast.optimizers.{MODULES[name]}"), name)
        return found

    def __dir__():
        return sorted({*globals(), *MODULES})


def by_name() -> dict[str, type[Optimizer]]:
    """Return every optimizer class by its lower-case name: "adam", "sgd", ..."""
    classes = (getattr(sys.modules[__name__], name) for name in MODULES)
    return {c.__name__.lower(): c for c in classes if issubclass(c, Optimizer)}
