"""Parameter groups by name or predicate: weight decay for matrices only, another learning rate for the head."""

from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import numpy as np

from gdfast.arrays.structure import NamedArray, flatten

Selector: TypeAlias = str | Callable[[str, np.ndarray[Any, Any]], bool]


def groups(params: Any, *, no_decay: Selector | list[Selector] | None = None, **overrides: Any) -> list[dict[str, Any]]:
    """Sort arrays into groups of equal hyperparameters, each array into exactly one.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays
        What an optimizer takes. Give a dict, and the gradients may be given in the same structure.
    no_decay : pattern, predicate or list of them, optional
        Arrays that get ``weight_decay=0``. A pattern matches names (``"*.bias"``; ``*``, ``?`` and ``[...]`` as in file
        names); a predicate is called with name and array.
    **overrides
        Hyperparameters: a dict from pattern or predicate to value, for the arrays that match; or a value, for all.

    Returns
    -------
    list of dict
        For an optimizer: ``gdfast.AdamW(gdfast.groups(...))``. Names are those of `params`.

    Raises
    ------
    TypeError, ValueError
        If a selector matches no array, or two give an array different values of one hyperparameter; they are named.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> params = {"body": {"W": np.ones((2, 2)), "b": np.ones(2)}, "head": {"W": np.ones((2, 1))}}
    >>> parts = gdfast.groups(params, no_decay=lambda name, array: array.ndim < 2, lr={"head.*": 1e-2})
    >>> [(list(part["params"]), {k: v for k, v in part.items() if k != "params"}) for part in parts]
    [(['body.W'], {}), (['body.b'], {'weight_decay': 0.0}), (['head.W'], {'lr': 0.01})]
    >>> opt = gdfast.AdamW(parts)
    >>> opt.step({"body": {"W": np.ones((2, 2)), "b": np.ones(2)}, "head": {"W": np.ones((2, 1))}})
    """
    found, _ = flatten(params, "params", "grads", first=0)
    settings: list[dict[str, Any]] = [{} for _ in found]
    for name, selector, value in _requests(no_decay, overrides):
        matched = [i for i, named in enumerate(found) if _matches(selector, named)]
        if not matched:
            raise ValueError(f"{name}: {_text(selector)} matches none of {', '.join(named.name for named in found)}")
        for i in matched:
            if settings[i].setdefault(name, value) != value:
                raise ValueError(
                    f"{name}: {found[i].name} is given both {settings[i][name]!r} and {value!r}; "
                    f"{_text(selector)} is not the only one that matches it"
                )
    parts: list[dict[str, Any]] = []
    for named, own in zip(found, settings, strict=True):
        for part in parts:
            if {key: value for key, value in part.items() if key != "params"} == own:
                part["params"][named.name] = named.array
                break
        else:
            parts.append({"params": {named.name: named.array}, **own})
    return parts


def _requests(
    no_decay: Selector | list[Selector] | None, overrides: Mapping[str, Any]
) -> Iterator[tuple[str, Selector, Any]]:
    """Yield hyperparameter, selector, value."""
    if no_decay is not None:
        for selector in no_decay if isinstance(no_decay, list) else [no_decay]:
            yield "weight_decay", selector, 0.0
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            for selector, own in value.items():
                yield name, selector, own
        else:
            yield name, "*", value


def _matches(selector: Selector, named: NamedArray) -> bool:
    if isinstance(selector, str):
        return fnmatchcase(named.name, selector)
    if not callable(selector):
        raise TypeError(f"a selector must be a pattern or a predicate (name, array -> bool); got {selector!r}")
    return bool(selector(named.name, named.array))


def _text(selector: Selector) -> str:
    return repr(selector) if isinstance(selector, str) else f"the predicate {getattr(selector, '__name__', selector)}"
