"""Fits on sources: the bits of a fit on arrays, resumed in the middle of an epoch, and what is refused."""

import gc
import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

import gdfast
from gdfast.checkpoint.header import read_header
from gdfast.checkpoint.loading import read_extra
from gdfast.sklearn import GDClassifier, GDRegressor, _stream_checkpoint, _streaming
from gdfast.tables import Arrays, Batches, Parquet

RNG = np.random.default_rng(0)
N = 5000
X = RNG.normal(size=(N, 6)) * [1, 100, 0.01, 1, 1, 1] + [0, 5, 0, 1, 1, 1]
X32 = X.astype(np.float32)
SPARSE = random_sparse(N, 40, density=0.1, format="csr", rng=RNG)
SCORE = X @ [1, 0.02, 30, -1, 0.5, 0]
BINARY = np.where(SCORE + RNG.normal(size=N) > 0, "yes", "no")
THREE = np.digitize(SCORE, [-1, 1])
NUMBERS = SCORE + RNG.normal(size=N)
W = RNG.choice([0.0, 0.5, 3.0], N)

CASES = {
    "binary": (GDClassifier(), X, BINARY, None),
    "float32": (GDClassifier(), X32, BINARY, None),
    "three classes": (GDClassifier(batch_size=100), X, THREE, None),
    "sparse": (GDClassifier(penalty="l1"), SPARSE, BINARY, None),
    "weights": (GDClassifier(batch_size=77, class_weight={"yes": 3.0, "no": 0.7}), X, BINARY, W),
    "class weights": (GDClassifier(batch_size=77, class_weight={"yes": 3.0}), X, BINARY, None),
    "sgd": (GDClassifier(optimizer=("sgd", {"momentum": 0.9}), lr=0.01, average=True), X, BINARY, None),
    "muon": (GDClassifier(optimizer="lamb", lr=0.01), X, THREE, None),  # measures whole arrays
    "raw": (GDRegressor(standardize=False, fit_intercept=False, lr=1e-4), X, NUMBERS, W),
    "regression": (GDRegressor(), X, NUMBERS, None),
    "two targets": (GDRegressor(loss="huber"), X32, np.stack([NUMBERS, SCORE], 1), W),
    "poisson": (GDRegressor(loss="poisson"), X, np.abs(NUMBERS), None),
}


def sparse_batches(X, y, w, size=700):
    cut = range(0, len(y), size)
    return Batches([(X[at : at + size], y[at : at + size], *(() if w is None else (w[at : at + size],))) for at in cut])


def source_of(X, y, w):
    return Arrays(X, y, w, batch_rows=1200) if isinstance(X, np.ndarray) else sparse_batches(X, y, w)


def same(one, other):
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.intercept_, other.intercept_)


@pytest.mark.parametrize("name", CASES)
def test_rows_in_the_same_order_give_the_bits_of_arrays(name):
    model, X, y, w = CASES[name]
    model.set_params(shuffle=False, max_iter=3)
    source = source_of(X, y, w)
    streamed = type(model)(**model.get_params()).fit(source)
    fitted = type(model)(**model.get_params()).fit(X, y, w)
    same(streamed, fitted)
    np.testing.assert_allclose(streamed.loss_curve_, fitted.loss_curve_, rtol=1e-12)
    assert streamed.n_iter_ == fitted.n_iter_ == 3
    assert streamed.statistics_ == "all 5,000 rows"
    np.testing.assert_array_equal(streamed.predict(X[:50]), fitted.predict(X[:50]))


def numbered(batch_rows=1000):
    """A source whose first column is the number of the row."""
    columns = np.column_stack([np.arange(N, dtype=float), X])
    return Arrays(columns, BINARY, batch_rows=batch_rows)


@pytest.mark.parametrize("batch_size", [64, 999, 1000, 1001])
def test_shuffled_rows_give_the_bits_of_arrays_in_that_order(batch_size):
    model = GDClassifier(max_iter=1, random_state=3, batch_size=batch_size).fit(numbered())
    seed = int(_streaming.make_generator(3).integers(2**31))
    order = np.concatenate([batch.X[batch.order, 0] for batch in numbered().open(seed).epoch(0)]).astype(int)
    assert sorted(order) == list(range(N))
    assert list(order[:100]) != list(range(100))
    columns = np.column_stack([np.arange(N, dtype=float), X])[order]
    same(model, GDClassifier(max_iter=1, shuffle=False, batch_size=batch_size).fit(columns, BINARY[order]))


