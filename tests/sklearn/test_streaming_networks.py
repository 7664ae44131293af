"""Networks that fit on sources: the bits of a fit on arrays, resumed in the middle of an epoch, and what is refused."""

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from gdfast.checkpoint import CheckpointError
from gdfast.schedules import Cosine, ReduceOnPlateau, Warmup
from gdfast.sklearn import GDClassifier, MLPClassifier, MLPRegressor, _penalty, _stream_checkpoint, _streaming
from gdfast.tables import Arrays, Batches

RNG = np.random.default_rng(0)
N = 1500
X = RNG.normal(size=(N, 6)) * [1, 100, 0.01, 1, 1, 1] + [0, 5, 0, 1, 1, 1]
X32 = X.astype(np.float32)
SPARSE = random_sparse(N, 40, density=0.1, format="csr", rng=RNG)
SCORE = X[:, 0] * X[:, 3] + X[:, 4]
BINARY = np.where(SCORE > 0.5, "yes", "no")
THREE = np.digitize(SCORE, [0, 1])
LABELS = np.stack([SCORE > 0, SCORE > 1, X[:, 0] > 0], 1).astype(int)
NUMBERS = SCORE + 0.1 * RNG.normal(size=N)
W = RNG.choice([0.0, 0.5, 3.0], N)

SMALL = {"hidden_layer_sizes": (12, 5), "max_iter": 3, "tol": None, "random_state": 4}


def classifier(**how):
    return MLPClassifier(**{**SMALL, **how})


def regressor(loss="squared_error", **how):
    return MLPRegressor(loss, **{**SMALL, **how})


CASES = {
    "binary": (classifier(), X, BINARY, None),
    "float32": (classifier(), X32, THREE, None),
    "sparse": (classifier(activation="tanh"), SPARSE, THREE, None),
    "labels": (classifier(batch_size=64), X, LABELS, None),
    "weights": (classifier(class_weight={"yes": 3.0, "no": 0.7}, batch_size=77), X, BINARY, W),
    "class weights": (classifier(class_weight={1: 3.0}), X, THREE, None),
    "weights of labels": (classifier(class_weight=[{1: 3.0}, {0: 2.0}, {0: 1.0, 1: 5.0}]), X, LABELS, 8 * W),
    "dropout": (classifier(dropout=0.3, optimizer="sgd", lr=0.05), X, BINARY, None),
    "small weights": (classifier(), X, BINARY, W * 1e-7),
    "raw": (regressor(standardize=False, lr=1e-4), X, NUMBERS, W),
    "regression": (regressor(), X32, NUMBERS, None),  # whose penalty depends on the loss of the epoch before
    "two targets": (regressor("huber"), X, np.stack([NUMBERS, SCORE], 1), None),
    "poisson": (regressor("poisson"), X, np.abs(NUMBERS), None),
    "one batch": (regressor(batch_size=5000), X, NUMBERS, None),
    "average": (classifier(optimizer=("adam", {"ema_decay": "average"})), X, BINARY, None),
}


def batches_of(X, y, w, size=400):
    arrays = [X, y, *([] if w is None else [w])]
    return Batches([tuple(array[at : at + size] for array in arrays) for at in range(0, N, size)])


def same(one, other):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("name", CASES)
def test_rows_in_the_same_order_give_the_bits_of_arrays(name, monkeypatch):
    monkeypatch.setattr(_penalty, "MOST", 0)  # a source has the rule for the penalty, which arrays compare with another
    model, X, y, w = CASES[name]
    parameters = {**model.get_params(), "shuffle": False}
    source = Arrays(X, y, w, batch_rows=400) if isinstance(X, np.ndarray) and y.ndim == 1 else batches_of(X, y, w)
    streamed = type(model)(**parameters).fit(source)
    fitted = type(model)(**parameters).fit(X, y, w)
    same(streamed, fitted)
    assert streamed.loss_curve_ == fitted.loss_curve_
    assert (streamed.n_iter_, streamed.t_, streamed.best_loss_) == (fitted.n_iter_, fitted.t_, fitted.best_loss_)
    assert streamed.statistics_ == "all 1,500 rows"
    np.testing.assert_array_equal(streamed.predict(X[:50]), fitted.predict(X[:50]))


def test_shuffled_rows_give_the_bits_of_arrays_in_that_order():
    numbered = np.column_stack([np.arange(N, dtype=float), X])
    source = Arrays(numbered, BINARY, batch_rows=400)
    model = classifier(max_iter=1).fit(source)
    seed = int(_streaming.make_generator(4).integers(2**31))
    order = np.concatenate([batch.X[batch.order, 0] for batch in source.open(seed).epoch(0)]).astype(int)
    assert list(order[:100]) != list(range(100))
    same(model, classifier(max_iter=1, shuffle=False).fit(numbered[order], BINARY[order]))


@pytest.fixture
def beyond(monkeypatch):
    """A memory of 600 rows."""
    monkeypatch.setattr(_streaming, "STATISTICS_ROWS", 600)


@pytest.mark.usefixtures("beyond")
def test_rows_beyond_the_first_ones():
    model = regressor(max_iter=60, lr=0.01, batch_size=50).fit(Arrays(X, NUMBERS, W, batch_rows=300))
    assert (model.statistics_, model.t_) == ("the first 600 rows", 60 * N)
    assert model.score(X, NUMBERS) > 0.9


