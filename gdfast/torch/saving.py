"""What PyTorch's checkpoints lack where something is in fewer bits, and what its way of loading converts."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from gdfast.arrays.formats import PLAIN
from gdfast.torch.memory import HALF
from gdfast.torch.short import keeps_its_dtype

# What a checkpoint has beside PyTorch's keys.
BESIDE = "gdfast"


def load(opt: Any, load_theirs: Callable[[dict[str, Any]], None], state_dict: dict[str, Any]) -> None:
    """Load a copy of a checkpoint; `load_theirs` is PyTorch's way, which converts state to the parameters' dtypes."""
    loaded: dict[str, Any] = {}
    short, asked = opt.short, [group.get("state_dtype") for group in opt.param_groups]

    def take(_: Any, found: dict[str, Any]) -> None:  # what the user's hooks have made of it
        nonlocal short
        loaded.update(found)
        if BESIDE in found:
            if not isinstance(found[BESIDE], dict) or "seed" not in found[BESIDE]:
                raise ValueError(f'state_dict["{BESIDE}"] must be a dict with the "seed"; got {found[BESIDE]!r}')
            short = replace(short, seed=found[BESIDE]["seed"])

    handle = opt.register_load_state_dict_pre_hook(take)
    try:
        load_theirs(deepcopy(state_dict))
    finally:
        handle.remove()
    opt.short = short
    for saved, group, own in zip(loaded["param_groups"], opt.param_groups, asked, strict=True):
        if own is not None:  # which PyTorch's checkpoints lack
            group.setdefault("state_dtype", own)
        for key, param in zip(saved["params"], group["params"], strict=True):
            for name, value in loaded["state"].get(key, {}).items():
                if name in opt.rule.owner.carried_scalars or keeps_its_dtype(name, param):
                    opt.state[param][name] = value


def with_seed(opt: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint with the seed beside PyTorch's keys, if something may be rounded at random."""
    asked = [opt.short.state_dtype, *(group.get("state_dtype", PLAIN) for group in opt.param_groups)]
    params = (param for group in opt.param_groups for param in group["params"])
    if any(form != PLAIN for form in asked) or any(param.dtype in HALF for param in params):
        found[BESIDE] = {"seed": int(opt.short.seed)}
    return found
