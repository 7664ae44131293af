"""The optimizers, one module for each family; their base class is in `gdfast.stepping`.

A new class is named here and in `gdfast/__init__.py`, and needs a loop in src/rules and a function in gdfast/reference.

It uses `gdfast.stepping` and the rooms below.
"""

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
from gdfast.stepping.base import Optimizer


def by_name() -> dict[str, type[Optimizer]]:
    """Return every optimizer class by its lower-case name: "adam", "sgd", ..."""
    classes = (value for value in globals().values() if isinstance(value, type))
    return {c.__name__.lower(): c for c in classes if issubclass(c, Optimizer) and c is not Optimizer}
