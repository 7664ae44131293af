"""Cells as numbers of a fixed range, without a dictionary: hashes that are the same on any machine, in any run.

A whole number and the word that writes it in digits hash alike: codes may be numbers in one file and words in another.
With zeros in front it is another word: "007" is not 7.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gdfast.engine import _columns

Array = np.ndarray[Any, Any]

#: the fewest and the most bits of a hash: 2**30 coefficients are 4 GB
LEAST_BITS, MOST_BITS = 4, 30
#: cells of a row that the native loop puts in order one by one
INSERTED = 32

_BASE = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORDS = np.uint64(0x2545F4914F6CDD1D)


@dataclass(frozen=True)
class Coded:
    """A column of words by their numbers.

    Attributes
    ----------
    words : list of str
    codes : (rows,) array of int
        Each cell's place among the words; -1 where there is no value.
    """

    words: list[str]
    codes: Array

    def __len__(self) -> int:
        return len(self.codes)


def slots(cells: Array | Coded, column: str, bits: int) -> Array:
    """Return for each cell of a column a number from 0 to ``2**bits - 1``, and -1 where there is no value.

    Parameters
    ----------
    cells : (rows,) array, or Coded
        Whole numbers, floats, bools, or objects: words, numbers, None for a missing value. An empty word is missing.
    column : str
        Its name: the same cell in another column has another number.
    bits : int

    Returns
    -------
    (rows,) int32 array
    """
    if isinstance(cells, Coded):
        return np.append(_cut(hashes(cells.words), column, bits), np.int32(-1))[cells.codes]
    if cells.dtype.kind in "iu":
        wide = cells.astype(np.uint64 if cells.dtype.kind == "u" else np.int64)
        return _cut(wide.view(np.uint64), column, bits)
    return slots(_different(cells), column, bits)


def slots_of_rows(columns: Mapping[str, Array | Coded], rows: int, bits: int) -> Array:
    """Return the numbers of the cells of all columns, (columns, rows); those of a row in order if there are many."""
    found = np.empty((len(columns), rows), np.int32)
    for of_column, (name, cells) in zip(found, columns.items(), strict=True):
        of_column[:] = slots(cells, name, bits)
    if len(found) > INSERTED:
        found.sort(axis=0)
    return found


def hashes(words: Sequence[str]) -> Array:
    """Return a 64-bit number for each word: that which it writes in digits, or a hash, as uint64."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    found = _of_bytes(encoded)
    digits = [(i, int(word), word) for i, word in enumerate(encoded) if word[-1:].isdigit() and _is_whole(word)]
    fits = [(i, number % 2**64) for i, number, word in digits if -(2**63) <= number < 2**64 and b"%d" % number == word]
    found[[i for i, _ in fits]] = np.array([number for _, number in fits], np.uint64)
    return found


def _is_whole(word: bytes) -> bool:
    return len(word) <= 20 and word.removeprefix(b"-").isdigit()


def word_of(cell: object) -> str:
    """Return a cell as a category's name: the same for 1, 1.0 and "1"."""
    return str(int(cell) if isinstance(cell, float | np.floating) and float(cell).is_integer() else cell)


def _different(cells: Array) -> Coded:
    places: dict[str, int] = {}
    codes = np.empty(len(cells), np.intp)
    for i, cell in enumerate(cells.tolist()):
        word = "" if cell is None or cell != cell else word_of(cell)
        codes[i] = places.setdefault(word, len(places)) if word else -1
    return Coded(list(places), codes)


def _of_bytes(words: Sequence[bytes]) -> Array:
    """Return for each word a polynomial in its bytes, modulo 2**64, mixed."""
    lengths = np.array([len(word) for word in words], np.int64)
    found = np.zeros(len(words), np.uint64)
    there = np.flatnonzero(lengths)
    if len(there):
        starts = (np.cumsum(lengths) - lengths)[there]
        digits = np.frombuffer(b"".join(words), np.uint8).astype(np.uint64) + np.uint64(1)
        position = np.arange(len(digits)) - np.repeat(starts, lengths[there])
        powers = np.cumprod(np.full(int(lengths.max()), _BASE))
        found[there] = np.add.reduceat(digits * powers[position], starts)
    return _mixed(found ^ _WORDS)


def _cut(values: Array, column: str, bits: int) -> Array:
    """Mix 64-bit numbers with the column's name, and keep the highest bits."""
    seed = _of_bytes([column.encode("utf-8", "surrogatepass")])[0]
    mixed: Array = _columns.mix(np.ascontiguousarray(values), int(seed), bits)
    return mixed


def _mixed(values: Array) -> Array:
    """Return a permutation of the 64-bit numbers that leaves no bit where it was (Steele, Lea and Flood's SplitMix)."""
    mixed = values + _BASE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))
