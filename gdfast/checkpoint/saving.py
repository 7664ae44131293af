"""Writing a checkpoint."""

import hashlib
import json
import os
import re
from contextlib import nullcontext
from typing import Any

import numpy as np

from gdfast._version import __version__
from gdfast.checkpoint.around import arrays_around, described, taken_apart
from gdfast.checkpoint.contents import EXTRA, FORMAT, KEY, MAX_HEADER, arrays_of, bytes_of, digest, rules_of, sums_of
from gdfast.checkpoint.data import CODES, pack
from gdfast.checkpoint.files import replacing
from gdfast.checkpoint.settings import to_data
from gdfast.optimizers.lookahead import Lookahead
from gdfast.stepping import state_dict
from gdfast.stepping.base import Optimizer


def save(path: str | os.PathLike[str], opt: Optimizer | Lookahead, *, params: bool = True, extra: Any = None) -> None:
    """Write an optimizer, and the parameters it updates, into one file: the old file or the new one, never half of one.

    The file is in the safetensors format, and any reader of that format can open it. It takes no second copy of the
    arrays: they are written from where they are.

    Parameters
    ----------
    path : str or path
        The file; one that is there is replaced at the end, and keeps its mode. A symbolic link stays one.
    opt : Optimizer or Lookahead
        All that it needs to go on is written: its state and averages, counts, hyperparameters, schedules. Of a
        schedule that is a function of yours only the name: see :func:`gdfast.load`. Not written is what belongs to the
        process: ``engine``, ``n_threads``, bound gradient buffers.
    params : bool
        Whether to write the parameters too. Without them, save and load them in your own way.
    extra : optional
        Anything else that the run needs, for :func:`gdfast.load` to give back: arrays, numbers, strings, None, and
        lists and dicts of such; for example ``rng.bit_generator.state``.

    Raises
    ------
    ImportError
        If the safetensors package is not there: ``pip install "gdfast[checkpoint]"``.
    OSError
        Naming the path, if the disk is full or anything else fails; the old file is then as before.
    TypeError, ValueError
        If `extra`, or a name of an array, cannot be written; nothing has been written then.
    RuntimeError
        Within ``opt.averaged()``, or if another thread is stepping this optimizer.

    See Also
    --------
    gdfast.load : the way back.

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
    opt, around = taken_apart(opt)
    _library()  # says first of all if it is missing
    found: dict[str, np.ndarray[Any, Any]] = {}
    packed = pack(extra, EXTRA, found)
    with around._stepping if around else nullcontext(), opt._stepping:
        opt._check_not_blocked()
        arrays = {**arrays_of(opt._check_unchanged(written=False), params), **sums_of(opt.accumulation.waiting())}
        arrays |= {**(arrays_around(around._slow._check_unchanged(written=False)) if around else {}), **found}
        _check_names(arrays)
        write_file(path, arrays, manifest_text(_manifest(opt, around, packed), arrays))


def _manifest(opt: Optimizer, around: Lookahead | None, extra: Any) -> dict[str, Any]:
    """Return all of an optimizer that is no array."""
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
        "lookahead": described(around),
        "extra": extra,
    }


def manifest_text(data: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    """Return all that is no array as the file has it, with a checksum of each array and of itself."""
    about = {
        name: {
            "dtype": CODES[array.dtype.newbyteorder("<")],
            "shape": array.shape,
            "sha256": hashlib.sha256(bytes_of(array)).hexdigest(),
        }
        for name, array in arrays.items()
    }
    manifest = {"gdfast": __version__, **data, "arrays": about}
    text = json.dumps(manifest, allow_nan=False, separators=(",", ":"))
    return f"{FORMAT} {digest(FORMAT, text)} {text}"


def write_file(path: str, arrays: dict[str, np.ndarray[Any, Any]], text: str) -> None:
    """Write arrays and the text that goes with them: the whole file, or none."""
    library = _library()
    try:
        with replacing(path) as temporary:
            library(arrays, temporary, {KEY: text})
            _check_header(temporary)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error


def _library() -> Any:
    """Return the library's function that writes arrays and metadata, with the system's errors as OSError."""
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file
    except ImportError as error:
        raise ImportError('gdfast.save needs the safetensors package: pip install "gdfast[checkpoint]"') from error

    def write(arrays: dict[str, np.ndarray[Any, Any]], path: str, metadata: dict[str, str]) -> None:
        try:
            save_file(arrays, path, metadata)
        except SafetensorError as error:  # it has the system's error as text only
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), path) from error

    return write


def _check_names(names: dict[str, Any]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the name {name!r} is no valid Unicode, and cannot be written") from None


def _check_header(path: str) -> None:
    """Check that what was written can be read again."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER:
        raise ValueError(
            f"the names, shapes and extra data take {size} bytes, more than the {MAX_HEADER} that the safetensors "
            "format allows; put large data into arrays"
        )
