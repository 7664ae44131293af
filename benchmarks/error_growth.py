"""How far float32 drifts from float64: the table in docs/numerics.md.

Run as `python -m benchmarks.error_growth`. Both element types take the same gradients (rounded to float32) from the
same start; the float64 run is carried out by the reference engine. The error is the root mean square of the difference
of the parameters, relative to that of the distance they have moved.
"""

import numpy as np

import gdfast

STEPS = (1, 10, 100, 1_000, 10_000)
SIZE = 1_000
RULES = {
    "sgd": (gdfast.SGD, {"lr": 1e-2}),
    "momentum": (gdfast.SGD, {"lr": 1e-2, "momentum": 0.9}),
    "nesterov": (gdfast.SGD, {"lr": 1e-2, "momentum": 0.9, "nesterov": True}),
    "adagrad": (gdfast.Adagrad, {"lr": 1e-2}),
    "rmsprop": (gdfast.RMSprop, {"lr": 1e-3}),
    "rmsprop_centered": (gdfast.RMSprop, {"lr": 1e-3, "centered": True}),
    "rmsprop_momentum": (gdfast.RMSprop, {"lr": 1e-3, "momentum": 0.9}),
    "adam": (gdfast.Adam, {}),
    "amsgrad": (gdfast.Adam, {"amsgrad": True}),
    "adamw": (gdfast.AdamW, {}),
    "adamax": (gdfast.Adamax, {}),
    "radam": (gdfast.RAdam, {}),
    "nadam": (gdfast.NAdam, {}),
    "adadelta": (gdfast.Adadelta, {}),
    "asgd": (gdfast.ASGD, {}),
    "rprop": (gdfast.Rprop, {}),
}


def growth(optimizer: type[gdfast.Optimizer], options: dict[str, object]) -> list[float]:
    """Return the relative error at each of STEPS."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal(SIZE).astype(np.float32)
    single, double = start.copy(), start.astype(np.float64)
    opt32, opt64 = optimizer(single, **options), optimizer(double, engine="numpy", **options)
    errors = []
    for step in range(1, max(STEPS) + 1):
        grad = (rng.standard_normal(SIZE) + 0.1).astype(np.float32)
        opt32.step(grad)
        opt64.step(grad.astype(np.float64))
        if step in STEPS:
            errors.append(float(np.linalg.norm(single - double) / np.linalg.norm(double - start)))
    return errors


def main() -> None:
    """Print the table."""
    print("| rule | " + " | ".join(f"{step:,} steps" for step in STEPS) + " |")
    print("|---" * (len(STEPS) + 1) + "|")
    for name, (optimizer, options) in RULES.items():
        print(f"| {name} | " + " | ".join(f"{error:.1e}" for error in growth(optimizer, options)) + " |")


if __name__ == "__main__":
    main()