@pytest.fixture
def beyond(monkeypatch):
    """A memory of 1,000 rows."""
    monkeypatch.setattr(_streaming, "STATISTICS_ROWS", 1000)


@pytest.mark.usefixtures("beyond")
def test_beyond_the_first_rows_one_averaged_epoch_is_the_default():
    source = Arrays(X, BINARY, batch_rows=500)
    model = GDClassifier(random_state=0).fit(source)
    assert (model.n_iter_, model.statistics_) == (1, "the first 1,000 rows")
    assert model.score(X, BINARY) > 0.97 * GDClassifier(random_state=0).fit(X, BINARY).score(X, BINARY)
    explicit = GDClassifier(random_state=0, max_iter=1, average=True).fit(source)
    same(model, explicit)
    assert GDClassifier(random_state=0, max_iter=2).fit(source).n_iter_ == 2
    counted = GDClassifier(random_state=0, shuffle=False).fit(sparse_batches(X, BINARY, None, 500))
    assert counted.n_iter_ == 1
    weighted = GDRegressor(random_state=0).fit(Arrays(X, NUMBERS, W, batch_rows=500))
    assert weighted.score(X, NUMBERS) > 0.8


class Failing(Arrays):
    """Arrays whose reading fails after some batches."""

    def __init__(self, *arrays, fail=None, **how):
        super().__init__(*arrays, **how)
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
    "adam": {},
    "weights": {"class_weight": {"yes": 2.0}},
    "average": {"average": True},
    "nadam": {"optimizer": "nadam", "lr": 0.01},  # carries numbers from step to step
    "as they are": {"shuffle": False},
    "tolerance": {"tol": 1.0, "n_iter_no_change": 2},
}


@pytest.mark.usefixtures("beyond")
@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("often", [False, True])
def test_a_training_that_broke_off_goes_on_bit_for_bit(name, often, tmp_path, monkeypatch):
    monkeypatch.setattr(_stream_checkpoint, "SECONDS", 0.0 if often else 1e9)
    weights = (W,) if name == "weights" else ()
    path, breaks = tmp_path / "run.safetensors", 0

    def fitted(fail=None, **how):
        model = GDClassifier(max_iter=3, batch_size=77, **{"random_state": 5, **RESUMED[name]})
        return model.fit(Failing(X, BINARY, *weights, batch_rows=500, fail=fail), **how)

    for fail in (4, 5, 7, 8, 30, 33, 34):
        try:
            fitted(fail, checkpoint=path)
        except OSError:
            breaks += 1
            assert path.exists()
    assert breaks >= 4
    resumed, whole = fitted(checkpoint=path), fitted()
    assert not path.exists()
    same(resumed, whole)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.n_iter_ == 3


@pytest.mark.usefixtures("beyond")
def test_the_checkpoint_knows_an_order_that_was_drawn(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(OSError, match="the disk is gone"):
        GDClassifier().fit(Failing(X, BINARY, batch_rows=500, fail=5), checkpoint=path)
    with open(path, "rb", buffering=0) as file:
        seed = read_extra(file, *read_header(file))["seed"]
    resumed, whole = GDClassifier().fit(Failing(X, BINARY, batch_rows=500), checkpoint=path), GDClassifier()
    source = Arrays(X, BINARY, batch_rows=500)
    _streaming.StreamFit(
        whole._learner(), source, _stream_checkpoint.Position(seed, {}), _stream_checkpoint.Checkpoint(None)
    ).run()
    same(resumed, whole)


KILLED = """
import os, sys
import numpy as np
from gdfast.sklearn import GDClassifier, _stream_checkpoint, _streaming
from gdfast.tables import Arrays

_stream_checkpoint.SECONDS = 0.0
_streaming.STATISTICS_ROWS = 1000


class Killed(Arrays):
    batches = 0

    def encoder(self, head):
        make = super().encoder(head)

        def made(pieces):
            self.batches += 1
            if self.batches == int(sys.argv[3]):
                os.kill(os.getpid(), 9)
            return make(pieces)

        return made


source = Killed(sys.argv[1] + "/X.npy", sys.argv[1] + "/y.npy", batch_rows=500)
model = GDClassifier(random_state=0, max_iter=2, batch_size=77).fit(source, checkpoint=sys.argv[2])
np.save(sys.argv[1] + "/coef.npy", model.coef_)
"""


def test_a_process_that_is_killed_goes_on_bit_for_bit(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", THREE)

    def run(name, batch):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(tmp_path / name), str(batch)]
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode

    assert run("killed.safetensors", 8) == -9
    assert (tmp_path / "killed.safetensors").exists()
    assert run("killed.safetensors", -1) == 0
    resumed = np.load(tmp_path / "coef.npy")
    assert run("whole.safetensors", -1) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "coef.npy"), resumed)


