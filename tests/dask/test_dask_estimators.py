"""Estimators on a Dask cluster end where those in memory do, whatever holds the rows."""

import pytest

pytest.importorskip("distributed")

import sys
from itertools import pairwise

import dask.array as da
import numpy as np
from dask import delayed
from distributed import Client, LocalCluster
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse import random as random_sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from gdfast import sklearn as local
from gdfast.dask import GDClassifier, GDRegressor, _rows

RNG = np.random.default_rng(0)
N = 1200
X = RNG.normal(size=(N, 5)) * [1, 100, 0.01, 1, 1] + [0, 5, 0, 1, 1]
SCORE = X @ [1, 0.02, 30, -1, 0.5]
NOISY = SCORE + RNG.normal(size=N)
BINARY = np.where(NOISY > 0, "yes", "no")
THREE = np.digitize(NOISY, [-1, 1])
W = RNG.choice([0.0, 0.5, 3.0], N)
SPARSE = csr_matrix(random_sparse(N, 12, density=0.3, format="csr", rng=RNG))
FAR = csr_matrix(np.column_stack([50 + 5 * X[:, 0].round(), SPARSE.toarray()]))  # the first column is centred
CUTS = (500, 10, 0, 400, 290)  # rows of the partitions
OWN = (
    "tol",
    "max_iter",
    "polish_iter",
    "timeout",
    "callbacks",
)  # parameters that mean something else in memory, or nothing


