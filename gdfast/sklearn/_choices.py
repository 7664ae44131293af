"""Optimizer, learning rate and random generator, from the parameters of an estimator."""

import numbers
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils import check_random_state

from gdfast import optimizers
from gdfast.optimizers import Adam
from gdfast.stepping.base import Optimizer
from gdfast.stepping.hyperparameters import Hyperparameter

OptimizerChoice: TypeAlias = str | type[Optimizer] | tuple[Any, Mapping[str, Any]]


def resolve_optimizer(choice: OptimizerChoice) -> tuple[type[Optimizer], dict[str, Any]]:
    """Return the class and the options that a user's choice of an optimizer stands for.

    Parameters
    ----------
    choice : str, class, or pair of one of them and a dict
        ``"adam"``, ``gdfast.Adam`` or ``("adam", {"betas": (0.9, 0.99)})``. The options are those of the class. "auto"
        is Adam.

    Raises
    ------
    TypeError, ValueError
        If it is none of them.

    Examples
    --------
    >>> resolve_optimizer(("sgd", {"momentum": 0.9}))
    (<class 'gdfast.optimizers.sgd.SGD'>, {'momentum': 0.9})
    """
    options: Mapping[str, Any] = {}
    if isinstance(choice, str) and choice == "auto":
        choice = Adam
    if isinstance(choice, tuple):
        if len(choice) != 2 or not isinstance(choice[1], Mapping):
            raise TypeError(f"optimizer must be a name, a class, or (name or class, dict of options); got {choice!r}")
        choice, options = choice
    if isinstance(choice, str):
        known = optimizers.by_name()
        if choice not in known:
            raise ValueError(f"optimizer must be one of {', '.join(map(repr, known))}; got {choice!r}")
        return known[choice], dict(options)
    if not isinstance(choice, type) or not issubclass(choice, Optimizer):
        raise TypeError(
            f"optimizer must be a name, a subclass of gdfast.Optimizer, or a pair with options; got {choice!r}"
        )
    return choice, dict(options)


def averaging_optimizer(
    choice: OptimizerChoice, lr: Hyperparameter, average: bool | int
) -> tuple[type[Optimizer], dict[str, Any]]:
    """Return the class and the options, with the rate, and with averages of the weights from step `average` on."""
    optimizer, options = resolve_optimizer(choice)
    options["lr"] = lr
    if average:
        options |= {"ema_decay": "average", "ema_start": max(0, int(average) - 1)}
    return optimizer, options


def resolve_lr(lr: Any, automatic: Callable[[], Hyperparameter], choice: OptimizerChoice = "auto") -> Hyperparameter:
    """Return the learning rate as the optimizers take it: a number or a schedule.

    Parameters
    ----------
    lr : float, schedule, "auto" or "find"
        A schedule is a callable ``step -> float``; a step is one mini-batch, counted from 0.
    automatic : callable
        What "auto" means: called without arguments, only then, and for "find", whose sweep replaces it.
    choice : str, class or pair
        The optimizer. Its options may have the rate instead, if `lr` is "auto".

    Raises
    ------
    ValueError, TypeError
        If it is none of them, or not positive, or there are two.
    """
    options = resolve_optimizer(choice)[1]
    if "lr" in options:
        if not isinstance(lr, str) or lr != "auto":
            raise ValueError(f"lr must be given once; got {lr!r}, and {options['lr']!r} among the optimizer's options")
        return _rate(options["lr"], "")
    if isinstance(lr, str) and lr in ("auto", "find"):
        return automatic()
    return _rate(lr, ', "auto" or "find"')


def _rate(lr: Any, words: str) -> Hyperparameter:
    if callable(lr):
        schedule: Hyperparameter = lr
        return schedule
    if isinstance(lr, bool) or not isinstance(lr, numbers.Real | str):
        raise TypeError(f"lr must be a positive number, a schedule{words}; got {lr!r}")
    if isinstance(lr, str):
        raise ValueError(f"lr must be a positive number, a schedule{words}; got {lr!r}")
    try:
        rate = float(lr)
    except OverflowError:  # an int of many digits
        rate = np.inf
    if not 0.0 < rate < np.inf:
        raise ValueError(f"lr must be positive and finite; got {lr!r}")
    return rate


def go_on_from(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load a state into an optimizer, but for its hyperparameters: the estimator's parameters may have changed since.

    Raises
    ------
    TypeError, ValueError
        If the state is that of another optimizer.
    """
    given = [group.values_now for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, given, strict=True):
        group.update_checked(group.checked(values))


def make_generator(random_state: Any) -> np.random.Generator:
    """Return NumPy's Generator for scikit-learn's ``random_state``.

    Parameters
    ----------
    random_state : None, int, numpy.random.RandomState or numpy.random.Generator
        A Generator is used as it is; a RandomState is drawn from, once.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=4)
    return np.random.default_rng(seed)
