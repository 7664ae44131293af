"""Python values as JSON, without loss; arrays in them are collected separately.

JSON has no infinity, NaN or arrays: they are written as ``{"$float": "inf"}`` and ``{"$array": name}``.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gdfast.checkpoint.errors import DamagedError

FLOAT, ARRAY = "$float", "$array"
#: the format's name of a dtype -> NumPy's dtype
DTYPES = {
    code: np.dtype(name)
    for code, name in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "C64": "<c8",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U64": "<u8",
        "U32": "<u4",
        "BF16": "<u2",  # whose bits NumPy alone can hold; as a dtype of their own, U16 comes behind it
        "U16": "<u2",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
_DEPTH = 100  # maximum nesting of a user's data
_FILE_DEPTH = 2 * _DEPTH  # and of a file's JSON, so that no recursion over it comes near Python's limit
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def pack(value: Any, path: str, arrays: dict[str, np.ndarray[Any, Any]], depth: int = 0) -> Any:
    """Return a value as plain JSON data; its arrays go into `arrays`, named by their path.

    Raises
    ------
    TypeError, ValueError
        Naming the path of what cannot be written.
    """
    if depth > _DEPTH:
        raise ValueError(f"{path} is nested too deeply: more than {_DEPTH} levels")
    if isinstance(value, np.ndarray):
        arrays[path] = _plain(value, path)
        return {ARRAY: path}
    if isinstance(value, np.bool_ | np.integer | np.floating):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {FLOAT: str(float(value))}
    if isinstance(value, list | tuple):
        return [pack(item, f"{path}/{i}", arrays, depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, path): pack(item, _below(path, key), arrays, depth + 1) for key, item in value.items()}
    raise TypeError(
        f"{path} must be None, a bool, a number, a str, an array, or a list or dict of such; got {type(value).__name__}"
    )


def unpack(data: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Return the value that `pack` converted to this data; tuples become lists.

    Raises
    ------
    DamagedError
        If it names an array that does not exist, or a float other than inf, -inf and nan.
    """
    if isinstance(data, list):
        return [unpack(item, arrays) for item in data]
    if not isinstance(data, dict):
        return data
    if data.keys() == {FLOAT}:
        return _looked_up(_FLOATS, data[FLOAT])
    if data.keys() == {ARRAY}:
        return _looked_up(arrays, data[ARRAY])
    return {key: unpack(item, arrays) for key, item in data.items()}


def parse(text: str) -> Any:
    """Parse JSON, strictly: no duplicate keys, no numbers that are not finite, limited nesting.

    Raises
    ------
    DamagedError
    """
    try:
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_not_finite, parse_float=_finite)
    except DamagedError:
        raise
    except RecursionError:
        raise DamagedError("its JSON is nested too deeply") from None
    except ValueError as error:
        raise DamagedError(f"its JSON is broken: {error}") from None
    level = [data]
    for _ in range(_FILE_DEPTH):
        level = [item for node in level for item in _items(node)]
        if not level:
            return data
    raise DamagedError("its JSON is nested too deeply")


def _items(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _looked_up(table: Mapping[str, Any], name: Any) -> Any:
    if not isinstance(name, str) or name not in table:
        raise DamagedError(f"its data refer to {name!r}, which does not exist")
    return table[name]


def _plain(array: np.ndarray[Any, Any], path: str) -> np.ndarray[Any, Any]:
    """Return an array as the format holds it: contiguous, little-endian; copied only if needed."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{path} must be a plain array; got a masked array")
    dtype = array.dtype.newbyteorder("<")
    if dtype not in CODES:
        raise TypeError(f"{path} must be an array of {', '.join(map(str, CODES))}; got {array.dtype}")
    return np.asarray(array, dtype, order="C")


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the keys of {path} must be strings; got {key!r}")
    if key in (FLOAT, ARRAY):
        raise ValueError(f"the keys of {path} must not be {FLOAT!r} or {ARRAY!r}, which have a meaning in the file")
    return key


def _below(path: str, key: Any) -> str:
    """Return the path of a dict's item, with / and ~ escaped as in a JSON pointer, so that paths are unique."""
    return f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DamagedError(f"its JSON has the key {key!r} twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_finite(text)


def _not_finite(text: str) -> float:
    raise DamagedError(f"its JSON has the number {text}, which is not finite")
