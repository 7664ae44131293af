"""Estimators converted to ONNX predict the same."""

import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("skl2onnx", exc_type=ImportError)
onnxruntime = pytest.importorskip("onnxruntime")

from skl2onnx import to_onnx  # noqa: E402
from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from gdfast.sklearn import (  # noqa: E402
    GDClassifier,
    GDRegressor,
    MLPClassifier,
    MLPRegressor,
    register_onnx_converters,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::sklearn.exceptions.ConvergenceWarning")

FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = FLOWERS.astype(np.float32)
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
PATIENTS = PATIENTS.astype(np.float32)


@pytest.fixture(autouse=True)
def _registered():
    register_onnx_converters()


def outputs(model, X, **options):
    session = onnxruntime.InferenceSession(
        to_onnx(model, X[:1], **options).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: X})


@pytest.mark.parametrize("classes", [[0, 1, 1], [0, 1, 2], ["a", "b", "c"], [False, True, True]])
@pytest.mark.parametrize(
    "model",
    [GDClassifier(), GDClassifier("hinge"), GDClassifier("modified_huber"), MLPClassifier((7, 5), max_iter=9)],
    ids=str,
)
def test_classifiers(model, classes):
    model.fit(FLOWERS, np.array(classes)[SPECIES])
    labels, rows = outputs(model, FLOWERS)
    assert labels.tolist() == model.predict(FLOWERS).tolist()
    for options in ({type(model): {"zipmap": False}}, {id(model): {"zipmap": False}}):
        labels, scores = outputs(model, FLOWERS, options=options)
        assert labels.tolist() == model.predict(FLOWERS).tolist()
        assert scores.shape == (150, len(model.classes_)) or not hasattr(model, "predict_proba")
        if hasattr(model, "predict_proba"):
            np.testing.assert_allclose(scores, model.predict_proba(FLOWERS), atol=1e-6)
            assert [list(row) for row in rows[:3]] == [model.classes_.tolist()] * 3


def test_options_reach_the_converter():
    model = GDClassifier().fit(FLOWERS, SPECIES)
    _, raw = outputs(model, FLOWERS, options={id(model): {"zipmap": False, "raw_scores": True}})
    np.testing.assert_allclose(raw, model.decision_function(FLOWERS), rtol=1e-5, atol=1e-5)
    with pytest.raises(NameError, match="zopmap"):
        outputs(model, FLOWERS, options={id(model): {"zopmap": False}})


@pytest.mark.parametrize(
    "model",
    [
        GDRegressor(),
        GDRegressor("huber"),
        GDRegressor("poisson"),
        GDRegressor("gamma"),
        GDRegressor("tweedie", power=1.5),
        MLPRegressor(hidden_layer_sizes=(6,), activation="tanh", max_iter=9),
    ],
    ids=str,
)
def test_regressors(model):
    model.fit(PATIENTS, PROGRESS)
    assert_close(outputs(model, PATIENTS)[0].ravel(), model.predict(PATIENTS))


def assert_close(found, expected):
    """As close as float32 sums in another order are: to what is added, which is far larger than a result near zero."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_several_targets_and_a_pipeline():
    targets = np.c_[PROGRESS, -PROGRESS]
    model = make_pipeline(StandardScaler(), GDRegressor()).fit(PATIENTS, targets)
    assert_close(outputs(model, PATIENTS)[0], model.predict(PATIENTS))
    assert type(model[-1]) is GDRegressor


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (MLPRegressor(loss="poisson", max_iter=2), "no networks with log link, as of loss='poisson'"),
        (MLPRegressor(activation="gelu", max_iter=2), "this one has 'gelu'"),
    ],
)
def test_what_it_does_not_know(model, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        to_onnx(model.fit(PATIENTS, PROGRESS), PATIENTS[:1])


def test_the_extra_is_named():
    code = (
        "import sys; sys.modules['skl2onnx'] = None\n"
        "import gdfast.sklearn\n"
        "try: gdfast.sklearn.register_onnx_converters\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith('skl2onnx, which is not installed: pip install "gdfast[onnx]"')
