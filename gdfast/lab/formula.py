"""Formulas of x and y that a person types: read into a tree of known operations, derived exactly, never run as code.

>>> bowl = read("0.5*(x**2 + 40*y^2)")
>>> bowl.value(2.0, 1.0)
22.0
>>> bowl.source, bowl.dx, bowl.dy
('0.5 * (x ** 2 + 40 * y ** 2)', 'x', '40 * y')
"""

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gdfast.lab.errors import LabError

__all__ = ["Formula", "FormulaError", "read"]

MOST_CHARACTERS = 240
MOST_DEPTH = 24
MOST_TERMS = 1500  # of the formula and its two derivatives together
VARIABLES = ("x", "y")

Function: TypeAlias = Callable[..., Any]


class FormulaError(LabError):
    """What is wrong with a formula, in words."""


class Term(NamedTuple):
    """An operation and what it is applied to."""

    name: str
    parts: "tuple[Tree, ...]"


Tree: TypeAlias = "float | str | Term"

BINARY: Mapping[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
#: operation -> how NumPy does it
OPERATIONS: Mapping[str, Function] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "neg": operator.neg,
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "tanh", "exp", "log", "sqrt", "abs", "sign")},
}
#: what a formula may call: function -> its derivative by its argument
SLOPES: Mapping[str, Callable[[Tree], Tree]] = {
    "sin": lambda a: make("cos", a),
    "cos": lambda a: make("neg", make("sin", a)),
    "tan": lambda a: make("+", 1.0, make("**", make("tan", a), 2.0)),
    "tanh": lambda a: make("-", 1.0, make("**", make("tanh", a), 2.0)),
    "exp": lambda a: make("exp", a),
    "log": lambda a: make("/", 1.0, a),
    "sqrt": lambda a: make("/", 0.5, make("sqrt", a)),
    "abs": lambda a: make("sign", a),
}
CONSTANTS = {"pi": math.pi, "e": math.e}


@dataclass(frozen=True)
class Formula:
    """A loss of x and y, and its gradient.

    Attributes
    ----------
    text : str
        What was typed.
    source, dx, dy : str
        The loss and its partial derivatives as Python expressions of x, y and np.
    value : callable
        ``value(x, y)``: the loss, of numbers or of arrays of equal shape.
    gradient : callable
        ``gradient(x, y)``: the two partial derivatives.
    """

    text: str
    source: str
    dx: str
    dy: str
    value: Function
    gradient: Callable[[Any, Any], tuple[Any, Any]]


def read(text: Any) -> Formula:
    """Return the formula that a text says.

    Parameters
    ----------
    text : str
        Numbers, x, y, pi, e, ``+ - * / **`` (or ``^``), parentheses, and sin, cos, tan, tanh, exp, log, sqrt, abs.

    Raises
    ------
    FormulaError
        Naming what cannot be read, or is too long or too deep.
    """
    if not isinstance(text, str):
        raise FormulaError(f"a formula must be text; got {type(text).__name__}")
    if len(text) > MOST_CHARACTERS:
        raise FormulaError(f"a formula must have at most {MOST_CHARACTERS} characters; got {len(text)}")
    tree = _tree(_parsed(text), 0)
    slopes = [derivative(tree, name) for name in VARIABLES]
    if slopes == [0.0, 0.0]:
        raise FormulaError(f"a formula must depend on x or y; {text.strip()!r} is the same everywhere")
    if sum(map(_size, (tree, *slopes))) > MOST_TERMS:
        raise FormulaError("this formula is too long: its derivatives have too many terms")
    value, dx, dy = map(_callable, (tree, *slopes))
    return Formula(text, source(tree), source(slopes[0]), source(slopes[1]), value, lambda x, y: (dx(x, y), dy(x, y)))


