"""What can go wrong in the demo through a choice of its user."""


class BadOptionError(ValueError):
    """A choice that cannot be: its name, and in `problem` what was expected and what came."""

    def __init__(self, name: str, expected: str, got: object) -> None:
        self.name = name
        self.problem = f"must be {expected}; got {got!r}"
        super().__init__(f"{name} {self.problem}")


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number."""

    def __init__(self, loss: float, step: int) -> None:
        super().__init__(f"the loss became {loss} after {step:,} steps: try a smaller lr")