@pytest.mark.usefixtures("beyond")
def test_a_checkpoint_is_of_one_training(tmp_path):
    path = tmp_path / "run.safetensors"

    def broken():
        return Failing(X, BINARY, batch_rows=500, fail=5)

    with pytest.raises(OSError, match="the disk is gone"):
        GDClassifier(random_state=0).fit(broken(), checkpoint=path)
    before = path.read_bytes()
    for model, source, said in (
        (GDClassifier(alpha=0.5), broken(), "of a training with alpha 'auto'; got 0.5: give another checkpoint"),
        (GDClassifier(), Arrays(X[:4000], BINARY[:4000], batch_rows=500), "with source's X"),
        (GDClassifier(lr=abs), broken(), "with lr 'auto'; got abs"),
    ):
        with pytest.raises(ValueError, match=said):
            model.fit(source, checkpoint=path)
    path.write_bytes(before[:-1])
    with pytest.raises(ValueError, match=r"run\.safetensors cannot be loaded"):
        GDClassifier().fit(broken(), checkpoint=path)
    gdfast.save(path, gdfast.SGD(np.zeros(2)), extra={"other": 1})
    with pytest.raises(ValueError, match="holds no training on a source"):
        GDClassifier().fit(broken(), checkpoint=path)
    with pytest.raises(TypeError, match="checkpoint must be a path or None; got 7"):
        GDClassifier().fit(broken(), checkpoint=7)


def with_row(array, row, value):
    array = array.astype(object if isinstance(value, str) else array.dtype)
    array[row] = value
    return array


REFUSED = [
    (lambda: GDClassifier(early_stopping=True).fit(Arrays(X, BINARY)), "early_stopping must not be True with a source"),
    (lambda: GDClassifier(lr="find").fit(Arrays(X, BINARY)), "lr must not be 'find' with a source"),
    (lambda: GDClassifier(class_weight="balanced").fit(Arrays(X, BINARY)), "class_weight must not be 'balanced'"),
    (lambda: GDRegressor(warm_start=True).fit(Arrays(X, NUMBERS)), "warm_start must not be True with a source"),
    (
        lambda: GDClassifier(shuffle=False).fit(Arrays(X, BINARY), BINARY),
        "y and sample_weight must be None with a source",
    ),
    (
        lambda: GDRegressor(shuffle=False).fit(Arrays(X, NUMBERS), None, W),
        "y and sample_weight must be None with a source",
    ),
    (lambda: GDRegressor().fit(Arrays(X, NUMBERS), coef_init=np.ones(3)), "coef_init and intercept_init must be None"),
    (lambda: GDClassifier().fit(X, BINARY, checkpoint="x"), "checkpoint needs a source of gdfast.tables as X"),
    (lambda: GDClassifier().fit(X), "requires y to be passed"),
    (lambda: GDClassifier().fit(Batches([])), "the source must have rows"),
    (
        lambda: GDClassifier(shuffle=False).fit(Arrays(with_row(X, 4000, np.nan), BINARY, batch_rows=500)),
        "X must be finite",
    ),
    (
        lambda: GDRegressor(shuffle=False).fit(Arrays(X, with_row(NUMBERS, 4000, np.inf), batch_rows=500)),
        "y must be finite",
    ),
    (
        lambda: GDClassifier(shuffle=False).fit(Arrays(X, with_row(THREE, 4000, 9), batch_rows=500)),
        "y has the class .*9.*the first 1,0",
    ),
    (lambda: GDClassifier(shuffle=False).fit(Arrays(X, BINARY, -W, batch_rows=500)), "[Nn]egative"),
    (
        lambda: GDClassifier(shuffle=False).fit(Arrays(X, BINARY, with_row(W, 4000, -1.0), batch_rows=500)),
        "weights must be",
    ),
    (
        lambda: GDClassifier(shuffle=False).fit(Arrays(X, BINARY, W * 1e-320, batch_rows=500)),
        "the weights of the rows must have a sum",
    ),
    (lambda: GDClassifier(lr=1e300, optimizer="sgd").fit(Arrays(X, BINARY, batch_rows=500)), "training diverged"),
    (lambda: GDRegressor(loss="poisson").fit(Arrays(X, -np.abs(NUMBERS), batch_rows=500)), "y must"),
]


