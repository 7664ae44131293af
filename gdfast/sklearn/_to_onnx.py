"""Converters to ONNX, for skl2onnx: each estimator is converted as the one of scikit-learn that predicts the same."""

from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common._registration import get_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from gdfast.sklearn.linear_classifier import GDClassifier
from gdfast.sklearn.linear_regressor import GDRegressor
from gdfast.sklearn.mlp_classifier import MLPClassifier
from gdfast.sklearn.mlp_regressor import MLPRegressor

OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
OPTIONS_OF_CLASSIFIERS = {**OPTIONS, "raw_scores": [True, False]}


def register_onnx_converters() -> None:
    """Tell skl2onnx how to convert the estimators of this package, alone or in a pipeline.

    Raises
    ------
    ImportError
        If skl2onnx is not installed (``pip install "gdfast[onnx]"``).

    Notes
    -----
    `skl2onnx.to_onnx` then raises ValueError for what :meth:`GDClassifier.to_sklearn` refuses, and for networks with
    log link, which it does not know.
    """
    for classifier in (GDClassifier, MLPClassifier):
        update_registered_converter(
            classifier,
            f"GDFast{classifier.__name__}",
            calculate_linear_classifier_output_shapes,
            _convert,
            options=OPTIONS_OF_CLASSIFIERS,
        )
    for regressor in (GDRegressor, MLPRegressor):
        update_registered_converter(
            regressor, f"GDFast{regressor.__name__}", calculate_linear_regressor_output_shapes, _convert
        )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of scikit-learn's estimator with the same weights."""
    model = operator.raw_operator
    peer = model.to_sklearn()
    if getattr(peer, "out_activation_", None) == "exp":
        raise ValueError(f"skl2onnx has no networks with log link, as of loss={model.loss!r}")
    container.options = _handed_on(container.options or {}, model, peer)
    operator.raw_operator = peer
    try:
        get_converter(sklearn_operator_name_map[type(peer)])(scope, operator, container)
    finally:
        operator.raw_operator = model


def _handed_on(options: dict[Any, Any], model: Any, peer: Any) -> dict[Any, Any]:
    """Return options in which those of the model, by its class or its id, are those of the peer, too."""
    given = {**options.get(type(model), {}), **options.get(id(model), {})}
    return {**options, id(peer): given} if given else options
