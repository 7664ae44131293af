"""Real processes: the same bits for any number of workers, workers that are killed, and limits of time."""

import pytest

pytest.importorskip("distributed")

import os
import runpy
import signal
import sys
import time

import dask.array as da
import numpy as np
from dask import delayed
from distributed import Client, LocalCluster

import gdfast.dask
from gdfast.dask import GDClassifier, GDRegressor, _linear
from gdfast.sklearn import GDClassifier as LocalClassifier

RNG = np.random.default_rng(1)
N = 3000
X = RNG.normal(size=(N, 6)).astype(np.float32) * [1, 30, 0.1, 1, 1, 1] + [0, 9, 0, 1, 1, 1]
SCORE = X @ [1, 0.05, 10, -1, 0.5, 0]
Y = np.digitize(SCORE + RNG.normal(size=N), [-0.5, 1.5])
BINARY = Y > 0
CUTS = (1000, 10, 1990)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0", memory_limit=0
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        yield client


def scale(cluster, client, n):
    cluster.scale(n)
    end = time.monotonic() + 300
    while len(client.scheduler_info()["workers"]) != n:
        assert time.monotonic() < end
        time.sleep(0.05)


def cut(array, lengths=CUTS):
    return da.from_array(array, chunks=(lengths, *((length,) for length in array.shape[1:])))


def fits():
    order = np.argsort(Y, kind="stable")
    yield GDClassifier(random_state=0, alpha=0.1, tol=1e-2).fit(cut(X[order]), cut(Y[order]))
    yield GDRegressor(random_state=0, penalty="l1", alpha=0.1, tol=1e-2).fit(cut(X), cut(SCORE))


def bits(models):
    return [(model.coef_.tobytes(), model.intercept_.tobytes(), model.loss_curve_) for model in models]


def test_the_bits_are_those_of_any_number_of_workers(cluster, client):
    found = []
    for n in (1, 2, 3):
        scale(cluster, client, n)
        found.append(bits(fits()))
    assert found[0] == found[1] == found[2]


def test_one_class_and_unequal_workers_score_as_one_process(cluster, client):
    scale(cluster, client, 2)
    order = np.argsort(BINARY[:2000], kind="stable")
    ten = (2000 - 10, 10)
    model = GDClassifier(random_state=0).fit(cut(X[:2000][order], ten), cut(BINARY[:2000][order], ten))
    alone = LocalClassifier(random_state=0).fit(X[:2000], BINARY[:2000])
    held = cut(X[2000:], (600, 400)), cut(BINARY[2000:], (600, 400))
    assert abs(model.score(*held) - alone.score(X[2000:], BINARY[2000:])) <= 0.002


def test_a_worker_that_is_killed_changes_no_bit(cluster, client, monkeypatch):
    scale(cluster, client, 2)
    arguments = cut(X), cut(BINARY)
    whole = GDClassifier(random_state=0).fit(*arguments)
    calls, killed, objective = 0, [], _linear._Training.objective

    def killing(training, x):
        nonlocal calls
        calls += 1
        if calls == 4:
            holding = [workers[0] for workers in client.who_has(training.parts).values()]
            pids = client.run(os.getpid)
            killed.append(pids[holding[0]])
            os.kill(killed[0], signal.SIGKILL)
        return objective(training, x)

    monkeypatch.setattr(_linear._Training, "objective", killing)
    again = GDClassifier(random_state=0).fit(*arguments)
    assert len(killed) == 1
    assert calls > 5
    assert bits([again]) == bits([whole])


def slow(array, seconds):
    time.sleep(seconds)
    return array


def test_a_limit_of_time_names_the_workers(cluster, client):
    scale(cluster, client, 2)
    late = da.from_delayed(delayed(slow)(X[1000:], 6), (2000, 6), X.dtype)
    message = r"no result within timeout=2 s: waiting for tcp://127.0.0.1:\d+.*; tasks left: \[.*1\]"
    with pytest.raises(TimeoutError, match=message):
        GDClassifier(timeout=2).fit(da.concatenate([da.from_array(X[:1000]), late]), cut(BINARY, (1000, 2000)))


def test_a_cluster_without_workers_is_an_error_in_time():
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster),
        pytest.raises(TimeoutError, match="none of the cluster's 0 workers has taken the work up"),
    ):
        GDClassifier(timeout=0.3).fit(cut(X), cut(BINARY))


def test_data_that_are_lost_are_an_error(cluster, client):
    scale(cluster, client, 2)
    future = client.scatter(X, workers=[next(iter(client.scheduler_info()["workers"]))])
    lost = da.from_delayed(future, X.shape, X.dtype)
    (holder,) = client.who_has(future)[future.key]
    os.kill(client.run(os.getpid, workers=[holder])[holder], signal.SIGKILL)
    with pytest.raises(RuntimeError, match="data of the fit are lost or cancelled"):
        GDClassifier(timeout=30).fit(lost, cut(BINARY, (N,)))


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r'gdfast.dask needs dask and distributed: pip install "gdfast\[dask\]"'):
        runpy.run_path(gdfast.dask.__file__)


def test_there_must_be_a_client(cluster):
    with pytest.raises(ValueError, match=r"gdfast.dask needs a distributed.Client"):
        GDClassifier().fit(cut(X), cut(BINARY))
    with pytest.raises(TypeError, match=r"client must be a distributed.Client that is not asynchronous; got 3"):
        GDClassifier().fit(cut(X), cut(BINARY), client=3)