def _parsed(text: str) -> ast.expr:
    found = re.search(r"[^0-9A-Za-z_+\-*/^().,\s]", text)
    if found:
        raise FormulaError(f"a formula cannot contain {found[0]!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return ast.parse(text.replace("^", "**").replace("\n", " ").strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError, Warning):
        raise FormulaError(
            f"{text.strip()!r} cannot be read as a formula of x and y, such as (1 - x)**2 + 100*(y - x**2)**2; "
            "a product needs its *"
        ) from None


def _tree(node: ast.expr, depth: int) -> Tree:
    if depth > MOST_DEPTH:
        raise FormulaError(f"a formula must be at most {MOST_DEPTH} operations deep")
    match node:
        case ast.Constant(value=bool() | complex() | str() | bytes() | None):
            raise FormulaError(f"a formula cannot contain {node.value!r}")
        case ast.Constant(value=int() | float() as number):
            return _finite(_number(number))
        case ast.Name(id=name):
            if name in VARIABLES:
                return name
            if name in CONSTANTS:
                return CONSTANTS[name]
            raise FormulaError(f"a formula knows x, y, pi and e; got {name!r}")
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _tree(operand, depth + 1)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return make("neg", _tree(operand, depth + 1))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return make(BINARY[type(op)], _tree(left, depth + 1), _tree(right, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in SLOPES:
            return make(name, _tree(argument, depth + 1))
        case _:
            raise FormulaError(
                f"a formula cannot contain {ast.unparse(node)!r}: it knows + - * / ** and {', '.join(SLOPES)}"
            )


def _number(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise FormulaError("a part of this formula without x and y is not a finite number")
    return number


def make(name: str, *parts: Tree) -> Tree:
    """Return an operation as a tree: numbers worked out, and what adds 0 or multiplies by 0 or 1 left away."""
    numbers = [np.float64(part) for part in parts if isinstance(part, float)]
    if len(numbers) == len(parts):
        with np.errstate(all="ignore"):
            return _finite(float(OPERATIONS[name](*numbers)))
    match name, *parts:
        case ("*", 0.0, _) | ("*", _, 0.0) | ("/", 0.0, _):
            return 0.0
        case ("+", 0.0, other) | ("+", other, 0.0) | ("-", other, 0.0):
            return other
        case ("*", 1.0, other) | ("*", other, 1.0) | ("/", other, 1.0) | ("**", other, 1.0):
            return other
        case ("**", _, 0.0):
            return 1.0
        case ("-", 0.0, other) | ("*", -1.0, other) | ("*", other, -1.0):
            return make("neg", other)
        case "neg", Term("neg", (inner,)):
            return inner
        case "neg", Term("*", (float() as number, inner)):
            return make("*", -number, inner)
        case "*", float() as number, Term("*", (float() as other, inner)):
            return make("*", number * other, inner)
        case "*", other, float() as number:
            return make("*", number, other)
        case "*", Term("*", (float() as number, inner)), other:
            return make("*", number, make("*", inner, other))
        case "+", other, Term("neg", (inner,)):
            return make("-", other, inner)
        case "+", other, Term("*", (float() as number, inner)) if number < 0.0:
            return make("-", other, make("*", -number, inner))
    return Term(name, parts)


def derivative(tree: Tree, by: str) -> Tree:
    """Return the partial derivative by x or y."""
    if not isinstance(tree, Term):
        return 1.0 if tree == by else 0.0
    slopes = [derivative(part, by) for part in tree.parts]
    a, da = tree.parts[0], slopes[0]
    if tree.name == "neg":
        return make("neg", da)
    if len(tree.parts) == 1:
        return make("*", SLOPES[tree.name](a), da)
    b, db = tree.parts[1], slopes[1]
    if tree.name in "+-":
        return make(tree.name, da, db)
    if tree.name == "*":
        if a == 0.5 and isinstance(b, Term):  # 0.5*(u + v): the half belongs to each, so that squares lose their 2
            return _halved(db)
        return make("+", make("*", da, b), make("*", a, db))
    if tree.name == "/":
        return make("-", make("/", da, b), make("/", make("*", a, db), make("**", b, 2.0)))
    return _power_slope(a, da, b, db)


def _halved(tree: Tree) -> Tree:
    match tree:
        case Term("+" | "-" as name, (a, b)):
            return make(name, _halved(a), _halved(b))
    return make("*", 0.5, tree)


def _power_slope(a: Tree, da: Tree, b: Tree, db: Tree) -> Tree:
    if isinstance(b, float):
        return make("*", make("*", b, make("**", a, b - 1.0)), da)
    by_exponent = make("*", make("*", make("**", a, b), _log(a)), db)
    return make("+", make("*", make("*", b, make("**", a, make("-", b, 1.0))), da), by_exponent)


def _log(tree: Tree) -> Tree:
    if isinstance(tree, float) and tree <= 0.0:
        raise FormulaError("a power with x or y in the exponent needs a positive base")
    return make("log", tree)


def source(tree: Tree) -> str:
    """Return a Python expression of x, y and np that does the same operations in the same order."""
    return ast.unparse(_node(tree))


def _node(tree: Tree) -> ast.expr:
    if isinstance(tree, str):
        return ast.Name(tree)
    if not isinstance(tree, Term):
        number: ast.expr = ast.Constant(int(abs(tree)) if tree.is_integer() and abs(tree) < 1e9 else abs(tree))
        return ast.UnaryOp(ast.USub(), number) if tree < 0.0 else number
    parts = list(map(_node, tree.parts))
    if tree.name == "neg":
        return ast.UnaryOp(ast.USub(), parts[0])
    for kind, name in BINARY.items():
        if name == tree.name:
            return ast.BinOp(parts[0], kind(), parts[1])
    return ast.Call(ast.Attribute(ast.Name("np"), tree.name), parts, [])


def _callable(tree: Tree) -> Function:
    if tree == "x":
        return lambda x, y: x
    if tree == "y":
        return lambda x, y: y
    if not isinstance(tree, Term):
        return lambda x, y: tree
    operation = OPERATIONS[tree.name]
    if len(tree.parts) == 1:
        inner = _callable(tree.parts[0])
        return lambda x, y: operation(inner(x, y))
    left, right = map(_callable, tree.parts)
    return lambda x, y: operation(left(x, y), right(x, y))


def _size(tree: Tree) -> int:
    return 1 + sum(map(_size, tree.parts)) if isinstance(tree, Term) else 1
