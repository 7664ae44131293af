"""Write docs/rules.md from the optimizers' own classes: `python docs/make_rules.py`.

What the page says of a rule stands in its class: the docstring's summary, formula, parameters and notes, the defaults,
the table of rules with their state. A test compares the page with what this script would write.
"""

import inspect
import re
import sys
import textwrap
from pathlib import Path

import gdfast
from gdfast.stepping.common import Common

PAGE = Path(__file__).with_name("rules.md")
ITEM_BYTES = 4  # float32

HEAD = """\
# The rules

Every optimizer of gdfast: its formula, its options with their defaults, what it keeps, what a step moves, and what it
is called elsewhere. Made from the classes by `python docs/make_rules.py`.

Options that all of them have stand in the docstring of `gdfast.Optimizer`:
{common}.
Any number may be a schedule. [Lookahead](#lookahead) goes around any of them.

Bytes a parameter: what a step must read and write in float32 from and to memory, if nothing is in a cache: the
parameter and its state both ways, the gradient once. Clipping by the norm, or a check for NaN and infinity, reads the
gradient once more; so does `centralize`, and `clip_adaptive` the parameter too; an average of the parameters adds 8,
zeroing the gradient 4. Rules that measure whole arrays first read some of them twice, which is counted here.

Where it is said, a gradient may be row-sparse (`gdfast.Rows`): only the rows that it touches are stepped. For losses of
all the data at once there is also [LBFGS](#lbfgs), which takes the loss itself.

| optimizer | in a word | state | bytes a parameter |
|---|---|---|---|
"""


def optimizers() -> list[type[gdfast.Optimizer]]:
    """Return every public optimizer, family by family."""
    return sorted(gdfast.optimizers.by_name().values(), key=lambda cls: (cls.__module__, cls.__name__))


def page() -> str:
    """Return the whole page."""
    every = optimizers()
    head = HEAD.format(common=textwrap.fill(", ".join(f"`{name}`" for name in Common.__annotations__), 120))
    rows = [
        f"| [{cls.__name__}](#{cls.__name__.lower()}) | {summary(cls)} | {states(cls)} | {traffic(cls)} |"
        for cls in every
    ]
    return head + "\n".join(rows) + "\n\n" + "\n".join(map(section, [*every, gdfast.Lookahead, gdfast.LBFGS]))


def row(cls: type[gdfast.Optimizer]) -> str:
    """Return one line of the table."""
    name = cls.__name__
    return f"| [{name}](#{name.lower()}) | {summary(cls)} | {states(cls)} | {traffic(cls)} |"


def section(cls: type) -> str:
    """Return what the page says of one optimizer."""
    parts = sections(cls)
    signature = ", ".join(
        f"{name}={parameter.default!r}"
        if parameter.default is not parameter.empty
        else str(parameter).partition(":")[0]
        for name, parameter in inspect.signature(cls).parameters.items()
    )
    blocks = [
        f"## {cls.__name__}",
        f"`gdfast.{cls.__name__}({signature})`",
        markdown(parts[""]),
        options(parts["Parameters"]),
        markdown(parts["Notes"]),
        "Takes row-sparse gradients." if issubclass(cls, gdfast.Optimizer) and cls.lazy_rules >= set(cls.rules) else "",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def sections(cls: type) -> dict[str, str]:
    """Return the docstring's sections by title; what stands before the first has none."""
    text = inspect.cleandoc(cls.__doc__ or "")
    pieces = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    found = {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}
    missing = [title for title in ("Parameters", "Notes", "Examples") if title not in found]
    if missing:
        raise ValueError(f"the docstring of {cls.__name__} lacks {', '.join(missing)}")
    return found


def markdown(text: str) -> str:
    """Return a docstring's text as Markdown: a block after `::` as code, roles and double ticks as plain code."""
    text = re.sub(r":\w+:`~?(?:gdfast\.)?([^`]+)`", r"`\1`", text.strip()).replace("``", "`")
    blocks = []
    for block in re.split(r"\n\n(?=\S)", text):
        lines = block.split("\n\n    ", 1)
        if len(lines) == 2 and lines[0].rstrip().endswith("::"):
            before = lines[0].rstrip()[:-2].rstrip()
            body = inspect.cleandoc("    " + lines[1])
            blocks.append("\n\n".join(filter(None, [f"{before}:" if before else "", f"```\n{body}\n```"])))
        else:
            blocks.append(block)
    return "\n\n".join(blocks)


def options(text: str) -> str:
    """Return the parameters' section as a list."""
    items = re.findall(r"^(\S.*?)(?: : (.*))?\n((?:    .*\n?|\n)+)", text + "\n", flags=re.MULTILINE)
    lines = []
    for names, kind, body in items:
        if names not in ("params", "**common"):
            about = " ".join(markdown(inspect.cleandoc(body)).split())
            lines.append(f"- `{names}`" + (f" ({kind})" if kind else "") + f": {about}")
    return "\n".join(lines)


def summary(cls: type[gdfast.Optimizer]) -> str:
    """Return the first sentence of the docstring, without the name."""
    first = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    return markdown(first.partition(": ")[2].rstrip(".") or first.rstrip("."))


def states(cls: type[gdfast.Optimizer]) -> str:
    """Return the names of the state arrays, of each form of the rule."""
    forms = dict.fromkeys(", ".join(f"`{name}`" for name in names) or "none" for names in cls.rules.values())
    return "; ".join(forms)


def traffic(cls: type[gdfast.Optimizer]) -> str:
    """Return how many bytes a step moves a parameter, in each form of the rule."""
    large = ([name for name in names if cls.reduced_shape(name, (2, 2)) is None] for names in cls.rules.values())
    measured = getattr(cls, "measure_traffic", 0)
    return ", ".join(str(n) for n in sorted({ITEM_BYTES * (3 + 2 * len(names) + measured) for names in large}))


if __name__ == "__main__":
    sys.stdout.write(f"{PAGE}\n")
    PAGE.write_text(page(), encoding="utf-8")
