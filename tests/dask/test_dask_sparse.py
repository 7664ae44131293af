"""Partitions of CSR on a Dask cluster: their columns are standardised as in memory, and none is made dense."""

import pytest

pytest.importorskip("distributed")

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from scipy.sparse import csr_array

from gdfast import sklearn as local
from gdfast.dask import GDRegressor, _rows

N = 1200
RNG = np.random.default_rng(0)
CUTS = (500, 10, 0, 400, 290)  # rows of the partitions
YEAR = 2000.0 + RNG.integers(-5, 6, N)  # a column far from zero
X = np.column_stack([YEAR, RNG.normal(size=(N, 60)) * (RNG.random((N, 60)) < 0.7)])  # fills more than 10 columns
Y = X[:, 1:4] @ [1, 2, -1] + YEAR / 5 + RNG.normal(size=N)
W = RNG.choice([0.0, 0.5, 3.0], N)


@pytest.fixture(scope="module")
def client():
    """Workers in this process, so that what they run is seen to be covered."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def cut(array):
    """Return a Dask array of these partitions; a sparse one has CSR chunks."""
    chunks = (CUTS, *((length,) for length in array.shape[1:]))
    return da.from_array(array, chunks=chunks, asarray=isinstance(array, np.ndarray))


@pytest.mark.parametrize("weights", [None, W], ids=["plain", "weights"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_are_standardised_as_in_memory(dtype, weights, client):
    table = csr_array(X.astype(dtype))
    model = GDRegressor(random_state=0).fit(cut(table), cut(Y), None if weights is None else cut(weights))
    settings = {"max_iter": 4000, "batch_size": N, "shuffle": False}
    other = local.GDRegressor(**settings).fit(table, Y, weights)
    found, expected = model._fitted._standardizer, other._standardizer
    np.testing.assert_allclose(found.inv_scale, expected.inv_scale, rtol=1e-7)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    assert found.mean[0] == pytest.approx(np.average(YEAR, weights=weights))
    assert found.columns == pytest.approx(expected.columns, rel=1e-12)
    assert found.columns > 20
    atol = 1e-3 if dtype == np.float32 else 2e-5  # with the automatic penalty
    np.testing.assert_allclose(model.coef_ / found.inv_scale, other.coef_ / found.inv_scale, atol=atol)
    np.testing.assert_allclose(model.predict(cut(table)).compute(), other.predict(table), atol=20 * atol)


def test_numbers_of_any_size(client):
    """A column's largest number differs between partitions; squares would overflow and vanish."""
    table = X.copy()
    table[:, 2] = np.geomspace(1e-300, 1e300, N)
    table[:, 3] = table[::-1, 2]
    table = csr_array(table)
    model = GDRegressor(random_state=0).fit(cut(table), cut(Y))
    other = local.GDRegressor(max_iter=1).fit(table, Y)
    np.testing.assert_allclose(model._fitted._standardizer.inv_scale, other._standardizer.inv_scale, rtol=1e-7)
    assert np.isfinite(model.coef_).all()


def test_no_partition_is_made_dense():
    """A dense one would take 48 GB."""
    sparse, columns = csr_array(X), 5_000_000
    part = _rows.Encoded(0, (sparse.data, sparse.indices * 80_000, sparse.indptr), True, Y, None, np.arange(N))
    (found,) = _rows.moments_of_csr(part, columns)
    mean, _, filled = found.scale(float(N), N, True)
    np.testing.assert_array_equal(np.flatnonzero(mean), [0])
    assert filled == pytest.approx(1 + 60 * 0.7**2, rel=0.05)
