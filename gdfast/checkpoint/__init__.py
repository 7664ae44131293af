"""Checkpoints: an optimizer and its parameters in one file, in the safetensors format, written and read atomically.

`save` writes a temporary file and renames it: a process that is killed leaves the old file or the new one. `load`
checks the whole file before it changes anything, and runs no code from it. The format: docs/checkpoints.md.

It uses `gdfast.optimizers` and the rooms below.
"""

from gdfast.checkpoint.errors import CheckpointError, DamagedError, MismatchError, VersionError
from gdfast.checkpoint.loading import load
from gdfast.checkpoint.saving import save

__all__ = ["CheckpointError", "DamagedError", "MismatchError", "VersionError", "load", "save"]
