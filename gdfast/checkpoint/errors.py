"""What can be wrong with a checkpoint. Errors of the disk stay what they are: OSError."""


class CheckpointError(ValueError):
    """A file that cannot be loaded into this optimizer; the optimizer is as before."""


class DamagedError(CheckpointError):
    """The file is truncated, altered, or no checkpoint at all."""


class VersionError(CheckpointError):
    """The file has a newer format than this gdfast can read."""


class MismatchError(CheckpointError):
    """The file is whole, but belongs to another optimizer: the message names every difference."""
