"""Numbers as people write them in tables: ``3,50``, ``1,234``, ``$3.50``, ``12 %``, ``(7)``, or ``?`` for none."""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SIGNS = "$€£¥%"
#: what stands for a missing number, beside what pandas knows
NOTHING = {"", "-", "--", "?", ".", "n.a.", "missing", "unknown", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!"}
#: separators of thousands that are never decimal signs
SPACES = " '\u00a0\u2009\u202f\u2019"
#: a whole number; one with a zero too many; and where a text may hold such a one
WHOLE, CODE, MAYBE_CODE = re.compile(r"[0-9]+"), re.compile(r"0[0-9]+"), re.compile(r"(?<![\w.+-])0[0-9]+(?![\w.])")
_PATTERNS = {
    decimal: re.compile(
        rf"[+-]?(?:\d{{1,3}}(?:[{re.escape(other)}]\d{{3}})+|\d{{1,3}}(?:[{SPACES}]\d{{3}})+|\d+|(?={re.escape(decimal)}\d))"
        rf"(?:{re.escape(decimal)}\d*)?(?:[eE][+-]?\d+)?"
    )
    for decimal, other in ((".", ","), (",", "."))
}


def plain(cell: str) -> str:
    """Return a cell without currency, per cent, and blanks around; a number in brackets is negative."""
    cell = cell.strip().replace("\u2212", "-")
    if cell.startswith("(") and cell.endswith(")"):
        cell = "-" + cell[1:-1]
    sign = cell[:1] if cell[:1] in ("+", "-") else ""
    return sign + cell[len(sign) :].strip(SIGNS + SPACES)


def decimals_of(cells: Iterable[str]) -> set[str]:
    """Return the decimal signs, "." and ",", with which every cell is a number."""
    words = [plain(cell) for cell in cells if cell not in NOTHING]
    return {d for d, pattern in _PATTERNS.items() if words and all(pattern.fullmatch(word) for word in words)}


def are_codes(cells: Iterable[str]) -> bool:
    """Return whether cells of digits alone are codes: whole numbers of which some begin with a zero, as no quantity."""
    words = [cell for cell in cells if cell not in NOTHING]
    return any(CODE.fullmatch(word) for word in words) and all(WHOLE.fullmatch(word) for word in words)


def is_number(cell: str) -> bool:
    """Return whether a cell is a number with one decimal sign or the other."""
    return bool(decimals_of([cell]))


def to_numbers(cells: Iterable[Any], decimal: str) -> Array:
    """Return cells that are numbers with this decimal sign as float64; NaN where there is nothing."""
    return np.array([_number(cell, decimal) for cell in cells], np.float64)


def _number(cell: Any, decimal: str) -> float:
    if cell is None or cell in NOTHING:
        return np.nan
    word = plain(cell).translate(str.maketrans("", "", SPACES + ("," if decimal == "." else ".")))
    return float(word.replace(",", "."))
