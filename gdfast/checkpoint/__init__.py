"""Checkpoints: an optimizer and its parameters in one file, in the safetensors format, whole or not at all.

`save` writes beside the file and renames: a run that is killed leaves the old file or the new one. `load` checks all of
a file before it changes anything, and runs no code from it. The format: docs/checkpoints.md.
"""

from gdfast.checkpoint.errors import CheckpointError, DamagedError, MismatchError, VersionError
from gdfast.checkpoint.loading import load
from gdfast.checkpoint.saving import save

__all__ = ["CheckpointError", "DamagedError", "MismatchError", "VersionError", "load", "save"]
