"""What can be wrong with what a user asks for: one clear sentence, and exit code 2."""


class UserError(Exception):
    """Wrong data, a wrong choice, a file that cannot be read or written: the sentence to print."""
