"""Making a sharded optimizer: the ranks' whole arrays checked, cut, and given to an ordinary optimizer as slices."""

import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

from gdfast.arrays import buffers
from gdfast.arrays.structure import NamedArray, Skeleton, flatten, rebuild
from gdfast.checkpoint.contents import bytes_of, formats_of
from gdfast.checkpoint.saving import manifest
from gdfast.engine.measured import by_unit
from gdfast.mpi.cutting import cut
from gdfast.mpi.optimizer import class_for
from gdfast.mpi.spread import Spread, Whole
from gdfast.mpi.team import Team
from gdfast.stepping.base import Optimizer
from gdfast.stepping.layout import is_groups
from gdfast.stepping.sliced import Sliced

Array = np.ndarray[Any, Any]
Kind = TypeVar("Kind", bound=Optimizer)
LEAST_MEMORY = 1 << 12


def sharded(
    kind: type[Kind],
    params: Any,
    *,
    comm: Any = None,
    message_memory: int = 64 << 20,
    reduction: str = "exact",
    n_threads: int | None = None,
    **options: Any,
) -> Kind:
    """Make an optimizer whose state is spread over the ranks of an MPI communicator.

    Every rank calls this with the same parameters and options, and then `step` with its own gradients: their mean
    (with ``accumulation="sum"``, their sum) is applied, and all ranks hold the same new parameters. The bits are those
    of one process that gives the ranks' gradients, in the order of ranks, to `accumulate` and the last to `step`.

    Parameters
    ----------
    kind : type of optimizer
        As :class:`gdfast.AdamW`. Rules that need whole arrays (LARS, LAMB, NovoGrad, CautiousAdamW, Adafactor, Muon),
        and the options ``centralize`` and ``clip_adaptive``, have each array on one rank; all others cut arrays at
        every 65,536 elements.
    params : array, nested list/tuple/dict of arrays, or list of groups
        As for `kind`, whole, with equal values on all ranks.
    comm : mpi4py.MPI.Intracomm, optional
        ``MPI.COMM_WORLD`` if None.
    message_memory : int
        The most bytes that messages under way may take on a rank.
    reduction : {"exact", "fast"}
        How the gradients of all ranks are added: in the order of ranks; or by MPI, in the gradients' dtype and in an
        order of its own, so that the bits are not those of one process and depend on the MPI and the number of ranks.
    n_threads : int, optional
        As for `kind`; if None, the CPUs that it would use are divided among the ranks on this machine.
    **options
        As for `kind`, but for ``copies``. A ``state_dir`` gets a folder for each rank.

    Returns
    -------
    Optimizer
        A subclass of `kind`. `state` and `ema` hold this rank's slices. `step`, `accumulate`, `averaged`,
        :func:`gdfast.save` and :func:`gdfast.load` are called by all ranks together.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid on this rank.
    RankError
        If it is on another, or the ranks disagree about classes, structure, options or values.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> weights = {"W": np.ones((2, 3)), "b": np.zeros(3)}
    >>> opt = gdfast.mpi.sharded(gdfast.SGD, weights, lr=1.0)  # one rank, unless mpiexec started more
    >>> opt.step({"W": np.ones((2, 3)), "b": np.ones(3)})
    >>> weights["b"]
    array([-1., -1., -1.])
    """
    team = Team(_communicator(comm))
    with team.telling():
        opt: Kind = _made(team, kind, params, message_memory, reduction, n_threads, options)
        facts = _facts(opt)
    team.meet(facts)
    return opt


def _facts(opt: Any) -> dict[str, Any]:
    """Return what must be the same on all ranks when an optimizer is made."""
    return {
        "message_memory": opt._spread.message_memory,
        "reduction": opt._spread.reduction,
        **{f"the form of {n.path}": (a.shape, a.dtype.name) for n, a in opt._spread.whole.pairs()},
        **manifest(opt, None, None, formats_of(opt._layout.entries)),
        **{f"the checksum of {n.path}": sha256(bytes_of(a)).hexdigest()[:16] for n, a in opt._spread.whole.pairs()},
    }


