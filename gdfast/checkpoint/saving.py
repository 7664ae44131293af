"""Writing a checkpoint."""

import hashlib
import importlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from types import MappingProxyType
from typing import Any

import numpy as np

from gdfast._version import __version__
from gdfast.arrays.formats import short_format
from gdfast.checkpoint.contents import (
    EXTRA,
    FORMAT,
    KEY,
    MAX_HEADER,
    arrays_of,
    bytes_of,
    digest,
    formats_of,
    rules_of,
    sums_of,
)
from gdfast.checkpoint.data import CODES, pack
from gdfast.checkpoint.files import replacing
from gdfast.checkpoint.lookahead import described, lookahead_arrays, unwrap
from gdfast.checkpoint.settings import to_data
from gdfast.engine.engines import Entry
from gdfast.optimizers.lookahead import Lookahead
from gdfast.stepping import state_dict
from gdfast.stepping.base import Optimizer
from gdfast.stepping.sliced import Sliced


def save(path: str | os.PathLike[str], opt: Optimizer | Lookahead, *, params: bool = True, extra: Any = None) -> None:
    """Save an optimizer and its parameters to one file, atomically: the old file or the new one, never half of one.

    The file has the safetensors format, and any reader of that format can open it. The arrays are written from their
    own memory, without a copy.

    Parameters
    ----------
    path : str or path
        The file. An existing file is replaced at the end, and its mode is kept. A symbolic link stays one.
    opt : Optimizer or Lookahead
        Everything needed to resume is written: state and averages, counts, hyperparameters, schedules. Of a schedule
        that is a function of your own, only the name is written: see :func:`gdfast.load`. Not written is what belongs
        to the process: ``engine``, ``n_threads``, bound gradient buffers.
    params : bool
        Whether to write the parameters too. If False, you save and load them yourself.
    extra : optional
        Further data that :func:`gdfast.load` returns: arrays, numbers, strings, None, and lists and dicts of these;
        for example ``rng.bit_generator.state``.

    Raises
    ------
    ImportError
        If the safetensors package is not installed: ``pip install "gdfast[checkpoint]"``.
    OSError
        Naming the path, if the disk is full or anything else fails; the old file is then left unchanged.
    TypeError, ValueError
        If `extra`, or a name of an array, cannot be written; nothing is written then.
    RuntimeError
        Within ``opt.averaged()``, or if another thread is stepping this optimizer.

    See Also
    --------
    gdfast.load : Load the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([1.0, 2.0])
    >>> opt = gdfast.Adam(w, lr=0.5)
    >>> opt.step(np.array([3.0, 3.0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.safetensors")
    ...     gdfast.save(path, opt, extra={"epoch": 3})
    ...     again = gdfast.Adam(np.zeros(2))
    ...     extra = gdfast.load(path, again)
    >>> extra, again.step_count, again.param_groups[0]["params"]
    ({'epoch': 3}, 1, [array([0.5, 1.5])])
    """
    path = os.fsdecode(path)
    opt, lookahead = unwrap(opt)
    if isinstance(opt, Sliced):
        opt._save_slices(path, params, extra)
        return
    _library()  # raises ImportError first
    found: dict[str, np.ndarray[Any, Any]] = {}
    packed = pack(extra, EXTRA, found)
    with lookahead._stepping if lookahead else nullcontext(), opt._stepping:
        opt._check_not_blocked()
        entries = opt._check_unchanged(written=False)
        arrays = {**named_as_bfloat16(arrays_of(entries, params), entries), **sums_of(opt.accumulation.waiting())}
        arrays |= {**(lookahead_arrays(lookahead._slow._check_unchanged(written=False)) if lookahead else {}), **found}
        check_names(arrays)
        write_file(path, arrays, manifest_text(manifest(opt, lookahead, packed, formats_of(entries)), arrays))


def named_as_bfloat16(
    arrays: dict[str, np.ndarray[Any, Any]], entries: Sequence[Entry]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return arrays with those of state in bfloat16 as such, where NumPy has the dtype; else they are uint16."""
    short = [name for name, form in formats_of(entries).items() if form == "bfloat16"]
    return {**arrays, **{name: arrays[name].view(bfloat16_state()) for name in short}}


def bfloat16_state() -> np.dtype[Any]:
    """Return the dtype that state in bfloat16 is written with."""
    if importlib.util.find_spec("ml_dtypes") is None:
        return np.dtype(np.uint16)
    bfloat16: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    return bfloat16


def manifest(
    opt: Optimizer, lookahead: Lookahead | None, extra: Any, formats: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return everything of an optimizer but the arrays, as JSON data."""
    description = state_dict.described(opt)
    groups = [
        {"rules": rules, **{name: value if name == "params" else to_data(value) for name, value in group.items()}}
        for rules, group in zip(rules_of(opt), description["param_groups"], strict=True)
    ]
    return {
        **description,
        **{key: {name: to_data(value) for name, value in description[key].items()} for key in ("guard", "averaging")},
        "memory": pack(description["memory"], "memory", {}),
        "param_groups": groups,
        "lookahead": described(lookahead),
        "formats": {**formats},
        "extra": extra,
    }


def manifest_text(data: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    """Return the metadata of a file: this data with a checksum of each array, behind a checksum of itself."""
    sums = {name: hashlib.sha256(bytes_of(array)).hexdigest() for name, array in arrays.items()}
    return metadata(data, {name: about(array.dtype, array.shape, sums[name]) for name, array in arrays.items()})


def about(dtype: np.dtype[Any], shape: tuple[int, ...], sha256: str) -> dict[str, Any]:
    """Return what the metadata says of an array."""
    return {"dtype": code_of(dtype), "shape": shape, "sha256": sha256}


def code_of(dtype: np.dtype[Any]) -> str:
    """Return the format's name of a dtype."""
    return "BF16" if short_format(dtype) == "bfloat16" else CODES[dtype.newbyteorder("<")]


def metadata(data: dict[str, Any], arrays: dict[str, dict[str, Any]]) -> str:
    """Return the metadata of a file, from this data and what is said of each array."""
    text = json.dumps({"gdfast": __version__, **data, "arrays": arrays}, allow_nan=False, separators=(",", ":"))
    return f"{FORMAT} {digest(FORMAT, text)} {text}"


def write_file(path: str, arrays: dict[str, np.ndarray[Any, Any]], text: str) -> None:
    """Write arrays and their metadata, atomically."""
    library = _library()
    try:
        with replacing(path) as temporary:
            library(arrays, temporary, {KEY: text})
            check_header(temporary)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error


def _library() -> Any:
    """Return safetensors' function that writes arrays and metadata, with the system's errors as OSError."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError('gdfast.save needs the safetensors package: pip install "gdfast[checkpoint]"') from error

    def write(arrays: dict[str, np.ndarray[Any, Any]], path: str, metadata: dict[str, str]) -> None:
        try:
            save_file(arrays, path, metadata)
        except SafetensorError as error:  # it contains the system's error as text only
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), path) from error

    return write


def check_names(names: Iterable[str]) -> None:
    """Check that the names of arrays can be written."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the name {name!r} must be valid Unicode to be written") from None


def check_header(path: str) -> None:
    """Check that the header is within the limit of the format, so that the file can be read again."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER:
        raise ValueError(
            f"the names, shapes and extra data take {size} bytes, more than the {MAX_HEADER} that the safetensors "
            "format allows; put large data into arrays"
        )