class Failing(Arrays):
    """Arrays whose reading fails after some batches."""

    def __init__(self, *arrays, fail=None):
        super().__init__(*arrays, batch_rows=200)
        self.left = fail

    def encoder(self, head):
        make = super().encoder(head)

        def made(pieces):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise OSError("the disk is gone")
            return make(pieces)

        return made


RESUMED = {
    "regression": lambda: regressor(batch_size=77),
    "dropout": lambda: regressor(dropout=0.2, batch_size=77, random_state=np.random.Generator(np.random.MT19937(3))),
    "schedule": lambda: regressor(batch_size=77, lr=Warmup(Cosine(0.01, 50), 5)),
    "plateau": lambda: regressor(
        max_iter=5, batch_size=77, lr=ReduceOnPlateau(0.01, factor=0.5, patience=0, threshold=0.9)
    ),
    "tolerance": lambda: regressor(tol=10.0, n_iter_no_change=2, batch_size=77),
    "average": lambda: regressor(optimizer=("adam", {"ema_decay": 0.9}), batch_size=77),
}


@pytest.mark.usefixtures("beyond")
@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("often", [False, True])
def test_a_training_that_broke_off_goes_on_bit_for_bit(name, often, tmp_path, monkeypatch):
    monkeypatch.setattr(_stream_checkpoint, "SECONDS", 0.0 if often else 1e9)
    path, breaks = tmp_path / "run.safetensors", 0
    for fail in (4, 5, 7, 8, 19, 24, 27, 31):
        try:
            RESUMED[name]().fit(Failing(X, NUMBERS, fail=fail), checkpoint=path)
        except OSError:
            breaks += 1
            assert path.exists()
    assert breaks >= 4
    resumed, whole = RESUMED[name]().fit(Failing(X, NUMBERS), checkpoint=path), RESUMED[name]().fit(Failing(X, NUMBERS))
    assert not path.exists()
    same(resumed, whole)
    assert resumed.loss_curve_ == whole.loss_curve_


@pytest.mark.usefixtures("beyond")
def test_a_checkpoint_is_of_one_training(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(OSError, match="the disk is gone"):
        classifier().fit(Failing(X, BINARY, fail=5), checkpoint=path)
    for other, said in (
        (classifier(hidden_layer_sizes=(12, 6)), r"hidden_layer_sizes \(12, 5\); got \(12, 6\)"),
        (GDClassifier(), "is of a training with"),
    ):
        with pytest.raises(CheckpointError, match=said):
            other.fit(Failing(X, BINARY), checkpoint=path)


def test_callbacks_and_progress(capsys):
    scores = []
    model = classifier(verbose=1)
    model.callbacks = lambda epoch, logs: scores.append((epoch, logs["lr"], model.score(X, BINARY)))
    model.fit(Arrays(X, BINARY, batch_rows=400))
    assert [epoch for epoch, _, _ in scores] == [0, 1, 2]
    assert scores[-1][1:] == (1.5e-3, model.score(X, BINARY))
    assert "4.50k/4.50k" in capsys.readouterr().err


def changed(array, row, value):
    array = array.copy()
    array[row] = value
    return array


REFUSED = [
    (lambda: classifier(early_stopping=True).fit(Arrays(X, BINARY)), "early_stopping must not be True with a source"),
    (lambda: classifier(lr="find").fit(Arrays(X, BINARY)), "lr must not be 'find' with a source"),
    (lambda: classifier(class_weight="balanced").fit(Arrays(X, BINARY)), "class_weight must not be 'balanced'"),
    (lambda: regressor(warm_start=True).fit(Arrays(X, NUMBERS)), "warm_start must not be True with a source"),
    (lambda: regressor(dropout=2).fit(Arrays(X, NUMBERS)), "The 'dropout' parameter"),
    (lambda: classifier().fit(Arrays(X, BINARY), BINARY), "y and sample_weight must be None with a source"),
    (lambda: classifier().fit(X, BINARY, checkpoint="x"), "checkpoint needs a source of gdfast.tables as X"),
    (lambda: classifier().fit(X), "requires y to be passed"),
    (lambda: classifier(shuffle=False).fit(Arrays(changed(X, 1400, np.nan), BINARY, batch_rows=200)), "X must be fin"),
    (lambda: classifier(shuffle=False).fit(Arrays(X, changed(THREE, 1400, 9), batch_rows=200)), "has the class 9, whi"),
    (lambda: regressor(shuffle=False).fit(Arrays(X, NUMBERS, changed(W, 1400, -1), batch_rows=200)), "not negative in"),
    (
        lambda: regressor(shuffle=False).fit(Arrays(X32, NUMBERS, changed(W, 1400, 1e40), batch_rows=200)),
        "must not be far above those of the first 600 rows: divided by these, they overflow float32",
    ),
    (lambda: classifier().fit(Arrays(X, np.zeros(N, int))), "got one class: 0$"),
    (lambda: classifier().fit(Arrays(X, BINARY, 0 * W)), "at least one non-zero"),
    (lambda: regressor(lr=1e30, optimizer="sgd").fit(Arrays(X, NUMBERS)), "diverged"),
]


@pytest.mark.usefixtures("beyond")
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
@pytest.mark.parametrize(("fit", "said"), REFUSED)
def test_what_is_refused(fit, said):
    with pytest.raises(ValueError, match=said):
        fit()


def test_one_class_is_said_as_a_number():
    with pytest.raises(ValueError, match=r"got one class, 0$"):
        GDClassifier().fit(X, np.zeros(N, int))
