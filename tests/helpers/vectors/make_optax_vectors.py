"""Make optax.npz: what optax 0.2.8 makes of the tests' cases in float64, after 1, 2, 10 and 100 steps, without l1.

Run from tests/helpers: `python vectors/make_optax_vectors.py`; given a path, the vectors are written there.
Gradients and parameters are those of make_torch_vectors.py.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from vectors.make_torch_vectors import CHECKPOINTS, SHAPES, SIZE, gradient, prefix, start

FILE = Path(__file__).parent / "optax.npz"

# The options are those of the case of this name. Where optax has no weight decay, it is put before the rule (coupled).
TWINS: dict[str, Callable[[Any], Any]] = {
    "adam_eps_root": lambda o: o.adam(0.01, eps=1e-4, eps_root=1e-3),
    "adamw_eps_root": lambda o: o.adamw(1e-3, 0.8, 0.99, eps_root=1e-3, weight_decay=0.2),
    "sign_sgd": lambda o: o.sign_sgd(0.01),
    "sign_sgd_odd": lambda o: o.chain(o.scale_by_sign(), o.add_decayed_weights(0.3), o.scale(-0.01)),
    "signum": lambda o: o.signum(0.01),
    "signum_odd": lambda o: o.chain(
        o.ema(0.5, debias=False), o.scale_by_sign(), o.add_decayed_weights(0.3), o.scale(-0.01)
    ),
    "lion": lambda o: o.lion(1e-4),
    "lion_odd": lambda o: o.lion(0.01, 0.5, 0.95, weight_decay=0.3),
    "yogi": lambda o: o.yogi(0.01),
    "yogi_odd": lambda o: o.chain(
        o.add_decayed_weights(0.1), o.scale_by_yogi(0.7, 0.99, 1e-3, 1e-4, 0.1), o.scale(-0.01)
    ),
    "adabelief": lambda o: o.adabelief(1e-3),
    "adabelief_odd": lambda o: o.adabelief(0.02, 0.5, 0.99, 1e-3, 1e-5),
    "adabelief_l1": lambda o: o.chain(o.scale_by_belief(), o.add_decayed_weights(0.2), o.scale(-0.02)),
    "adopt": lambda o: o.contrib.adopt(1e-3),
    "adopt_odd": lambda o: o.chain(
        o.add_decayed_weights(0.1), o.contrib.adopt(0.02, 0.5, 0.9, clip_value_fn=lambda step: step**0.5)
    ),
    "adopt_unclipped": lambda o: o.contrib.adopt(0.02, eps=0.1, use_clipping=False),
    "ademamix": lambda o: o.contrib.ademamix(1e-3),
    "ademamix_odd": lambda o: o.contrib.ademamix(0.02, 0.5, 0.99, 0.9, 2.0, eps_root=1e-5, weight_decay=0.1),
    "schedule_free_sgd": lambda o: o.contrib.schedule_free_sgd(1.0),
    "schedule_free_adamw": lambda o: o.contrib.schedule_free_adamw(0.0025),
    # With beta2 = 1/2, where optax's formula is the authors'.
    "adan_odd": lambda o: o.adan(0.02, 0.9, 0.5, 0.9, 1e-3, 1e-5, weight_decay=0.1),
    "lars": lambda o: o.lars(0.5),
    "lars_odd": lambda o: o.lars(0.7, 0.1, trust_coefficient=0.01, eps=1e-3, momentum=0.8, nesterov=True),
    "lars_plain": lambda o: o.lars(1.0, momentum=0.0),
    "lars_without_trust": lambda o: o.lars(0.01, trust_ratio_mask=False),
    "lamb": lambda o: o.lamb(0.01),
    "lamb_odd": lambda o: o.lamb(0.02, 0.5, 0.99, 1e-3, weight_decay=0.1),
    "lamb_without_trust": lambda o: o.adamw(1e-3, eps=1e-6, weight_decay=0.1),
    "novograd": lambda o: o.novograd(0.01),
    "novograd_odd": lambda o: o.novograd(0.02, 0.95, 0.98, 1e-3, weight_decay=0.1),
}
# Of cases of matrices. A unit is all that shares an index of the first axis; optax has them the other way, unless told.
MATRIX_TWINS: dict[str, Callable[[Any], Any]] = {
    "adam_centralized": lambda o: o.chain(o.centralize(), o.add_decayed_weights(0.1), o.adam(1e-3)),
    "adamw_clipped": lambda o: o.chain(o.adaptive_grad_clip(0.01, axis=1), o.adamw(1e-3, weight_decay=1e-2)),
    "lamb_both": lambda o: o.chain(o.centralize(), o.adaptive_grad_clip(0.05, axis=1), o.lamb(1e-3, weight_decay=0.1)),
}


def run_optax(case, twin: Callable[[Any], Any], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the parameters at the checkpoints, by `<case>/<step>`; those of matrices by `<shape>` before."""
    import jax
    import jax.numpy as jnp
    import optax

    sign = -1.0 if case.options.get("maximize") else 1.0
    found = {}
    with jax.enable_x64(True):
        rule = twin(optax)
        param = jnp.asarray(start().reshape(shape))
        state = rule.init(param)
        for step in range(max(CHECKPOINTS)):
            updates, state = rule.update(jnp.asarray(sign * gradient(step).reshape(shape)), state, param)
            param = optax.apply_updates(param, updates)
            if step + 1 in CHECKPOINTS:
                found[prefix(case, shape, step + 1)] = np.asarray(param)
    return found


def run_lookahead() -> dict[str, np.ndarray]:
    """Return the fast and the slow parameters of Lookahead around Adam, by `lookahead/<step>/<which>`."""
    import jax
    import jax.numpy as jnp
    import optax

    found = {}
    with jax.enable_x64(True):
        rule = optax.lookahead(optax.adam(0.01), 3, 0.3)
        params = optax.LookaheadParams.init_synced(jnp.asarray(start()))
        state = rule.init(params)
        for step in range(max(CHECKPOINTS)):
            updates, state = rule.update(jnp.asarray(gradient(step)), state, params)
            params = optax.apply_updates(params, updates)
            if step + 1 in CHECKPOINTS:
                found |= {
                    f"lookahead/{step + 1}/{name}": np.asarray(getattr(params, name)) for name in ("fast", "slow")
                }
    return found


def main(path: Path) -> None:
    """Write the vectors of every case that has a twin."""
    import optax
    from cases import CASES, MATRICES

    vectors: dict[str, np.ndarray] = run_lookahead()
    for case in CASES:
        if case.name in TWINS:
            vectors |= run_optax(case, TWINS[case.name], (SIZE,))
    for case in MATRICES:
        if case.name in MATRIX_TWINS:
            for shape in SHAPES:
                vectors |= run_optax(case, MATRIX_TWINS[case.name], shape)
    np.savez_compressed(path, **vectors)
    print(f"{len(vectors)} vectors, optax {optax.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FILE)