@pytest.mark.usefixtures("beyond")
@pytest.mark.parametrize(("fit", "said"), REFUSED)
def test_what_is_refused(fit, said):
    threads = threading.active_count()
    with pytest.raises(ValueError, match=said) as caught:
        fit()
    del caught
    gc.collect()
    assert threading.active_count() <= threads + 1


def test_batches_that_differ_from_the_first_are_refused():
    class Changing:
        """Narrower from the second iteration on."""

        times = 0

        def __iter__(self):
            self.times += 1
            yield (X if self.times == 1 else X[:, :4]), BINARY

    with pytest.raises(ValueError, match=r"every batch of the source must have X like the first, of 6 columns"):
        GDClassifier(max_iter=3).fit(Batches(Changing()))


def test_parquet_in_row_groups(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {f"x{i}": X32[:, i] for i in range(6)}
    pq.write_table(pa.table({**columns, "y": BINARY}), tmp_path / "a.parquet", row_group_size=600)
    source = Parquet(tmp_path / "a.parquet", target="y", batch_rows=512)
    named = {"optimizer": "adam", "shuffle": False}  # a small array would get Newton's method
    same(GDClassifier(**named).fit(source), GDClassifier(**named).fit(X32, BINARY))
    model = GDClassifier(random_state=0, max_iter=2).fit(source)
    assert model.score(X32, BINARY) > 0.8


def test_the_progress_counts_rows(capsys):
    GDClassifier(verbose=1, max_iter=2).fit(Arrays(X, BINARY, batch_rows=500))
    assert "10.0k/10.0k" in capsys.readouterr().err


def test_callbacks_see_the_model_of_each_epoch():
    scores = []
    model = GDClassifier(max_iter=3, random_state=0)
    model.callbacks = lambda epoch, logs: scores.append((epoch, logs["loss"], model.score(X, BINARY)))
    model.fit(Arrays(X, BINARY, batch_rows=500))
    assert [epoch for epoch, _, _ in scores] == [0, 1, 2]
    assert scores[-1][2] == model.score(X, BINARY) > 0.8


class Changing:
    """Rows of which each iteration gives another share."""

    def __init__(self, *shares):
        self.shares = iter(shares)

    def __iter__(self):
        for at in range(next(self.shares)):
            yield X[at * 100 : at * 100 + 100], BINARY[at * 100 : at * 100 + 100]


@pytest.mark.parametrize("later", [0, 3, 5])
@pytest.mark.parametrize("known", [True, False])
def test_a_source_with_other_rows_in_a_later_epoch_is_refused(monkeypatch, later, known):
    if not known:
        monkeypatch.setattr(_streaming, "STATISTICS_ROWS", 100)
    source = Batches(Changing(4, later), n_rows=400, mix=1)
    with pytest.raises(ValueError, match=f"the same rows in each epoch, 400; got {later * 100} in epoch 2"):
        GDClassifier(max_iter=3).fit(source)


@pytest.mark.parametrize("make", [GDClassifier, GDRegressor])
@pytest.mark.parametrize("weights", [None, W[:60]])
def test_few_rows_are_fitted_as_arrays_are(tmp_path, make, weights):
    y = BINARY[:60] if make is GDClassifier else NUMBERS[:60]
    expected = make().fit(X[:60], y, sample_weight=weights)
    times = []

    def write(stream):
        times.append(stream.rows)
        if len(times) == 1:
            raise OSError("full")

    model = make(shuffle=False)
    source = Arrays(X[:60], y, weights, batch_rows=7)
    with pytest.raises(OSError, match="full"):
        _streaming.fit_source(model, source, tmp_path / "c", write)
    assert not (tmp_path / "c").exists()
    _streaming.fit_source(model, source, tmp_path / "c", write)
    same(model, expected)
    assert times == [60, 60]
    assert model.optimizer_ == expected.optimizer_ == "newton"
    assert model.loss_curve_ == expected.loss_curve_
    assert model.n_iter_ == expected.n_iter_ < 20
    assert model.statistics_ == "all 60 rows"


def test_a_named_optimizer_takes_as_many_epochs_as_with_arrays():
    options = {"optimizer": "adam", "shuffle": False}
    model = GDClassifier(**options).fit(Arrays(X[:600], BINARY[:600]))
    expected = GDClassifier(**options).fit(X[:600], BINARY[:600])
    same(model, expected)
    assert model.n_iter_ == expected.n_iter_ > 1
