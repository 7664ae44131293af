"""Scales and classes of all rows of a source, which its first rows do not show."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from gdfast.__main__ import main
from gdfast.cli.model import Model
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor, _streaming
from gdfast.tables import CSV, Arrays, Batches, Parquet

RNG = np.random.default_rng(0)
N = 40_000
TREND = np.linspace(-3, 3, N)
X = RNG.normal(size=(N, 4)) * [1, 100, 0.01, 1] + np.outer(TREND, [1, 50, 0, 2])
SPARSE = csr_array(X * (RNG.random((N, 4)) < 0.5))
SPARSE_YEARS = csr_array(np.column_stack([2000 + np.round(TREND), SPARSE.toarray()]))
CLASSES = np.digitize(TREND, [-1, 1])
SIGNS = (X[:, 0] > 0).astype(int)
NUMBERS = X @ [1, 0.01, 10, -1] + 5 + TREND**2
W = RNG.choice([0.0, 0.5, 3.0], N)


@pytest.fixture(autouse=True)
def beyond(monkeypatch):
    """A memory of 5,000 rows."""
    monkeypatch.setattr(_streaming, "STATISTICS_ROWS", 5000)


def source(X, y, w=None, statistics="all", rows=3000):
    if not issparse(X):
        return Arrays(X, y, w, batch_rows=rows, statistics=statistics)
    parts = [slice(at, at + rows) for at in range(0, N, rows)]
    return Batches([(X[at], y[at]) if w is None else (X[at], y[at], w[at]) for at in parts], statistics=statistics)


NETWORK = {"hidden_layer_sizes": (3,), "tol": None}
CASES = {
    "classes": (GDClassifier(), X, CLASSES),
    "numbers": (GDRegressor(), X.astype(np.float32), NUMBERS),
    "two targets": (GDRegressor("huber"), X, np.stack([NUMBERS, TREND], 1)),
    "no intercept": (GDRegressor(fit_intercept=False), X, NUMBERS),
    "poisson": (GDRegressor("poisson"), X, np.abs(NUMBERS)),
    "whole numbers": (GDRegressor(), (10 * X).astype(np.int64), NUMBERS),
    "sparse": (GDRegressor(), SPARSE, NUMBERS),
    "sparse, far from zero": (GDClassifier(), SPARSE_YEARS, CLASSES),
    "sparse, float32": (GDRegressor(), SPARSE_YEARS.astype(np.float32), NUMBERS),
    "sparse, no intercept": (GDRegressor(fit_intercept=False), SPARSE_YEARS, NUMBERS),
    "network": (MLPClassifier(**NETWORK), X, CLASSES),
    "labels": (MLPClassifier(**NETWORK), X, np.stack([TREND > 0, X[:, 0] > 0], 1).astype(int)),
    "network of numbers": (MLPRegressor(**NETWORK), X, NUMBERS),
    "network, huber": (MLPRegressor("huber", **NETWORK), X, np.stack([NUMBERS, TREND], 1)),
    "network, poisson": (MLPRegressor("poisson", **NETWORK), X, np.abs(NUMBERS)),
    "network, sparse": (MLPRegressor(**NETWORK), SPARSE, NUMBERS),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("w", [None, W])
def test_the_scales_are_those_of_a_fit_on_all_rows(name, w):
    model, X, y = CASES[name]
    parameters = {**model.get_params(), "max_iter": 1, "random_state": 0}
    streamed = type(model)(**parameters).fit(source(X, y, w))
    fitted = type(model)(**parameters).fit(X, y, w)
    assert streamed.statistics_ == "all 40,000 rows"
    found, expected = streamed._standardizer, fitted._standardizer
    for part in ("mean", "inv_scale", "target_mean", "target_scale"):
        one, other = getattr(found, part), getattr(expected, part)
        assert (one is None) == (other is None), part
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9, err_msg=part)
    assert found.columns == pytest.approx(expected.columns, rel=1e-12)
    if hasattr(fitted, "classes_"):
        np.testing.assert_array_equal(streamed.classes_, fitted.classes_)


def test_the_penalty_is_that_of_a_fit_on_all_rows(monkeypatch):
    """Of 60 columns the first rows fill 20."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(N, 60)) * np.where(np.arange(N)[:, None] < 6000, np.arange(60) < 20, True)
    penalties = []
    penalty = GDRegressor._penalty
    monkeypatch.setattr(GDRegressor, "_penalty", lambda self, alpha: penalties.append(alpha) or penalty(self, alpha))
    GDRegressor(max_iter=1).fit(source(csr_array(table), NUMBERS))
    GDRegressor(max_iter=1).fit(csr_array(table), NUMBERS)
    assert penalties == pytest.approx([penalties[1]] * 2, rel=1e-12)
    assert penalties[0] > 4 / N