@pytest.fixture(scope="module")
def client():
    """Workers in this process, so that what they run is seen to be covered; for processes see test_dask_clusters.py."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def cut(array, lengths=CUTS):
    """Return a Dask array of these partitions; a sparse one has CSR chunks."""
    chunks = (lengths, *((length,) for length in array.shape[1:]))
    return da.from_array(array, chunks=chunks, asarray=isinstance(array, np.ndarray))


def converged(model, X, y, weights=None, **parameters):
    """Return the estimator in memory with the same parameters, trained with all rows in a step until it converges."""
    given = {name: value for name, value in model.get_params().items() if name not in OWN}
    options = {"max_iter": 4000, "batch_size": len(y), "shuffle": False, **parameters}
    return model._local_class(**{**given, **options}).fit(X, y, weights)


def close(model, other, atol=2e-5):
    scale = getattr(other, "_fitted", other)._standardizer.inv_scale
    scale = np.ones(len(other.coef_.T)) if scale is None else scale
    np.testing.assert_allclose(model.coef_ / scale, other.coef_ / scale, atol=atol)
    np.testing.assert_allclose(model.intercept_, other.intercept_, atol=10 * atol)


CASES = {
    "binary": (GDClassifier(), X, BINARY, None),
    "float32": (GDClassifier(alpha=0.01), X.astype(np.float32), BINARY, None),
    "three classes": (GDClassifier(alpha=0.01), X, THREE, None),
    "weights": (GDClassifier(alpha=0.01), X, BINARY, W),
    "balanced": (GDClassifier(alpha=0.01, class_weight="balanced"), X, THREE, W),
    "class weights": (GDClassifier(alpha=0.01, class_weight={"yes": 3.0}), X, BINARY, None),
    "l1": (GDClassifier(alpha=0.03, penalty="l1"), X, BINARY, None),
    "squared hinge": (GDClassifier("squared_hinge", alpha=0.01), X, THREE, None),
    "no intercept": (GDClassifier(alpha=0.01, fit_intercept=False), X, BINARY, None),
    "sparse": (GDClassifier(alpha=0.01), SPARSE, BINARY, None),
    "regression": (GDRegressor(), X, NOISY, None),
    "elasticnet": (GDRegressor(penalty="elasticnet", alpha=0.1, l1_ratio=0.5), X, NOISY, W),
    "raw": (GDRegressor(standardize=False, fit_intercept=False, alpha=0.1), X / [1, 100, 0.01, 1, 1], NOISY, None),
    "raw with an intercept": (GDRegressor(standardize=False, alpha=0.1), X / [1, 100, 0.01, 1, 1], NOISY, None),
    "centred by hand": (GDRegressor(fit_intercept=False, alpha=0.1), X, NOISY, None),
    "two targets": (GDRegressor("huber", alpha=0.01), X, np.stack([NOISY, SCORE], 1), W),
    "poisson": (GDRegressor("poisson", alpha=0.01), X, np.floor(np.exp(SCORE / 3)), None),
    "sparse regression": (GDRegressor(alpha=0.01), SPARSE, NOISY, W),
    "centred sparse": (GDClassifier(alpha=0.01), FAR, BINARY, None),
    "centred sparse, three classes": (GDClassifier(alpha=0.01), FAR, THREE, W),
    "centred sparse regression": (GDRegressor(alpha=0.01), FAR, NOISY, W),
    "sparse without an intercept": (GDRegressor(alpha=0.01, fit_intercept=False), SPARSE, NOISY, W),
}


@pytest.mark.parametrize("name", CASES)
def test_the_fit_ends_where_the_one_in_memory_does(name, client):
    model, X, y, weights = CASES[name]
    model = clone(model).set_params(random_state=0)
    order = np.argsort(y if y.ndim == 1 else y[:, 0], kind="stable")  # partitions of one class
    given = None if weights is None else cut(weights[order])
    model.fit(cut(X[order]), cut(y[order]), given)
    other = converged(model, X, y, weights)
    close(model, other, 1e-3 if X.dtype == np.float32 else 2e-5)
    assert model.loss_ <= other.loss_ + 1e-6
    assert model.coef_.dtype == other.coef_.dtype
    assert model.n_features_in_ == X.shape[1]
    exact = model.to_local()
    assert type(exact) is model._local_class
    assert model.score(cut(X), cut(y)) == pytest.approx(exact.score(X, y))
    assert model.score(cut(X), cut(y), cut(W)) == pytest.approx(exact.score(X, y, W))
    np.testing.assert_array_equal(model.predict(cut(X)).compute(), exact.predict(X))


def test_coefficients_that_are_zero_are_so_exactly(client):
    model = GDClassifier(penalty="l1", alpha=0.1).fit(cut(X), cut(BINARY))
    other = converged(model, X, BINARY)
    np.testing.assert_array_equal(model.coef_ == 0, other.coef_ == 0)
    assert 0 < np.count_nonzero(model.coef_) < 5


KINKED = {
    "hinge": (GDClassifier("hinge"), BINARY),
    "quantile": (GDRegressor("quantile", quantile=0.8), NOISY),
    "epsilon_insensitive": (GDRegressor("epsilon_insensitive"), NOISY),
}


@pytest.mark.parametrize("name", KINKED)
def test_losses_without_a_gradient_everywhere_come_as_low(name, client):
    model, y = KINKED[name]
    order = np.argsort(y)
    model = clone(model).set_params(random_state=0, max_iter=5, polish_iter=20)
    model.fit(cut(X[order], (600, 600)), cut(y[order], (600, 600)))
    other = converged(model, X, y, batch_size=64, max_iter=200)
    assert model.loss_ == pytest.approx(other.loss_, abs=2e-3)


def test_the_perceptron_ends_with_the_averages(client):
    cuts = (600, 600)
    model = GDClassifier("perceptron", random_state=0).fit(cut(X, cuts), cut(BINARY, cuts))
    assert model.n_iter_ == 1
    assert model.score(cut(X), cut(BINARY)) > 0.8


def test_predictions_are_lazy_arrays(client):
    model = GDClassifier(random_state=0).fit(cut(X), cut(THREE))
    exact = model.to_local()
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        lazy = getattr(model, method)(cut(X))
        now = getattr(exact, method)(X)
        assert isinstance(lazy, da.Array)
        assert (lazy.shape, lazy.dtype) == (now.shape, now.dtype)
        np.testing.assert_allclose(lazy.compute(), now, rtol=1e-12)
    assert not hasattr(GDClassifier("hinge"), "predict_proba")


def test_frames_with_names_and_unknown_lengths(client):
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=BINARY, w=W)
    data = dd.from_pandas(frame, npartitions=4)
    data = data[data["a"] > -1.5]  # lengths are not known any more
    kept = frame[frame["a"] > -1.5]
    names = list("abcde")
    model = GDClassifier(alpha=0.01).fit(data[names], data["y"], data["w"])
    assert list(model.feature_names_in_) == names
    close(model, converged(model, kept[names], kept["y"].to_numpy(), kept["w"].to_numpy()))
    lazy = model.predict(data[names])
    assert np.isnan(lazy.shape[0])
    np.testing.assert_array_equal(lazy.compute(), model.to_local().predict(kept[names]))
    assert model.score(data[names], data["y"]) > 0.8
    swapped = data[["b", "a", "c", "d", "e"]]
    with pytest.raises(ValueError, match=r"partition \d: .*feature names"):
        model.predict(swapped).compute()


def test_chunks_of_columns_and_other_lengths_are_cut_like_x(client):
    model = GDClassifier(random_state=0).fit(cut(X), cut(BINARY))
    chunks = da.from_array(X, chunks=(CUTS, 2))
    again = clone(model).fit(chunks, da.from_array(BINARY, chunks=77))
    np.testing.assert_array_equal(again.coef_, model.coef_)
    np.testing.assert_array_equal(again.predict(chunks).compute(), model.predict(cut(X)).compute())


def test_sparse_chunks_of_columns_are_joined(client):
    left, right = cut(SPARSE[:, :6]), cut(SPARSE[:, 6:])
    model = GDClassifier().fit(da.concatenate([left, right], axis=1), cut(BINARY))
    np.testing.assert_array_equal(model.coef_, GDClassifier().fit(cut(SPARSE), cut(BINARY)).coef_)


def test_a_warm_start_goes_on_from_the_minimum(client):
    model = GDClassifier(random_state=0, warm_start=True).fit(cut(X), cut(BINARY))
    coef = model.coef_.copy()
    assert model.n_iter_ > 3
    model.fit(cut(X), cut(BINARY))
    assert model.n_iter_ <= 2
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-4)
    with pytest.raises(ValueError, match="warm_start needs coef_ of shape"):
        model.fit(cut(X[:, :3]), cut(BINARY))
    with pytest.raises(ValueError, match="warm_start needs the classes"):
        model.fit(cut(X), cut(NOISY > 0))


def test_the_local_estimator_has_the_parameters_and_goes_on(client):
    model = GDClassifier(random_state=0, alpha=0.01, class_weight={"yes": 2.0}).fit(cut(X), cut(BINARY))
    exact = model.to_local()
    assert (exact.alpha, exact.class_weight, exact.tol) == (0.01, {"yes": 2.0}, None)
    exact.partial_fit(X, BINARY)
    assert not np.array_equal(exact.coef_, model.coef_)  # which are a copy


def test_what_stops_before_the_minimum_warns(client):
    with pytest.warns(ConvergenceWarning, match="after 2 steps with a gradient of"):
        GDClassifier(polish_iter=2, random_state=0).fit(cut(X), cut(BINARY))


def test_other_dtypes_in_other_partitions(client):
    mixed = stacked([X[:600].astype(np.float32), X[600:]])
    model = GDClassifier(alpha=0.01).fit(mixed, cut(BINARY, (600, 600)))
    assert model.coef_.dtype == np.float64
    close(model, converged(model, X, BINARY), 1e-4)


def with_value(value):
    bad = X.copy()
    bad[505, 2] = value
    return bad


REFUSED = {
    "nan": (with_value(np.nan), BINARY, None, "partition 1: Input X contains NaN"),
    "infinite": (with_value(np.inf), BINARY, None, "partition 1: Input X contains infinity"),
    "y": (X, np.where(np.arange(N) == 911, np.nan, NOISY), None, "partition 4: Input y contains NaN"),
    "weight": (
        X,
        BINARY,
        np.where(np.arange(N) == 911, -1.0, 1.0),
        "partition 4: sample_weight must be finite and not negative; got -1.0",
    ),
    "no weights": (X, BINARY, np.zeros(N), "X must have rows with a weight above zero"),
    "one class": (X, np.zeros(N, int), None, "y must have at least 2 classes; got one class"),
    "numbers as classes": (X, NOISY, None, "partition 0: Unknown label type"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_data_is_refused_with_the_number_of_its_partition(name, client):
    X, y, weights, message = REFUSED[name]
    kind = GDRegressor if name == "y" else GDClassifier
    with pytest.raises(ValueError, match=message):
        kind().fit(cut(X), cut(y), None if weights is None else cut(weights))


def unknown(array, lengths):
    """Return a Dask array whose lengths are not known."""
    return stacked([array[start:end] for start, end in pairwise(np.cumsum([0, *lengths]))])


def test_partitions_must_fit_together(client):
    with pytest.raises(ValueError, match="y must have as many rows as X, 1200; got 1199"):
        GDClassifier().fit(cut(X), da.from_array(BINARY[:-1]))
    with pytest.raises(ValueError, match="y must have the partitions of X, 5; got 2"):
        GDClassifier().fit(cut(X), unknown(BINARY, (600, 600)))
    with pytest.raises(ValueError, match=r"partition \d: X, y and sample_weight must have as many rows; got"):
        GDClassifier().fit(cut(X), unknown(BINARY, (500, 11, 0, 400, 289)))
    model = GDRegressor().fit(cut(X), cut(NOISY))
    with pytest.raises(ValueError, match=r"partition \d: X, y and sample_weight must have as many rows; got"):
        model.score(cut(X), unknown(NOISY, (499, 11, 0, 400, 290)))


UNLIKE = {
    "columns": (
        [X[:600], X[600:, :3]],
        [BINARY[:600], BINARY[600:]],
        "partition 1: columns of X: 3; partition 0 has 5",
    ),
    "sparse": (
        [SPARSE[:600].toarray(), SPARSE[600:]],
        [BINARY[:600], BINARY[600:]],
        "partition 1: sparse X: True; partition 0 has False",
    ),
    "labels": ([X[:600], X[600:]], [BINARY[:600], THREE[600:]], "y must be of one kind"),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_partitions_must_be_alike(name, client):
    pieces, labels, message = UNLIKE[name]
    with pytest.raises(ValueError, match=message):
        GDClassifier().fit(stacked(pieces), stacked(labels))


def stacked(pieces):
    """Return partitions one below the other, whatever they hold."""
    shape = (np.nan, *pieces[0].shape[1:])
    return da.concatenate([da.from_delayed(delayed(piece), shape, float) for piece in pieces])


def test_other_names_of_columns_are_refused(client):
    pd = pytest.importorskip("pandas")
    pieces = [pd.DataFrame(X[:600], columns=list("abcde")), pd.DataFrame(X[600:], columns=list("abdce"))]
    with pytest.raises(ValueError, match=r"partition 1: names of columns: .*partition 0 has"):
        GDClassifier().fit(stacked(pieces), cut(BINARY, (600, 600)))


def test_what_is_no_dask_collection_is_refused(client):
    with pytest.raises(TypeError, match="X must be a Dask array or frame; got ndarray"):
        GDClassifier().fit(X, BINARY)
    with pytest.raises(TypeError, match="sample_weight must be a Dask array or frame; got list"):
        GDClassifier().fit(cut(X), cut(BINARY), [1.0])
    with pytest.raises(ValueError, match="X must have 2 axes; got 1"):
        GDClassifier().fit(cut(W), cut(BINARY))
    model = GDClassifier().fit(cut(X), cut(BINARY))
    with pytest.raises(TypeError, match="X must be a Dask array or frame; got ndarray"):
        model.predict(X)
    with pytest.raises(ValueError, match="X must have the 5 columns of the fit; got 3"):
        model.predict(cut(X[:, :3]))
    with pytest.raises(ValueError, match="partition 1: Input X contains NaN"):
        model.predict(cut(with_value(np.nan))).compute()
    with pytest.raises(ValueError, match="rows with a weight above zero to be scored"):
        model.score(cut(X), cut(BINARY), cut(np.zeros(N)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lr": "find"}, 'lr must not be "find" on a cluster'),
        ({"loss": "nonsense"}, "loss must be one of"),
        ({"tol": -1.0}, "tol must be"),
        ({"polish_iter": 0}, "polish_iter must be at least 1"),
        ({"timeout": 0.0}, "timeout must be"),
        ({"optimizer": "nonsense"}, "optimizer must be one of"),
        ({"max_iter": 0}, "max_iter must be at least 1"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_loaded(parameters, message, client):
    with pytest.raises(ValueError, match=message):
        GDClassifier(**parameters).fit(cut(X), cut(BINARY))


def test_parameters_are_those_of_scikit_learn(client):
    for kind in (GDClassifier, GDRegressor):
        model = kind(alpha=0.5, timeout=None)
        assert clone(model).get_params() == model.get_params()
        assert model.set_params(l1_ratio=0.7).l1_ratio == 0.7
        known = local.GDClassifier if kind is GDClassifier else local.GDRegressor
        assert set(model.get_params()) - set(known().get_params()) == {"polish_iter", "timeout"}
        with pytest.raises(TypeError, match="early_stopping"):
            kind(early_stopping=True)
        with pytest.raises(NotFittedError):
            model.predict(cut(X))
        with pytest.raises(NotFittedError):
            model.to_local()


def test_a_training_that_diverges_says_so(client):
    with pytest.raises(ValueError, match="the training diverged"):
        GDClassifier("perceptron", optimizer="sgd", lr=1e300, max_iter=5).fit(cut(X), cut(BINARY))


def test_weights_may_be_huge(client):
    plain = GDClassifier(random_state=0, alpha=0.01).fit(cut(X), cut(BINARY), cut(W))
    huge = clone(plain).fit(cut(X), cut(BINARY), cut(W * 2.0**1000))
    np.testing.assert_array_equal(huge.coef_, plain.coef_)


def test_rows_may_be_sparse_arrays_without_an_order(client):
    shuffled = csr_array(SPARSE)
    for row in range(N):
        at = slice(shuffled.indptr[row], shuffled.indptr[row + 1])
        shuffled.indices[at], shuffled.data[at] = shuffled.indices[at][::-1].copy(), shuffled.data[at][::-1].copy()
    model = GDClassifier(alpha=0.01).fit(unknown(shuffled, CUTS), cut(BINARY))
    close(model, GDClassifier(alpha=0.01).fit(cut(SPARSE), cut(BINARY)), 1e-6)


def test_partitions_without_a_row_that_counts(client):
    weights = np.where((np.arange(N) >= 500) & (np.arange(N) < 640), 0.0, W)
    model = GDClassifier(random_state=0, alpha=0.01, timeout=None).fit(cut(X), cut(BINARY), cut(weights))
    close(model, converged(model, X, BINARY, weights))
    assert model.predict(unknown(X, CUTS)).compute().shape == (N,)  # one of which has no rows
    with pytest.raises(ValueError, match="the weights of rows and classes must not be zero for every row"):
        GDClassifier(class_weight={"yes": 0.0, "no": 0.0}).fit(cut(X), cut(BINARY))


@pytest.mark.parametrize("X", [X, SPARSE, FAR], ids=["dense", "sparse", "centred sparse"])
def test_gradients_are_sums_over_blocks_of_rows(X, client, monkeypatch):
    weights = np.where((np.arange(N) >= 100) & (np.arange(N) < 300), 0.0, W)
    given = cut(X), cut(BINARY), cut(weights)
    whole = GDClassifier(random_state=0, alpha=0.01).fit(*given)
    monkeypatch.setattr(_rows, "MOST_ROWS", 64)
    close(GDClassifier(random_state=0, alpha=0.01).fit(*given), whole, 1e-6)


def test_many_columns(client):
    wide = csr_matrix((SPARSE.data, SPARSE.indices * 1000, SPARSE.indptr), shape=(N, 12_000))
    model = GDClassifier(alpha=0.01).fit(cut(wide), cut(BINARY))
    narrow = GDClassifier(alpha=0.01).fit(cut(SPARSE), cut(BINARY))
    np.testing.assert_allclose(model.coef_[:, ::1000], narrow.coef_, atol=1e-4)
    assert np.count_nonzero(model.coef_) == 12


class Looks:
    """A callback that notes what it is told, and what the estimator has then."""

    def __init__(self, stop_at=None):
        self.stop_at, self.seen, self.ends, self.estimator = stop_at, [], 0, None

    def on_fit_begin(self, estimator):
        self.estimator = estimator

    def on_epoch_end(self, epoch, logs):
        model = self.estimator
        self.seen.append((epoch, logs, model.coef_.copy(), model.n_iter_))
        assert model.loss_ == logs["loss"]
        assert model.to_local().coef_.tolist() == model.coef_.tolist()
        return epoch == self.stop_at

    def on_fit_end(self, estimator):
        assert estimator is self.estimator
        self.ends += 1


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_callbacks_see_rounds_and_steps_and_change_nothing(penalty, client):
    given = cut(X), cut(BINARY)
    plain = GDClassifier(random_state=0, alpha=0.03, penalty=penalty, max_iter=2).fit(*given)
    looks, functions = Looks(), []
    model = clone(plain).set_params(callbacks=[looks, lambda epoch, logs: functions.append(logs["loss"])])
    model.fit(*given)
    np.testing.assert_array_equal(model.coef_, plain.coef_)
    assert model.loss_curve_ == plain.loss_curve_
    assert [epoch for epoch, *_ in looks.seen] == list(range(1 + model.n_iter_))
    assert functions[1:] == model.loss_curve_  # of the last round, and of the steps
    assert functions[0] > functions[-1]
    assert [n for *_, n in looks.seen] == [1, *range(1, 1 + model.n_iter_)]
    np.testing.assert_array_equal(looks.seen[-1][2], model.coef_)
    assert looks.ends == 1
    assert model.to_local().callbacks is None


@pytest.mark.parametrize(("stop_at", "n_iter"), [(0, 1), (1, 1), (4, 4)])
def test_a_callback_stops_the_training(stop_at, n_iter, client):
    looks = Looks(stop_at)
    model = GDRegressor(random_state=0, alpha=0.1, penalty="elasticnet", max_iter=2, callbacks=looks)
    model.fit(cut(X), cut(NOISY))  # without a warning that it did not converge
    assert [epoch for epoch, *_ in looks.seen] == list(range(stop_at + 1))
    assert model.n_iter_ == n_iter
    np.testing.assert_array_equal(model.coef_, looks.seen[-1][2])
    assert model.loss_ == looks.seen[-1][1]["loss"]
    assert model.score(cut(X), cut(NOISY)) > 0.5


def test_the_progress_is_shown(client, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    model = GDClassifier(random_state=0, max_iter=2, verbose=1).fit(cut(X), cut(BINARY))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + model.n_iter_
    assert lines[0].startswith("GDClassifier: epoch 1/1002, loss ")
    assert lines[-1].endswith(f"loss {model.loss_:.4g}")
    assert model.to_local().verbose == 1


def test_what_is_no_callback_is_refused(client):
    with pytest.raises(TypeError, match=r"callbacks must be functions \(epoch, logs\)"):
        GDClassifier(callbacks=3).fit(cut(X), cut(BINARY))
