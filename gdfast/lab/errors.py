"""What a page is told when something that it asked for is wrong."""


class LabError(ValueError):
    """One clear sentence: what was expected, and what came."""
