"""L-BFGS, for full-batch losses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gdfast.arrays import buffers
from gdfast.arrays._bound import Bound
from gdfast.arrays.structure import flatten, lay_out
from gdfast.engine import threads
from gdfast.engine._plan import NonBlockingLock
from gdfast.engine.engines import ENGINES
from gdfast.optimizers.lbfgs.checks import check_count, check_keys, check_options, loss_number
from gdfast.optimizers.lbfgs.curvature import Array, Curvature, axpy_dot_of
from gdfast.optimizers.lbfgs.line_search import scipy_optimize, strong_wolfe
from gdfast.stepping.hyperparameters import NON_NEGATIVE, POSITIVE
from gdfast.stepping.layout import is_groups

Closure: TypeAlias = Callable[[], tuple[float, Any]]

SEARCHES = ("strong_wolfe", None)
_PROCESS_STATE = ("_stepping", "_own", "_bound", "_plain", "_axpy_dot")
STATE = ("old_stps", "old_dirs", "ro", "H_diag")
OPTIONS = ("lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size", "line_search")


class LBFGS:
    """L-BFGS: a quasi-Newton method, which approximates the inverse Hessian from the last steps; for full batches.

    The direction d is computed from the gradient g by the two-loop recursion over the last steps and their changes of
    the gradient; then a line search finds a step t that satisfies the strong Wolfe conditions::

        loss(p + t*d) <= loss(p) + 1e-4*t*(g @ d)        |g(p + t*d) @ d| <= 0.9*|g @ d|

    Parameters
    ----------
    params : array, nested list/tuple/dict of arrays
        All float32 or all float64, updated in place; see :class:`gdfast.Optimizer`. No groups.
    lr : float
        The first step that a line search tries, or, without one, the step; without a history, ``lr*min(1, 1/|g|)``.
    max_iter : int
        Maximum number of iterations in a call of :meth:`step`.
    max_eval : int, optional
        Evaluations in a call of :meth:`step` after which no iteration begins; by default ``max_iter*5//4``.
    tolerance_grad : float
        Converged when the largest absolute value of the gradient is at most this.
    tolerance_change : float
        Converged when an iteration changes the loss by less than this, or no parameter by more.
    history_size : int
        Maximum number of steps kept: memory for twice as many copies of the parameters.
    line_search : {"strong_wolfe", None}
        Line search; "strong_wolfe" is SciPy's (``pip install "gdfast[scipy]"``).
    n_threads, engine
        As for :class:`gdfast.Optimizer`; neither changes a bit of the result.

    Attributes
    ----------
    status : str
        Why the last :meth:`step` ended: ``"tolerance_grad"``, ``"tolerance_change"``, ``"max_iter"``, ``"max_eval"``,
        or ``"line_search"``: no step tried along the negative gradient lowers the loss. Possible causes are rounding at
        the minimum, a loss that is not finite nearby, or a wrong gradient.
    n_iter, func_evals : int
        Total number of iterations and of evaluations.

    Raises
    ------
    TypeError, ValueError
        If an array or an option is invalid.
    ImportError
        If the line search needs SciPy, which is not installed.

    Notes
    -----
    As `torch.optim.LBFGS`, with these differences: the closure returns loss and gradients; `step` returns the last
    loss, not the first; the line search is on by default; a line search that fails takes the best point that it tried,
    or, if none was better, the history is dropped and steepest descent tried; a step to a loss or gradient that is not
    finite counts as too long; the first step is scaled by the Euclidean norm; a small directional derivative does not
    end the iterations.
    Source: Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, algorithms 7.4, 3.5 and 3.6; Liu and Nocedal, On
    the limited memory BFGS method for large scale optimization, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> import gdfast
    >>> w = np.array([-1.2, 1.0])
    >>> def rosenbrock():
    ...     x, y = w
    ...     slope = 200 * (y - x**2)
    ...     return 100 * (y - x**2) ** 2 + (1 - x) ** 2, np.array([-2 * x * slope - 2 * (1 - x), slope])
    >>> opt = gdfast.LBFGS(w, max_iter=100)
    >>> loss = opt.step(rosenbrock)
    >>> w.round(6), opt.status
    (array([1., 1.]), 'tolerance_change')
    """

    lr: float
    max_iter: int
    max_eval: int
    tolerance_grad: float
    tolerance_change: float
    history_size: int
    line_search: str | None

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search: str | None = "strong_wolfe",
        *,
        n_threads: int | None = None,
        engine: str = "native",
        **unexpected: Any,
    ) -> None:
        check_options(unexpected)
        if engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(map(repr, ENGINES))}; got {engine!r}")
        self._set_options(lr, max_iter, max_eval, tolerance_grad, tolerance_change, history_size, line_search)
        self.engine, self.n_threads = engine, threads.check(n_threads)
        if is_groups(params):
            raise ValueError("params must be one structure of arrays: L-BFGS has no parameter groups")
        self._params, self._skeleton = flatten(params, "params", "grads", first=0)
        buffers.check_params(self._params)
        arrays = [buffers.plain(named.array) for named in self._params]
        dtypes = sorted({array.dtype.name for array in arrays})
        if len(dtypes) != 1:
            raise TypeError(f"params must all be float32 or all float64; got {' and '.join(dtypes) or 'no array'}")
        self._size = sum(array.size for array in arrays)
        self._curvature = Curvature(self._size, self.history_size, arrays[0].dtype)
        vectors = np.zeros((5, self._size), arrays[0].dtype)
        self._point, self._direction, self._grad, self._trial, self._best = vectors
        self.status, self.n_iter, self.func_evals = "", 0, 0
        self._init_process_state()

    def step(self, closure: Closure) -> float:
        """Minimise the loss, starting at the current parameters, in up to `max_iter` iterations.

        Parameters
        ----------
        closure : callable
            Takes no arguments, and returns a pair: the loss at the current parameters, and its gradients in the
            structure of the parameters, which may be the same arrays every time. It must not write to the parameters.

        Returns
        -------
        float
            The loss at the new parameters.

        Raises
        ------
        TypeError, ValueError
            If what the closure returns is invalid, or an array was resized or made read-only.
        FloatingPointError
            If the loss or the gradient is not finite at the start.
        RuntimeError
            If another thread is stepping this optimizer.

        Notes
        -----
        After an error, also one raised by the closure, the parameters are at the end of the last completed iteration.
        """
        with self._stepping:
            self._axpy_dot = axpy_dot_of(self.engine, threads.resolve(self.n_threads))
            self._step_evals = 0
            self._bound.check()
            loss = self._evaluate(closure)
            if not math.isfinite(loss):
                raise FloatingPointError("the loss or its gradient is not finite at the start; nothing was updated")
            self._grad, self._trial = self._trial, self._grad
            self.status = ""
            iterations = 0
            while not self.status:
                loss = self._iterate(closure, loss)
                iterations += 1
                if not self.status and iterations >= self.max_iter:
                    self.status = "max_iter"
                elif not self.status and self._step_evals >= self.max_eval:
                    self.status = "max_eval"
            return loss

    def state_dict(self) -> dict[str, Any]:
        """Return what a later run needs to resume, as a deep copy.

        Returns
        -------
        dict
            ``optimizer``, ``options``, ``n_iter``, ``func_evals``, and ``state`` with PyTorch's names: ``old_stps`` and
            ``old_dirs`` (the steps and the changes of the gradient, oldest first), ``ro`` and ``H_diag``.
        """
        with self._stepping:
            return {
                "optimizer": "LBFGS",
                "options": {name: getattr(self, name) for name in OPTIONS},
                "n_iter": self.n_iter,
                "func_evals": self.func_evals,
                "state": dict(zip(STATE, self._curvature.dump(), strict=True)),
            }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a copy of a state from :meth:`state_dict`, all or nothing.

        Raises
        ------
        TypeError, ValueError
            If it belongs to another optimizer or to arrays of another size or dtype, or an option is invalid.
        """
        with self._stepping.mending():
            if not isinstance(state_dict, Mapping) or state_dict.get("optimizer") != "LBFGS":
                raise TypeError("state_dict must be that of an LBFGS")
            check_keys("state_dict", state_dict, ("optimizer", "options", "n_iter", "func_evals", "state"))
            check_keys('state_dict["options"]', state_dict["options"], OPTIONS)
            check_keys('state_dict["state"]', state_dict["state"], STATE)
            size = check_count("history_size", state_dict["options"]["history_size"])
            like = Curvature(self._size, size, self._point.dtype)
            like.restore(*(state_dict["state"][name] for name in STATE))
            counts = {name: check_count(name, state_dict[name], least=0) for name in ("n_iter", "func_evals")}
            self._set_options(**state_dict["options"])
            self.__dict__.update(counts)
            self._curvature = like

    def __getstate__(self) -> dict[str, Any]:
        """Return what `pickle` and `copy.deepcopy` copy: everything but what belongs to this process."""
        with self._stepping:
            self._bound.check(written=False)
            return {name: value for name, value in self.__dict__.items() if name not in _PROCESS_STATE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_process_state()

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)!r}" for name in OPTIONS)
        return f"LBFGS({len(self._params)} arrays, n_iter={self.n_iter}, {options})"

    # How it is done.

    def _set_options(
        self,
        lr: float,
        max_iter: int,
        max_eval: int | None,
        tolerance_grad: float,
        tolerance_change: float,
        history_size: int,
        line_search: str | None,
    ) -> None:
        """Check all options, then set them."""
        if line_search not in SEARCHES:
            raise ValueError(f'line_search must be "strong_wolfe" or None; got {line_search!r}')
        if line_search is not None:
            scipy_optimize()
        max_iter = check_count("max_iter", max_iter)
        checked = {
            "lr": POSITIVE.number("lr", lr, is_float32=False),
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else check_count("max_eval", max_eval),
            "tolerance_grad": NON_NEGATIVE.number("tolerance_grad", tolerance_grad, is_float32=False),
            "tolerance_change": NON_NEGATIVE.number("tolerance_change", tolerance_change, is_float32=False),
            "history_size": check_count("history_size", history_size),
            "line_search": line_search,
        }
        self.__dict__.update(checked)

    def _init_process_state(self) -> None:
        """Create what belongs to this process or these addresses: the lock, the memory that no gradient may share."""
        self._stepping = NonBlockingLock("LBFGS")
        self._own = buffers.Memory(self._params)
        self._bound = Bound([named.path for named in self._params], [named.array for named in self._params])
        self._plain = [replace(named, array=a) for named, a in zip(self._params, self._bound.views, strict=True)]

    def _iterate(self, closure: Closure, loss: float) -> float:
        """Make one iteration, and return the loss where it ends; set the status if it was the last."""
        curvature, direction = self._curvature, self._direction
        if _max_abs(self._grad) <= self.tolerance_grad:
            self.status = "tolerance_grad"
            return loss
        slope = curvature.direction(self._grad, direction, self._axpy_dot)
        if not slope < 0 and curvature.count:  # the history does not lead downhill any more: use steepest descent
            curvature.clear()
            slope = curvature.direction(self._grad, direction, self._axpy_dot)
        self._bound.check()  # the closure was user code
        np.concatenate([view.ravel() for view in self._bound.views], out=self._point)
        line = _Line(loss)
        try:
            step = self._search(closure, line, slope)
            self._move(step)
        except BaseException:
            self._move(0.0)
            raise
        if step == 0:
            if curvature.count:
                curvature.clear()
            else:
                self.status = "line_search"
            return loss
        grad = self._best if step == line.best else self._trial
        curvature.update(step, direction, grad, self._grad, self._axpy_dot)
        np.copyto(self._grad, grad)
        self.n_iter += 1
        reached = line.seen[step][0]
        if _max_abs(grad) <= self.tolerance_grad:
            self.status = "tolerance_grad"
        elif abs(reached - loss) < self.tolerance_change or step * _max_abs(direction) <= self.tolerance_change:
            self.status = "tolerance_change"
        return reached

    def _search(self, closure: Closure, line: "_Line", slope: float) -> float:
        """Return the step to take along the direction, or 0; the gradient there is in `_best` or `_trial`."""

        def at(step: float) -> tuple[float, float]:
            if step not in line.seen:
                self._move(step)
                loss = self._evaluate(closure)
                there = self._axpy_dot(self._trial, None, self._direction, 0.0, 1.0) if loss < math.inf else math.inf
                line.seen[step], line.last = (loss, there), step
                if loss < line.seen[line.best][0]:
                    line.best = step
                    np.copyto(self._best, self._trial)
            return line.seen[step]

        first = self.lr if self._curvature.count else self.lr * min(1.0, 1.0 / math.sqrt(-slope)) if slope < 0 else 0.0
        if self.line_search is None:
            return first if at(first)[0] < math.inf else 0.0
        found = strong_wolfe(at, line.seen[0.0][0], slope, first) if slope < 0 else None
        return found if found in (line.last, line.best) else line.best

    def _move(self, step: float) -> None:
        """Set the parameters to the point at this step along the direction."""
        factor, start = self._direction.dtype.type(step), 0
        self._bound.check()  # the closure was user code
        for view in self._bound.views:
            part, flat = slice(start, start + view.size), view.reshape(-1)
            if step == 0:
                flat[...] = self._point[part]
            else:
                np.multiply(self._direction[part], factor, out=flat)
                np.add(self._point[part], flat, out=flat)
            start = part.stop

    def _evaluate(self, closure: Closure) -> float:
        """Return the loss, infinity if it or its gradient is not finite, and put the gradient into `_trial`."""
        self._step_evals += 1
        self.func_evals += 1
        result = closure()
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"closure must return a pair (loss, grads); got {type(result).__name__}")
        loss, start = loss_number(result[0]), 0
        for named, given in zip(self._plain, tuple(lay_out(result[1], self._skeleton, "grads")), strict=True):
            buffers.check_grad(given, named, self._own)
            grad = buffers.plain(given)
            self._trial[start : start + grad.size] = grad.reshape(-1)
            start += grad.size
        return loss if math.isfinite(loss) and math.isfinite(_max_abs(self._trial)) else math.inf


class _Line:
    """The points evaluated along a direction: loss and slope by step, the last step and that with the lowest loss."""

    def __init__(self, loss: float) -> None:
        self.seen = {0.0: (loss, math.nan)}
        self.last = self.best = 0.0


def _max_abs(vector: Array) -> float:
    """Return the largest absolute value, 0 for an empty vector; NaN if there is one."""
    return max(float(vector.max()), -float(vector.min())) if vector.size else 0.0
