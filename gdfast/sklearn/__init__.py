"""scikit-learn style estimators on gdfast's optimizers.

Needs scikit-learn and scipy (``pip install "gdfast[sklearn]"``), which are imported with the first estimator. `LOSSES`,
the losses of each estimator by name, works without them.

It uses `gdfast.training`, optimizers, schedules and the engine; it knows nothing of `gdfast.torch`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdfast.sklearn._losses import LOSSES as LOSSES
    from gdfast.sklearn._to_onnx import register_onnx_converters as register_onnx_converters
    from gdfast.sklearn._use import use_gdfast as use_gdfast
    from gdfast.sklearn.linear_classifier import GDClassifier as GDClassifier
    from gdfast.sklearn.linear_regressor import GDRegressor as GDRegressor
    from gdfast.sklearn.mlp_classifier import MLPClassifier as MLPClassifier
    from gdfast.sklearn.mlp_regressor import MLPRegressor as MLPRegressor

_EXTRA = {"scipy": "sklearn", "skl2onnx": "onnx", "sklearn": "sklearn"}  # package -> the extra that brings it

_HOME = {
    "GDClassifier": "linear_classifier",
    "GDRegressor": "linear_regressor",
    "LOSSES": "_losses",
    "MLPClassifier": "mlp_classifier",
    "MLPRegressor": "mlp_regressor",
    "register_onnx_converters": "_to_onnx",
    "use_gdfast": "_use",
}

__all__ = [
    "LOSSES",
    "GDClassifier",
    "GDRegressor",
    "MLPClassifier",
    "MLPRegressor",
    "use_gdfast",
]  # `import *` brings these; register_onnx_converters needs a package that few have


def __getattr__(name: str) -> object:
    """Import a public name on first access."""
    if name in _HOME:
        try:
            return getattr(importlib.import_module(f"gdfast.sklearn.{_HOME[name]}"), name)
        except ModuleNotFoundError as error:
            extra = _EXTRA.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            raise ImportError(
                f'gdfast.sklearn needs {error.name}, which is not installed: pip install "gdfast[{extra}]"'
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