def test_a_stream_of_centred_columns_learns_what_the_array_does():
    X = SPARSE_YEARS[RNG.permutation(N)]
    y = X @ [1.0, 0.1, 0.01, 1.0, -0.1]
    streamed = GDRegressor(max_iter=5, random_state=0).fit(source(X, y))
    assert streamed._standardizer.mean[0] == pytest.approx(X[:, [0]].mean())
    assert streamed.score(X, y) > 0.99


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_any_size_in_sparse_columns(dtype):
    """Those of a column grow from subnormal to huge; squares of them would overflow and vanish."""
    limits = np.finfo(dtype)
    grow = np.geomspace(limits.smallest_normal, limits.max / 8, N // 500, dtype=dtype).repeat(500)
    grow[:100] = limits.smallest_subnormal
    table = np.column_stack([SPARSE.toarray()[:, 0], grow, grow[::-1], np.full(N, limits.smallest_subnormal)])
    sparse, model = csr_array(table.astype(dtype)), GDRegressor(max_iter=1, fit_intercept=False)
    streamed = clone(model).fit(source(sparse, NUMBERS))._standardizer
    fitted = clone(model).fit(sparse, NUMBERS)._standardizer
    np.testing.assert_allclose(streamed.inv_scale, fitted.inv_scale, rtol=1e-6)
    assert streamed.columns == pytest.approx(fitted.columns, rel=1e-12)


def test_networks_refuse_numbers_whose_squares_overflow():
    sparse = csr_array(changed(SPARSE.toarray(), 1e200))
    with pytest.raises(ValueError, match="X and y must be finite, and their squares"):
        MLPRegressor(**NETWORK, max_iter=1).fit(source(sparse, NUMBERS))


@pytest.mark.parametrize("name", ["numbers", "sparse", "sparse, far from zero", "network"])
def test_the_bits_do_not_depend_on_the_batches(name):
    model, X, y = CASES[name]
    scales = [
        type(model)(**{**model.get_params(), "max_iter": 1, "shuffle": False})
        .fit(source(X, y, W, rows=rows))
        ._standardizer
        for rows in (3000, 1111)
    ]
    np.testing.assert_array_equal(scales[0].inv_scale, scales[1].inv_scale)
    np.testing.assert_array_equal(scales[0].target_mean, scales[1].target_mean)
    if scales[0].mean is not None:
        np.testing.assert_array_equal(scales[0].mean, scales[1].mean)


@pytest.mark.parametrize("make", [GDClassifier, MLPClassifier])
def test_rows_sorted_by_class(make):
    """The first rows are of one class alone."""
    with pytest.raises(ValueError, match="got one class"):
        make(shuffle=False).fit(source(X, CLASSES, statistics="first"))
    model = make(shuffle=False, max_iter=1, class_weight={0: 1.0, 1: 2.0, 2: 1.0}).fit(source(X, CLASSES))
    assert model.classes_.tolist() == [0, 1, 2]
    model = make(max_iter=2, tol=None, random_state=0).fit(source(X, CLASSES))
    assert model.score(X, CLASSES) > 0.7


def changed(array, value):
    array = array.copy()
    array[-1] = value
    return array


@pytest.mark.parametrize(
    ("X", "y", "w"),
    [
        (changed(X, np.nan), NUMBERS, None),
        (csr_array(changed(SPARSE.toarray(), np.inf)), NUMBERS, None),
        (csr_array(changed(SPARSE.toarray(), np.nan)), NUMBERS, None),
        (X, changed(NUMBERS, np.inf), None),
        (X, NUMBERS, changed(W, np.inf)),
        (X, NUMBERS, changed(W, -1)),
        (X, NUMBERS, 0 * W),
    ],
)
def test_rows_that_are_not_finite(X, y, w):
    with pytest.raises(ValueError, match=r"must be finite|must have a sum above 0 and below 1e300; got 0"):
        GDRegressor().fit(source(X, y, w))


def test_rows_without_scales_and_without_a_choice():
    model = GDRegressor(standardize=False, lr=1e-5, max_iter=1).fit(source(X, NUMBERS))
    assert model._standardizer.mean is None
    assert (
        MLPRegressor(standardize=False, lr=1e-5, max_iter=1, tol=None).fit(source(X, NUMBERS))._standardizer.mean
        is None
    )
    with pytest.raises(ValueError, match="statistics must be 'first' or 'all'; got 'some'"):
        Arrays(X, NUMBERS, statistics="some")


def test_numbers_beside_categories_and_gaps(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("gdfast.tables.source.STATISTICS_ROWS", 5000)
    frame = pd.DataFrame({"x": TREND, "town": RNG.choice(["Bonn", "Kiel"], N), "y": NUMBERS})
    frame.loc[RNG.random(N) < 0.1, "x"] = np.nan
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=2000)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for of in (Parquet(tmp_path / "rows.parquet", target="y", statistics="all", missing="fill", batch_rows=2000),
               CSV(tmp_path / "rows.csv", target="y", statistics="all", missing="fill", batch_rows=2000)):  # fmt: skip
        stream = of.open(3)
        next(stream.epoch(0)).X.sum()
        numbers = stream.encode.encoder.parts[0]
        np.testing.assert_allclose(numbers.means, [frame.x.mean()], rtol=1e-12)
        np.testing.assert_allclose(numbers.deviations, [frame.x.std(ddof=0)], rtol=1e-12)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"x": TREND, "z": X[:, 0], "y": CLASSES}).to_parquet("rows.parquet", row_group_size=2000)
    how = ["train", "rows.parquet", "--stream", "--target", "y", "--task", "classification", "--out", "m"]
    assert main([*how, "--statistics", "all"]) == 0
    assert "Scales and classes are those of all 40,000 rows." in capsys.readouterr().out
    assert Model.load(tmp_path / "m").estimator.classes_.tolist() == [0, 1, 2]
    assert main([*how, "--statistics", "some"]) == 2
    assert "--statistics must be one of first, all; got 'some'" in capsys.readouterr().err


