"""Nested parameters flattened to a list of named arrays, and gradients of the same structure in the same order.

A structure is an array, a list, a tuple or a dict, nested at will. Its skeleton (`Leaf`, `Branch`) is kept so that the
gradients of every step can be flattened in the same order, and so that a mismatch can be named by its path.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np


@dataclass(eq=False, repr=False)
class Leaf:
    """One array: its index in the flat list."""

    index: int


@dataclass(eq=False, repr=False)
class Branch:
    """A container: a mapping or a sequence, and its children by key or index."""

    is_mapping: bool
    children: dict[Any, "Skeleton"]
    width: int  # number of children if all are arrays, else -1


Skeleton: TypeAlias = Leaf | Branch


@dataclass(eq=False, repr=False)
class NamedArray:
    """An array, its name (`layer1.W`), its path in the user's code (`params["layer1"]["W"]`), its gradient's path."""

    array: Any
    name: str
    path: str
    grad_path: str = ""


def is_array(node: Any) -> bool:
    """Whether this is a NumPy array by its type (`isinstance` would trust an object's ``__class__`` attribute)."""
    return issubclass(type(node), np.ndarray)


def flatten(
    tree: Any, path: str, grads_path: str, first: int, is_leaf: Callable[[Any], bool] = is_array
) -> tuple[list[NamedArray], Skeleton]:
    """Flatten a structure to named arrays in reading order.

    Parameters
    ----------
    tree : array, list, tuple or dict, nested
    path, grads_path : str
        The names of the tree and of its gradients in the user's code, for errors.
    first : int
        The index of its first array in the flat list; the items of a top-level list are numbered from there, so that
        names are distinct across groups.
    is_leaf : callable
        Whether an object is accepted as an array.

    Raises
    ------
    TypeError
        If anything in it is neither an array nor a container.
    ValueError
        If it is nested too deeply for Python's recursion, as a list that contains itself is.
    """
    found: list[NamedArray] = []

    def walk(node: Any, name: tuple[str, ...], keys: str) -> Skeleton:
        if isinstance(node, Mapping | list | tuple):
            shift = first if not name and not isinstance(node, Mapping) else 0
            children = {
                key: walk(child, (*name, str(key + shift if shift else key)), f"{keys}[{_quoted(key)}]")
                for key, child in _items(node)
            }
            flat = all(isinstance(child, Leaf) for child in children.values())
            return Branch(isinstance(node, Mapping), children, len(children) if flat else -1)
        if not is_leaf(node):
            raise TypeError(
                f"{path}{keys} must be a NumPy array, or a list, tuple or dict of them; got {type(node).__name__}"
            )
        found.append(NamedArray(node, ".".join(name) or str(first), path + keys, grads_path + keys))
        return Leaf(first + len(found) - 1)

    try:
        return found, walk(tree, (), "")
    except RecursionError:
        raise ValueError(f"{path} must not be nested so deeply, nor contain itself") from None


def lay_out(tree: Any, skeleton: Skeleton, path: str) -> Sequence[Any]:
    """Return the leaves of a structure in the order of the skeleton, which it must match.

    The leaves themselves are not checked.

    Raises
    ------
    TypeError, ValueError
        If a container is of the wrong kind, or has a missing or unexpected key; the path is named.
    """
    if isinstance(skeleton, Leaf):
        return (tree,)
    if skeleton.width >= 0 and _matches(tree, skeleton):
        return [tree[key] for key in skeleton.children] if skeleton.is_mapping else tree
    return list(_walk(tree, skeleton, path))


def rebuild(skeleton: Skeleton, row: Sequence[Any]) -> Any:
    """Return a structure of this skeleton with the leaves from a flat list (with lists instead of tuples)."""
    if isinstance(skeleton, Leaf):
        return row[skeleton.index]
    children = {key: rebuild(child, row) for key, child in skeleton.children.items()}
    return children if skeleton.is_mapping else list(children.values())


def _matches(tree: Any, branch: Branch) -> bool:
    if branch.is_mapping:
        return isinstance(tree, Mapping) and tree.keys() == branch.children.keys()
    return isinstance(tree, list | tuple) and len(tree) == len(branch.children)


def _walk(tree: Any, skeleton: Skeleton, path: str) -> Iterator[Any]:
    if isinstance(skeleton, Leaf):
        yield tree
        return
    if not _matches(tree, skeleton):
        _explain(tree, skeleton, path)
    for key, child in skeleton.children.items():
        yield from _walk(tree[key], child, f"{path}[{_quoted(key)}]")


def _explain(tree: Any, branch: Branch, path: str) -> None:
    """Raise the error that says how a container differs from its skeleton."""
    if branch.is_mapping:
        if not isinstance(tree, Mapping):
            raise TypeError(f"{path} must be a dict like the parameters; got {type(tree).__name__}")
        missing = [_quoted(key) for key in branch.children if key not in tree]
        extra = [_quoted(key) for key in tree if key not in branch.children]
        raise ValueError(
            f"{path} must have the keys of the parameters; missing: {', '.join(missing) or 'none'}, "
            f"unexpected: {', '.join(extra) or 'none'}"
        )
    if not isinstance(tree, list | tuple):
        raise TypeError(f"{path} must be a list or tuple like the parameters; got {type(tree).__name__}")
    raise ValueError(f"{path} must have {len(branch.children)} items like the parameters; got {len(tree)}")


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    return iter(node.items()) if isinstance(node, Mapping) else enumerate(node)


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) else repr(key)
