"""The errors of checkpoints. Errors of the file system are not among them: they stay OSError."""


class CheckpointError(ValueError):
    """The file cannot be loaded into this optimizer, which is left unchanged."""


class DamagedError(CheckpointError):
    """The file is truncated, altered, or not a checkpoint."""


class VersionError(CheckpointError):
    """The file has a newer format than this gdfast can read."""


class MismatchError(CheckpointError):
    """The file is intact, but was saved from another optimizer: the message names every difference."""