@pytest.mark.parametrize("estimator", [GDClassifier(), MLPClassifier(**NETWORK)])
def test_weights_without_a_finite_sum_are_blamed_themselves(estimator):
    with pytest.raises(ValueError, match="the weights of the rows must have a sum above 0 and below 1e300; got inf"):
        estimator.fit(source(X, CLASSES, np.full(N, 1e308)))


def changing(times):
    """A column that is constant in the first rows, another all the way, and one that is equal at their ends."""
    found = np.column_stack([X[:, 0], np.full(N, 7.0), np.full(N, 2.0), np.sin(np.arange(N))])
    found[20_000:, 1] += times * X[20_000:, 2]
    found[[0, 5999], 3] = 0.0
    return found


@pytest.mark.parametrize("estimator", [GDClassifier(shuffle=False), MLPClassifier(shuffle=False, max_iter=1)])
def test_a_column_that_varies_only_after_the_first_rows_is_named_once(estimator, tmp_path):
    data = changing(1e6)
    with pytest.warns(
        ConvergenceWarning, match=r"column 1 is 7 in all of the first 6,000 rows.*statistics='all'"
    ) as said:
        estimator.fit(source(data, SIGNS, statistics="first"))
    assert sum("column 1 is 7" in str(warning.message) for warning in said) == 1
    path = tmp_path / "rows.parquet"
    pd.DataFrame(data, columns=list("abcd")).assign(y=SIGNS).to_parquet(path, row_group_size=3000)
    with pytest.warns(ConvergenceWarning, match="column 'b' is 7 in all"):
        estimator.fit(Parquet(path, target="y", batch_rows=3000))


@pytest.mark.parametrize(("times", "statistics"), [(1.0, "first"), (1e6, "all")])
def test_nothing_is_said_of_a_column_whose_scale_is_fit_for_use(times, statistics):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        GDClassifier(shuffle=False).fit(source(changing(times), SIGNS, statistics=statistics))
