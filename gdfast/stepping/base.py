"""The base class of optimizers: arrays bound in groups, with hyperparameters and state to read, set and save."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np

from gdfast.arrays._bound import fresh
from gdfast.arrays.formats import LEAST_SIZE, SCALES
from gdfast.arrays.storage import Storage
from gdfast.engine import threads
from gdfast.engine.coding import decoded
from gdfast.engine.engines import ENGINES
from gdfast.stepping import state_dict as states
from gdfast.stepping.accumulation import Accumulation
from gdfast.stepping.averaging import Averaging, swapped
from gdfast.stepping.common import Common
from gdfast.stepping.guard import Guard
from gdfast.stepping.hyperparameters import Hyperparameter, unknown
from gdfast.stepping.layout import Layout, is_groups
from gdfast.stepping.param_group import ParamGroup
from gdfast.stepping.pieces import PiecewiseStepping
from gdfast.stepping.short_state import ShortState, StateDtype

# Attributes that belong to one process or object; a copy makes its own.
_OWN = (
    "_stepping",
    "_engine",
    "_blocked",
    "_open_step",
    "_native",
    "_zeroable",
    "_bound_grads",
    "_row_engines",
    "_kept",
    "_quick",
)


class Optimizer(PiecewiseStepping):
    """The base of all optimizers. A subclass defines its rules, hyperparameters and scalars; all else is here.

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays, or list of groups
        Updated in place. Each array is float32 or float64 (or bfloat16 or float16: see `master`), C-contiguous,
        aligned, writeable, in native byte order, and shares no memory with another. A group is a dict with ``"params"``
        and hyperparameters of its own.
    defaults : dict
        The hyperparameters of groups that do not set their own.
    maximize : bool
        Maximize the objective instead of minimizing it.
    l1 : float or schedule
        Weight of an L1 penalty, applied as a proximal step with each coordinate's own rate: exact zeros.
    centralize : bool
        Subtract from the gradient of each unit its mean (gradient centralisation, arXiv:2004.01461). A unit is the part
        of an array that shares an index of the first axis, such as a neuron's weights; vectors are left unchanged.
    clip_adaptive : float
        If positive, the largest norm of a unit's gradient as a multiple of the norm of its parameters, which counts as
        0.001 at least (adaptive gradient clipping, arXiv:2102.06171; a good value is 0.01). A vector is one unit. After
        `clip_norm`, `clip_value` and `centralize`, before the weight decay joins the gradient.
    n_threads : int, optional
        Maximum number of threads; negative values count from the CPUs (-1: all). See :func:`gdfast.set_num_threads`.
    engine : {"native", "numpy"}
        The implementation of the step; both give the same bits.
    grads : optional
        Gradient buffers of the same structure as `params`, bound once; `step` then needs no argument.
    clip_norm : float or schedule, optional
        The largest norm of all gradients together: they are scaled by ``min(1, clip_norm/(norm + 1e-6))`` in the step.
    clip_value : float or schedule, optional
        The largest absolute value of a gradient's element.
    nonfinite : {"propagate", "skip", "raise"}
        What to do with gradients that hold NaN or infinity: step anyway; change nothing and count the step in
        `skipped_steps`; or change nothing and raise FloatingPointError.
    ema_decay : float, schedule or "average", optional
        Keep an exponential average of the parameters (this is the old average's weight), or their uniform average, in
        the same pass: see `ema` and `averaged`. It starts at the parameters.
    ema_start : int
        Number of steps before the averaging begins; until then the average equals the parameters.
    accumulation : {"mean", "sum"}
        Whether `step` uses the mean or the sum of its own gradients and those given to `accumulate` before it.
    state_dir : path, optional
        A folder for the state, which is then kept in memory-mapped files, one per array, and may be larger than memory
        (so may parameters and gradients: give them as `numpy.memmap`). The space is reserved first.
    state_dtype : {"float32", "bfloat16", "8bit"} or dict
        How state is kept, or a dict from state name to one of these; a group may have its own. Only states that are
        averages of gradients or of their squares are shortened; the others stay float32. The step computes in float32
        and rounds at random, so that averages keep their mean. `state` shows what lies there, `state_value` returns
        float32. See docs/fewer-bytes.md.
    state_dtype_min_size : int
        Arrays of fewer elements keep float32.
    seed : int
        In [0, 2**32). The random bits depend on seed, step, array, state and element alone.
    master : {"auto", "split", "float32", None}
        What a parameter of bfloat16 or float16 has beside it to be stepped in full precision. "split": the lower 16
        bits of a float32 (``remainder`` in `state`), without loss; "float32": a float32 (``master`` in `state`); None:
        nothing, the new value is rounded. "auto" is "split" for bfloat16 and "float32" for float16.
    rounding : {"stochastic", "nearest"}
        How a bfloat16 parameter without a master is rounded; float16 ones can only be rounded to the nearest.
    copies : optional
        Arrays of bfloat16 or float16, of the same structure as `params`: each step writes the new parameters, which are
        float32, there too, rounded to the nearest, and so does :func:`gdfast.load`.
    """

    def __init__(
        self,
        params: Any,
        defaults: Mapping[str, Any],
        *,
        maximize: bool = False,
        l1: Hyperparameter = 0.0,
        centralize: bool = False,
        clip_adaptive: float = 0.0,
        n_threads: int | None = None,
        engine: str = "native",
        grads: Any = None,
        clip_norm: Hyperparameter | None = None,
        clip_value: Hyperparameter | None = None,
        nonfinite: str = "propagate",
        ema_decay: Hyperparameter | str | None = None,
        ema_start: int = 0,
        accumulation: str = "mean",
        state_dir: str | os.PathLike[str] | None = None,
        state_dtype: StateDtype = "float32",
        state_dtype_min_size: int = LEAST_SIZE,
        seed: int = 0,
        master: str | None = "auto",
        rounding: str = "stochastic",
        copies: Any = None,
        **unexpected: Any,
    ) -> None:
        for name in unexpected:
            raise unknown(name, (*self.specs, *Common.__annotations__), type(self).__name__)
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}; got {engine!r}")
        self.n_threads = threads.check(n_threads)
        self._engine_type = ENGINES[engine]
        common = {"maximize": maximize, "l1": l1, "centralize": centralize, "clip_adaptive": clip_adaptive}
        self._defaults = {**defaults, **common}
        #: clipping, and the response to NaN and infinity
        self.guard = Guard(clip_norm, clip_value, nonfinite)
        #: which average of the parameters is kept, if any
        self.averaging = Averaging(ema_decay, ema_start)
        #: the sum of the micro-batches since the last step
        self.accumulation = Accumulation(accumulation)
        #: the norm of the last step's gradients, after `grad_scale`; None if no step has computed it
        self.last_norm: float | None = None
        #: number of steps skipped because of NaN or infinity
        self.skipped_steps = 0
        self.step_count = 0
        self._storage = Storage(state_dir)
        self._short = ShortState(state_dtype, master, rounding, state_dtype_min_size, seed, self._whole_sizes())
        self._layout, self._carried = Layout(), []
        grouped = is_groups(params)
        self._extend(params if grouped else [{"params": params}], grouped)
        self._copied = copies is not None
        if self._copied:
            self._layout = self._layout.with_copies(copies, self.layerwise)
        self._init_process_state()
        if grads is not None:
            self._bind(self._layout.flatten(grads))

    # The public interface.

    @property
    def param_groups(self) -> tuple[ParamGroup, ...]:
        """The groups; each is a mapping from hyperparameter to value, which may be set, and ``"params"``."""
        return self._layout.groups

    @property
    def lr(self) -> float:
        """The learning rate of the next step, of the first group. Setting it sets every group's."""
        value: float = self._layout.groups[0].at_step(self.step_count)["lr"]
        return value

    @lr.setter
    def lr(self, value: Hyperparameter) -> None:
        checked = [group.checked({"lr": value}) for group in self._layout.groups]
        for group, values in zip(self._layout.groups, checked, strict=True):
            group.update_checked(values)

    @property
    def state(self) -> Mapping[str, Mapping[str, np.ndarray[Any, Any]]]:
        """The state arrays: parameter name -> state name -> array, mostly of the parameter's shape and dtype.

        Their values may be changed. Each access returns new views, so changing the dtype, shape or flags of one affects
        nothing else.
        """
        return MappingProxyType({name: MappingProxyType(arrays) for name, arrays in self._layout.state().items()})

    def state_value(self, name: str, state: str) -> np.ndarray[Any, Any]:
        """Return a copy of a state array as numbers, whatever it is kept in.

        Parameters
        ----------
        name : str
            The parameter's name, a key of `state`.
        state : str
            The state's name.

        Returns
        -------
        array
            Of the dtype that the rule computes in, and mostly of the parameter's shape.

        Raises
        ------
        KeyError
            If there is no such array.

        Examples
        --------
        >>> import numpy as np
        >>> import gdfast
        >>> w = np.zeros(5000, np.float32)
        >>> opt = gdfast.Adam(w, betas=(0.75, 0.999), state_dtype="8bit")
        >>> opt.step(np.ones(5000, np.float32))
        >>> opt.state["0"]["exp_avg"].dtype, opt.state_value("0", "exp_avg")[:3]
        (dtype('uint8'), array([0.25, 0.25, 0.25], dtype=float32))
        """
        entry = next((entry for entry in self._layout.entries if entry.param.name == name), None)
        if entry is None:
            raise KeyError(name)
        found = {named.name: named.array for named in entry.all_states if not named.name.endswith(SCALES)}
        if state not in found:
            raise KeyError(state)
        coded = {named.name: coding for named, coding in zip(entry.states, entry.state_codings(), strict=True)}
        coding = coded.get(state)
        if coding is not None and coding.form is not None:
            return decoded(coding.form, coding.codes, coding.beside)
        values: np.ndarray[Any, Any] = found[state].copy()
        return values

    @property
    def ema(self) -> Any:
        """The averages of the parameters, in the structure of the parameters (with several groups, a list of them).

        Raises
        ------
        AttributeError
            If the optimizer keeps no average (``ema_decay``).
        """
        self._check_averaging()
        return self._layout.tree([fresh(entry.states[-1].array) for entry in self._layout.entries])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the averages into the parameters' memory for a ``with`` block, and back at its end, also after an error.

        Raises
        ------
        AttributeError
            If the optimizer keeps no average (``ema_decay``).
        RuntimeError
            If they are swapped in already.
        """
        self._check_averaging()
        with self._stepping:
            self._check_not_blocked()
            self._blocked = True
        try:
            with swapped(self._check_unchanged):
                yield
        finally:
            self._blocked = False

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group of arrays with their own hyperparameters; its bias corrections count from this step.

        `step` then takes a list with the gradients of each group.

        Raises
        ------
        TypeError, ValueError
            If an array or a hyperparameter is invalid; the optimizer is then unchanged.
        RuntimeError
            If a step in pieces is open, or micro-batches have been accumulated since the last step.
        """
        if self._bound_grads is not None:
            raise ValueError("params cannot be added to an optimizer with bound gradient buffers; make a new optimizer")
        if self._copied:
            raise ValueError("params cannot be added to an optimizer with copies; make a new optimizer")
        if not is_groups([group]):
            raise TypeError(f'group must be a dict with "params"; got {type(group).__name__}')
        with self._stepping:
            self._check_not_blocked()
            if self.accumulation.count:
                raise RuntimeError(
                    "params cannot be added while micro-batches wait since accumulate(); call step first"
                )
            self._check_unchanged(written=False)
            self._extend([group], grouped=True)
            self.accumulation.sums = ()
            self._make_engine()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is needed to resume, as a deep copy.

        Returns
        -------
        dict
            ``optimizer``, ``step_count``, ``state`` (parameter name -> state name -> array) and ``param_groups``
            (hyperparameters, the names of the arrays under ``params``).
        """
        with self._stepping:
            self._check_not_blocked()
            return states.dump(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state from :meth:`state_dict`, by copy; on an error nothing is changed.

        Raises
        ------
        TypeError, ValueError
            If anything does not match (optimizer, names, shapes, dtypes, ranges of hyperparameters); all mismatches are
            listed.
        """
        with self._stepping.mending() as torn:
            self._check_not_blocked(torn)
            states.load(self, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for `pickle` and `copy.deepcopy`: everything that does not belong to this process."""
        with self._stepping:
            self._check_not_blocked()
            self._check_unchanged(written=False)
            kept = {name: value for name, value in self.__dict__.items() if name not in _OWN}
            return {**kept, "_storage": Storage(None)}  # a copy keeps its state in memory

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_process_state()

    def __repr__(self) -> str:
        groups = ", ".join(map(repr, self._layout.groups))
        return f"{type(self).__name__}({len(self._layout.entries)} arrays, step_count={self.step_count}, {groups})"

    # Implementation.

    def _extend(self, groups: Sequence[Mapping[str, Any]], grouped: bool) -> None:
        """Check groups and add them to the layout."""
        try:
            self._layout = self._layout.extended(
                type(self),
                groups,
                self._defaults,
                grouped=grouped,
                start_step=self.step_count,
                averaged=self.averaging.on,
                storage=self._storage,
                short=self._short,
            )
        except BaseException:
            self._storage.rollback()
            raise
        self._storage.commit()
        if self.carried_scalars:
            self._carried += [dict(self.carried_scalars) for _ in groups]

    def _whole_sizes(self) -> Mapping[str, int]:
        """Return the sizes of whole arrays by their names, where this optimizer has slices of them."""
        return {}

    def _check_averaging(self) -> None:
        if not self.averaging.on:
            raise AttributeError(f"this {type(self).__name__} keeps no average; give ema_decay when making it")
