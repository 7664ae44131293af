"""Sparse matrices that are not what they say: refused by name, or taken for what scipy's toarray shows."""

import threading
from contextlib import suppress

import numpy as np
import pytest
from fuzzing import run_cases
from scipy import sparse

import gdfast
from gdfast.engine import _linear
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor
from gdfast.sklearn._linear_trainer import LinearTrainer
from gdfast.sklearn._scaling import Standardizer
from gdfast.sklearn._sparse import csr_arrays, own_indices, without_repetition

ROWS, COLUMNS = 40, 12
FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]
BIG = 10**7


def matrix(form="csr", rows=ROWS, columns=COLUMNS, seed=0):
    X = sparse.random_array((rows, columns), density=0.3, rng=np.random.default_rng(seed)).tolil()
    X[-1, -1] = 0.5
    return X.asformat(form)


def labels(rows=ROWS):
    return np.arange(rows) % 2


def estimators(**options):
    options = {"max_iter": 2, "random_state": 0, "tol": None, "batch_size": 16, **options}
    linear = [kind(**options) for kind in (GDClassifier, GDRegressor)]
    return [*linear, *(kind(hidden_layer_sizes=(4,), **options) for kind in (MLPClassifier, MLPRegressor))]


def coefs(model):
    return np.concatenate([np.ravel(coef) for coef in (model.coefs_ if hasattr(model, "coefs_") else [model.coef_])])


DAMAGES = {
    "too long a last row": ("csr", lambda m: setattr(m, "indptr", np.array([0] * ROWS + [BIG]))),
    "rows that end at last": ("csr", lambda m: setattr(m, "indptr", np.array([0] + [BIG] * (ROWS - 1) + [0]))),
    "falling pointers": ("csr", lambda m: m.indptr.__setitem__(3, 0)),
    "a pointer below zero": ("csr", lambda m: m.indptr.__setitem__(0, -5)),
    "few pointers": ("csr", lambda m: setattr(m, "indptr", np.array([0, 1]))),
    "many pointers": ("csr", lambda m: setattr(m, "indptr", np.append(m.indptr, m.indptr[-1]))),
    "no pointers": ("csr", lambda m: setattr(m, "indptr", None)),
    "two axes of pointers": ("csr", lambda m: setattr(m, "indptr", m.indptr[:, None])),
    "floats": ("csr", lambda m: setattr(m, "indices", m.indices.astype(float))),
    "indices cut short": ("csr", lambda m: setattr(m, "indices", m.indices[:3])),
    "data cut short": ("csr", lambda m: setattr(m, "data", m.data[:3])),
    "data of two axes": ("csr", lambda m: setattr(m, "data", m.data[:, None])),
    "an index too large": ("csr", lambda m: m.indices.__setitem__(5, COLUMNS)),
    "an index below zero": ("csr", lambda m: m.indices.__setitem__(5, -1)),
    "a large unsigned index": ("csr", lambda m: setattr(m, "indices", m.indices.astype(np.uint64) + np.uint64(2**63))),
    "a row too large": ("csc", lambda m: m.indices.__setitem__(5, BIG)),
    "columns that end too late": ("csc", lambda m: m.indptr.__setitem__(-1, BIG)),
    "coordinates too large": ("coo", lambda m: m.row.__setitem__(5, BIG)),
    "coordinates below zero": ("coo", lambda m: m.col.__setitem__(5, -BIG)),
    "few coordinates": ("coo", lambda m: setattr(m, "data", m.data[:3])),
    "a block too far": ("bsr", lambda m: m.indices.__setitem__(0, BIG)),
    "blocks of nothing": ("bsr", lambda m: setattr(m, "data", m.data[:, :, :0])),
    "blocks that do not fit": ("bsr", lambda m: setattr(m, "data", np.ones((len(m.data), 7, 1)))),
    "few blocks": ("bsr", lambda m: setattr(m, "data", m.data[:1])),
    "few offsets": ("dia", lambda m: setattr(m, "offsets", m.offsets[:1])),
    "one diagonal": ("dia", lambda m: setattr(m, "data", m.data[0])),
    "a list too long": ("lil", lambda m: m.data[0].extend([1.0] * 1000)),
    "a list less": ("lil", lambda m: setattr(m, "rows", m.rows[1:])),
    "a listed column too large": ("lil", lambda m: m.rows.__setitem__(-1, [BIG])),
    "a key too large": ("dok", lambda m: m._dict.__setitem__((0, BIG), 1.0)),
    "a key beyond all integers": ("dok", lambda m: m._dict.__setitem__((0, 10**30), 1.0)),
}


