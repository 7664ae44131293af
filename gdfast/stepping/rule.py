"""The interface of a rule's class: its states, its hyperparameters, and its numbers of a step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from gdfast.arrays.structure import NamedArray
from gdfast.stepping.hyperparameters import NON_NEGATIVE, Flag, Range, Spec

#: averages of gradients (False) and of their squares (True), by the names that they have in every rule
AVERAGES: Mapping[str, bool] = {
    **dict.fromkeys(("momentum_buffer", "exp_avg", "exp_avg_fast", "exp_avg_slow", "exp_avg_diff", "grad_avg"), False),
    **dict.fromkeys(("exp_avg_sq", "exp_avg_var", "exp_inf", "square_avg", "acc_delta"), True),
}

Scalars = TypeVar("Scalars", bound=Callable[..., tuple[float, ...]])


def computed_natively(scalars: Scalars) -> Scalars:
    """Mark the `scalars` that native code computes too: Adam's. One that overrides it does not have the mark."""
    scalars.computed_natively = True  # type: ignore[attr-defined]
    return scalars


def same_in_all_steps(*unless: str) -> Callable[[Scalars], Scalars]:
    """Mark `scalars` that depend on the hyperparameters alone, but for the first step; likewise.

    `unless`: hyperparameters of which this is true only while they are 0.
    """

    def mark(scalars: Scalars) -> Scalars:
        scalars.same_in_all_steps = unless  # type: ignore[attr-defined]
        return scalars

    return mark


class Rule(ABC):
    """What a new rule must define. How a step is carried out is in the subclasses of this class."""

    #: rule name -> the names of its state arrays, in the order of the native loop
    rules: ClassVar[Mapping[str, tuple[str, ...]]]
    #: hyperparameter name -> its allowed values
    own_specs: ClassVar[Mapping[str, Spec]] = {}
    #: the same, with the hyperparameters that all rules share
    specs: ClassVar[Mapping[str, Spec]]
    #: whether weight decay is subtracted from the parameters directly (see `decays`), instead of added to the gradient
    decoupled: ClassVar[bool] = False
    #: numbers that a group carries from step to step: name -> initial value
    carried_scalars: ClassVar[Mapping[str, float]] = {}
    #: the rules that can step some rows of an array and leave the others unchanged (:class:`gdfast.Rows`)
    lazy_rules: ClassVar[frozenset[str]] = frozenset()
    #: the states that may be kept in fewer bits, and whether they are never negative. An average may: random rounding
    #: keeps its mean. What is used value by value must not: maxima, previous gradients, step sizes, parameters.
    short_states: ClassVar[Mapping[str, bool]] = AVERAGES
    #: whether parameters may be bfloat16 or float16
    short_params: ClassVar[bool] = True
    #: whether those must then have a master: rounding them in each step would lose what the rule computes from them
    needs_master: ClassVar[bool] = False
    #: whether each array has its own numbers in a step, which depend on measured norms
    layerwise: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        cls.specs = {
            **cls.own_specs,
            "maximize": Flag(fixed=False),
            "l1": NON_NEGATIVE,
            "centralize": Flag(),
            "clip_adaptive": Range(fixed=True),
        }

    @classmethod
    @abstractmethod
    def rule_of(cls, values: Mapping[str, Any]) -> str:
        """Return the rule that these hyperparameters ask for."""

    @classmethod  # noqa: B027 - most rules have nothing to check
    def check_together(cls, values: Mapping[str, Any]) -> None:
        """Check hyperparameters that depend on one another."""

    @staticmethod
    def initial(state: str, values: Mapping[str, Any]) -> float | None:
        """Return the initial value of a state array; None for a copy of the parameter."""
        return 0.0

    @classmethod
    def rule_for(cls, values: Mapping[str, Any], param: NamedArray) -> str:
        """Return the rule for one array; for most classes that is `rule_of`.

        Raises
        ------
        ValueError
            If the rule does not fit the array.
        """
        return cls.rule_of(values)

    @staticmethod
    def reduced_shape(state: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the shape of a reduced state (for a parameter of this shape); None if it has the parameter's shape."""
        return None

    @classmethod
    def states_of(cls, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the state arrays that these hyperparameters need."""
        return cls.rules[cls.rule_of(values)]

    @staticmethod
    @abstractmethod
    def scalars(values: Mapping[str, Any], t: int) -> tuple[float, ...]:
        """Return the rule's numbers at step t, counted from 1, in the order of the native loop.

        With `carried_scalars`, `values` also holds these, as `next_carried` returned them for this step.
        """

    @staticmethod
    def decays(values: Mapping[str, Any], t: int) -> tuple[float, float]:
        """Return the coupled weight decay at step t (added to the gradient) and the decoupled one (subtracted).

        Called only if `decoupled`; a hyperparameter ``decoupled_weight_decay`` may still switch it off.
        """
        weight_decay = values["weight_decay"]
        if values.get("decoupled_weight_decay", True):
            return 0.0, values["lr"] * weight_decay
        return weight_decay, 0.0

    if TYPE_CHECKING:  # only defined by rules with `carried_scalars`

        @staticmethod
        def next_carried(values: Mapping[str, Any], t: int) -> dict[str, float]:
            """Return the carried scalars of a group after step t, from its hyperparameters and the scalars before."""
