"""The instruction-set levels that this machine has."""

from gdfast.engine import isa

LEVELS = isa.available_levels()
