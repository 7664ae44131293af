"""What may watch a training: a log as CSV, early stopping, a checkpoint of the best epoch.

Examples
--------
See the classes.
"""

from gdfast.training.callbacks import Checkpoint as Checkpoint
from gdfast.training.callbacks import CSVLogger as CSVLogger
from gdfast.training.callbacks import EarlyStopping as EarlyStopping