def _communicator(comm: Any) -> Any:
    if comm is None:
        return MPI.COMM_WORLD
    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        raise TypeError(f"comm must be an mpi4py.MPI.Intracomm; got {type(comm).__name__}")
    return comm


def _made(
    team: Team,
    kind: Any,
    params: Any,
    message_memory: Any,
    reduction: Any,
    n_threads: int | None,
    options: dict[str, Any],
) -> Any:
    """Make the optimizer of this rank; nothing is exchanged."""
    if not isinstance(kind, type) or not issubclass(kind, Optimizer) or issubclass(kind, Sliced):
        raise TypeError(
            "kind must be a class of optimizer that steps given gradients, such as gdfast.AdamW; got "
            f"{kind.__name__ if isinstance(kind, type) else repr(kind)}"
        )
    if isinstance(message_memory, bool) or not isinstance(message_memory, int):
        raise TypeError(f"message_memory must be an int; got {message_memory!r}")
    if message_memory < LEAST_MEMORY:
        raise ValueError(f"message_memory must be at least {LEAST_MEMORY} bytes; got {message_memory!r}")
    if not isinstance(reduction, str):
        raise TypeError(f'reduction must be "exact" or "fast"; got {type(reduction).__name__}')
    if reduction not in ("exact", "fast"):
        raise ValueError(f'reduction must be "exact" or "fast"; got {reduction!r}')
    grouped = is_groups(params)
    groups: Sequence[Mapping[str, Any]] = params if grouped else [{"params": params}]
    found: list[NamedArray] = []
    skeletons: list[Skeleton] = []
    for i, group in enumerate(groups):
        paths = (f'params[{i}]["params"]', f"grads[{i}]") if grouped else ("params", "grads")
        more, skeleton = flatten(group["params"], *paths, first=len(found))
        buffers.check_params(more, found, short=True)
        found += more
        skeletons.append(skeleton)
    arrays = [buffers.plain(named.array) for named in found]
    if options.get("copies") is not None:
        raise TypeError(
            "copies must be None in a sharded optimizer: the slices of other ranks arrive in the parameters; "
            "copy those after each step"
        )

    def given(row: Sequence[Array]) -> Any:
        trees = [rebuild(skeleton, row) for skeleton in skeletons]
        return [{**group, "params": tree} for group, tree in zip(groups, trees, strict=True)] if grouped else trees[0]

    probe_options = {name: value for name, value in options.items() if name not in ("grads", "state_dir")}
    probe = kind(given([_nothing(array) for array in arrays]), n_threads=n_threads, **probe_options)
    short_state = any("state_dtype" in given for given in (*groups, options))
    places = cut(arrays, _whole(probe, arrays), team.size, in_blocks=short_state)
    slices = [_slice(array, *places.slice_of(i, team.rank)) for i, array in enumerate(arrays)]
    spread = Spread(team, Whole(found), places, message_memory, reduction)
    own: dict[str, Any] = {**options, "n_threads": team.threads() if n_threads is None else n_threads}
    if isinstance(options.get("state_dir"), str | os.PathLike):
        own["state_dir"] = os.path.join(options["state_dir"], f"rank-{team.rank}")
    return class_for(kind)(spread, given(slices), **own)


def _whole(probe: Optimizer, arrays: Sequence[Array]) -> list[bool]:
    """Return which arrays must not be cut. One option that needs whole arrays makes the step measure them all."""
    as_one = probe.layerwise or any(by_unit(group) for group in probe.param_groups)
    return [as_one] * len(arrays)


def _slice(array: Array, start: int, stop: int) -> Array:
    if stop - start == array.size:
        return array
    return array.reshape(-1)[start:stop] if stop > start else _nothing(array)


def _nothing(array: Array) -> Array:
    """Return an array of no elements, with as many axes where it has any."""
    return array[:0] if array.ndim else array.reshape(1)[:0]
