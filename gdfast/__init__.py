"""gdfast: the fastest exact optimizer step on a CPU, on the NumPy arrays a program already has."""

from gdfast import schedules
from gdfast.config import show_config
from gdfast.optimizers import *
from gdfast.threads import get_num_threads, set_num_threads
