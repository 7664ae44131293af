"""What is changed in docstrings for the site: the formulas of optimizers are set in mathematics."""

import inspect
import re

import formulas

import gdfast

BLOCK = re.compile(r"::\n\n((?: {4}.*\n|\n(?= {4}))+)")


def is_optimizer(thing: object) -> bool:
    """Whether a class's docstring has its formula."""
    return inspect.isclass(thing) and issubclass(thing, gdfast.Optimizer | gdfast.Lookahead | gdfast.LBFGS)


def set_formulas(text: str) -> str:
    """Return a docstring with its blocks of formulas as `math` directives."""
    return BLOCK.sub(lambda found: f":\n\n.. math::\n\n{indented(formulas.align(inspect.cleandoc(found[1])))}\n", text)


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def process(app, what, name, obj, options, lines) -> None:
    """Change the lines of a docstring in place."""
    if what == "class" and name.startswith("gdfast.") and is_optimizer(obj):
        lines[:] = set_formulas("\n".join(lines) + "\n").splitlines()