@pytest.mark.parametrize(("form", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_refused_by_name(form, damage):
    good, bad, y = matrix(), matrix(form), labels()
    damage(bad)
    for model in estimators():
        with pytest.raises(ValueError, match=r"^X\."):
            model.fit(bad, y)
        assert not hasattr(model, "n_features_in_")
        model.fit(good, y)
        before = coefs(model).copy()
        with pytest.raises(ValueError, match=r"^X\."):
            model.partial_fit(bad, y)
        for method in ("predict", "predict_proba", "decision_function", "predict_log_proba"):
            if hasattr(model, method):
                with pytest.raises(ValueError, match=r"^X\."):
                    getattr(model, method)(bad)
        with pytest.raises(ValueError, match=r"^X\."):
            model.score(bad, y)
        with pytest.raises(ValueError, match=r"^X\."):
            model.lr_find(bad, y)
        np.testing.assert_array_equal(coefs(model), before)


def test_a_matrix_has_two_axes():
    for model in estimators():
        with pytest.raises(ValueError, match="X must have two axes"):
            model.fit(sparse.coo_array(np.ones(4)), labels(4))


def test_damaged_targets():
    y = sparse.csr_array(np.tile(np.eye(2, dtype=int), (ROWS // 2, 1)))
    model = MLPClassifier(max_iter=1, tol=None).fit(matrix(), y)
    assert model.score(matrix(), y) == model.score(matrix(), y.toarray())
    y.indptr[-1] = BIG
    for use in (model.fit, model.partial_fit, model.score):
        with pytest.raises(ValueError, match=r"^y\.indptr"):
            use(matrix(), y)
    with pytest.raises((ValueError, TypeError)):
        GDRegressor().fit(matrix(), y)


class Deceiver(np.ndarray):
    """Says whatever is wanted of it."""

    shape = property(lambda self: (2,))
    size = property(lambda self: 2)

    def min(self, *_, **__):
        return 0

    max = min

    def copy(self, *_, **__):
        return self


class OwnKind(sparse.csr_matrix):
    """Has nothing against its own format."""

    def check_format(self, full_check=True):
        pass

    def copy(self):
        return self

    def tocsr(self, copy=False):
        return self


def test_subclasses_that_deceive():
    for change in (lambda m: m.indices.__setitem__(5, BIG), lambda m: m.indptr.__setitem__(-1, BIG)):
        X = OwnKind(matrix())
        change(X)
        X.indices, X.indptr = X.indices.view(Deceiver), X.indptr.view(Deceiver)
        for model in estimators():
            with pytest.raises(ValueError, match=r"^X\."):
                model.fit(X, labels())
            with pytest.raises(ValueError, match=r"^X\."):
                model.fit(matrix(), labels()).predict(X)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_the_same_to_us(form):
    X, other, y = matrix(), matrix(form), labels()
    np.testing.assert_array_equal(own_indices(other).toarray(), X.toarray())
    for one, two in zip(estimators(), estimators(), strict=True):
        np.testing.assert_array_equal(coefs(one.fit(X, y)), coefs(two.fit(other, y)))
        np.testing.assert_array_equal(one.predict(X), two.predict(other))


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_matrix(form):
    empty = sparse.csr_array((3, 5)).asformat(form)
    taken = own_indices(empty)
    assert taken.format == "csr"
    assert (taken.shape, taken.nnz) == ((3, 5), 0)


def test_diagonals_outside_of_the_matrix():
    X = sparse.dia_array((np.ones((4, 9)), [-2, 0, 7, 100]), shape=(6, 5))
    np.testing.assert_array_equal(own_indices(X).toarray(), X.toarray())


def test_what_lies_behind_the_last_row_does_not_count():
    X = matrix()
    room = sparse.csr_array(X)
    room.data, room.indices = np.append(X.data, np.nan), np.append(X.indices, BIG)
    for one, two in zip(estimators(), estimators(), strict=True):
        np.testing.assert_array_equal(coefs(one.fit(X, labels())), coefs(two.fit(room, labels())))
        np.testing.assert_array_equal(one.predict(X), two.predict(room))


def shuffled(X, rng):
    """Return the same matrix with the elements of each row in another order."""
    order = np.concatenate([rng.permutation(np.arange(*ends)) for ends in zip(X.indptr, X.indptr[1:], strict=False)])
    return sparse.csr_array((X.data[order], X.indices[order], X.indptr), shape=X.shape)


def twice(X, rng):
    """Return the same matrix with every element stored as two parts, some far larger than their sum."""
    parts = rng.choice([0.25, 4.0], X.nnz) * X.data
    data, indices = np.stack([parts, X.data - parts], 1).ravel(), np.repeat(X.indices, 2)
    return sparse.csr_array((data, indices, 2 * X.indptr), shape=X.shape)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_what_is_stored_twice_counts_as_its_sum(standardize, mixed):
    rng = np.random.default_rng(0)
    X = matrix()
    double = twice(X, rng)
    double = shuffled(double, rng) if mixed else double
    assert double.nnz == 2 * X.nnz
    given = [part.copy() for part in (double.data, double.indices, double.indptr)]
    options = {"standardize": standardize}
    for one, two in zip(estimators(**options), estimators(**options), strict=True):
        np.testing.assert_allclose(coefs(one.fit(double, labels())), coefs(two.fit(X, labels())), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(one.predict(double), two.predict(X), rtol=1e-9, atol=1e-12)
    for before, after in zip(given, (double.data, double.indices, double.indptr), strict=True):
        np.testing.assert_array_equal(after, before)


def test_repeats():
    for index in (np.int32, np.int64):
        for row, expected in (([0, 1, 2], False), ([2, 0, 2], True), ([1, 1, 0], True), ([2, 1, 0], False)):
            indices, pointers = np.array([2, *row, 1], index), np.array([0, 1, 4, 4, 5], index)
            assert _linear.repeats(indices, pointers, 3) is expected
    X = own_indices(shuffled(matrix(), np.random.default_rng(0)))
    assert without_repetition(X) is X


def test_the_order_is_looked_at_and_not_believed():
    """SciPy keeps the answer to has_sorted_indices, and does not notice what is written into the indices later."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((600, 200), density=0.2, format="csr", rng=rng)
    mixed, y = shuffled(X, rng), rng.integers(0, 2, 600)
    stale = X.copy()
    assert stale.has_sorted_indices
    assert stale.has_canonical_format
    stale.indices[:], stale.data[:] = mixed.indices, mixed.data
    options = {"max_iter": 2, "random_state": 0, "batch_size": 600}
    expected = GDClassifier(n_threads=1, **options).fit(mixed, y).coef_
    for n_threads in (1, 2, 3):
        np.testing.assert_array_equal(GDClassifier(n_threads=n_threads, **options).fit(stale, y).coef_, expected)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("kind", [GDClassifier, GDRegressor])
def test_training_goes_on_with_data_of_another_type(kind, standardize):
    """What was learned of the columns has the first type, and is read as the second one."""
    options = {"random_state": 0, "optimizer": "sgd", "standardize": standardize}
    found = []
    for first, second in (("f4", "f8"), ("f8", "f8"), ("f8", "f4")):
        model = kind(**options).fit(matrix().astype(first), labels())
        found.append(model.partial_fit(matrix().astype(second), labels()).coef_)
        assert found[-1].dtype == second
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-4, atol=1e-6)


def test_attributes_of_a_fitted_model_may_be_anything():
    for model in estimators():
        model.fit(matrix(columns=1), labels())
        model.n_features_in_ = COLUMNS
        for use in (model.predict, lambda X, model=model: model.partial_fit(X, labels())):
            with pytest.raises(ValueError, match=r"columns|features|shapes|dimension"):
                use(matrix())
    for kind, change in (
        (GDClassifier, {"coef_": np.zeros((1, COLUMNS))}),
        (GDRegressor, {"coef_": np.zeros(COLUMNS)}),
    ):
        model = kind(max_iter=1).fit(matrix(columns=1), labels())
        vars(model).update({"n_features_in_": COLUMNS, **change})
        assert np.isfinite(model.partial_fit(matrix(), labels()).coef_).all()
    for change in ({"classes_": np.arange(1000)}, {"out_activation_": "softmax"}):
        model = MLPClassifier(max_iter=1, tol=None).fit(matrix(), labels())
        vars(model).update(change)
        with pytest.raises(ValueError, match="X and y must have the columns and outputs of the last fit, 12 and 1 of"):
            model.partial_fit(matrix(), labels())


def vandal(X):
    def spoil(epoch, logs):
        X.indices.fill(BIG)
        X.indptr.fill(-BIG)

    return spoil


@pytest.mark.parametrize("form", FORMATS[:4])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_what_is_written_into_the_matrix_meanwhile_is_not_seen(early_stopping, form):
    options = {"max_iter": 3, "early_stopping": early_stopping}
    for one, two in zip(estimators(**options), estimators(**options), strict=True):
        X = matrix(form)
        two.callbacks = vandal(X) if form != "coo" else lambda epoch, logs, X=X: X.row.fill(BIG)
        np.testing.assert_array_equal(coefs(one.fit(matrix(), labels())), coefs(two.fit(X, labels())))


@pytest.mark.parametrize("form", ["csr", "dense", "view", "targets"])
def test_memory_stays_where_it_is(form):
    """NumPy gives memory back under a view of it, if it is told not to look."""
    for model in estimators(standardize=False):
        X, y = matrix(), labels().astype(float)
        if form == "csr":
            owner = X.data = X.data.copy()
        else:
            X = owner = X.toarray()
        if form == "view":
            X, y = X[2:], y[2:]
        if form == "targets":
            if not isinstance(model, GDRegressor):  # the only one to read y natively as it came
                continue
            owner = y
        model.callbacks = lambda epoch, logs, owner=owner: owner.resize(1, refcheck=False)
        with pytest.raises(ValueError, match="cannot resize an array that references or is referenced"):
            model.fit(X, y)
        owner.resize(1, refcheck=False)


def test_callbacks_of_scikit_learn_get_what_the_caller_has():
    """And so no way into the copy that native code goes by."""
    pytest.importorskip("sklearn.callback")
    seen = []

    class Watching:
        def setup(self, *_, **__):
            pass

        def teardown(self, *_, **__):
            pass

        def on_fit_task_begin(self, *_):
            pass

        def on_fit_task_end(self, *_, X=None, **__):
            seen.append(X)

    X = matrix()
    for model in estimators():
        model.set_callbacks(Watching()).fit(X, labels())
    assert len(seen) >= 4
    assert all(one is X for one in seen)


def write_meanwhile(case):
    """Fit and predict while another thread writes anything into all arrays of the matrix."""
    rng = np.random.default_rng(case)
    X, y = matrix(rows=400, columns=50, seed=case), labels(400)
    model = estimators(n_threads=2, max_iter=4)[case % 4].fit(X, y)
    over = threading.Event()

    def write():
        while not over.is_set():
            for array in (X.indices, X.indptr):
                array[rng.integers(array.size, size=20)] = rng.integers(-(2**31), 2**31, 20)
            X.indices[:] = 0
            X.indptr[:] = 0

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for use in [lambda: model.fit(X, y), lambda: model.predict(X)] * 4:
            with suppress(ValueError):
                use()
    finally:
        over.set()
        writer.join()


def test_another_thread_writes_meanwhile():
    run_cases(write_meanwhile, 12)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_indices_of_either_size(dtype, outputs):
    """64 bits are only used where 32 do not suffice, so this goes below the estimators."""
    data, indices, pointers = csr_arrays(own_indices(matrix()))
    targets = np.arange(ROWS * outputs, dtype=float).reshape(ROWS, outputs)
    found = []
    for index in (np.int32, np.int64):
        table = (data.astype(dtype), indices.astype(index), pointers.astype(index))
        trainer = LinearTrainer(
            table,
            targets,
            None,
            Standardizer(inv_scale=np.full(COLUMNS, 0.5)),
            ("squared_error", 0.0),
            (np.zeros((COLUMNS, outputs)), np.zeros(outputs)),
            (gdfast.Adam, {"lr": 0.1}),
            penalty=(0.0, 0.0),
            fit_intercept=True,
            batch_size=16,
            n_threads=2,
        )
        loss = trainer.run(np.arange(ROWS))
        found.append((loss, trainer.coef.tobytes(), trainer.scores(np.arange(ROWS)).tobytes()))
        largest = _linear.largest_of_columns(*table, np.arange(ROWS), COLUMNS, 1)
        np.testing.assert_array_equal(largest, abs(matrix().toarray().astype(dtype)).max(axis=0))
    assert found[0] == found[1]
