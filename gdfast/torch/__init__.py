"""PyTorch's optimizers, carried out by gdfast on the tensors' own memory: change one import.

>>> import torch
>>> from gdfast.torch import AdamW
>>> model = torch.nn.Linear(3, 1)
>>> opt = AdamW(model.parameters(), lr=0.1)
>>> model(torch.ones(2, 3)).sum().backward()
>>> opt.step()

Constructors, groups, state and checkpoints are those of `torch.optim`; docs/torch.md says what differs and what is new.
Names that gdfast does not implement are PyTorch's own, so that ``import gdfast.torch as optim`` works as a replacement.

It uses optimizers and the rooms below; it knows nothing of `gdfast.sklearn`.
"""

try:
    import torch
except ImportError as error:
    raise ImportError('gdfast.torch needs PyTorch; install it, or all of `pip install "gdfast[torch]"`') from error

from torch.optim import LBFGS as LBFGS
from torch.optim import Adafactor as Adafactor
from torch.optim import Muon as Muon
from torch.optim import lr_scheduler as lr_scheduler
from torch.optim import swa_utils as swa_utils
from torch.optim import swap_in_optimizer_params_and_state as swap_in_optimizer_params_and_state

from gdfast.torch.extra_optimizers import *
from gdfast.torch.in_backward import step_in_backward as step_in_backward
from gdfast.torch.optimizer import Optimizer as Optimizer
from gdfast.torch.optimizers import *
