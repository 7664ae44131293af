"""Damaged matrices and model files by the thousand: refused, or answered as for what they show; no process ends.

Every case makes up everything from its number: see fuzzing.py, and docs/development.md for longer runs.
"""

import contextlib
import copy
import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fuzzing import cases_wanted, refusable, run_cases
from scipy import sparse

from gdfast.__main__ import main
from gdfast.checkpoint.plain import read_data, write_data
from gdfast.cli.model import KIND
from gdfast.cli.settings import Settings
from gdfast.cli.training import fit, prepare
from gdfast.sklearn import GDClassifier, GDRegressor, MLPClassifier, MLPRegressor

ROWS, COLUMNS = 24, 9
FORMATS = ["csr", "csr", "csr", "csc", "coo", "bsr", "dia", "lil", "dok"]
ARRAYS = ["data", "indices", "indptr", "row", "col", "offsets"]
NUMBERS = [0, 1, -1, 2, COLUMNS - 1, COLUMNS, ROWS, 255, 10**7, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63)]
TYPES = ["i1", "i2", "i8", "u4", "u8", ">i4", "f4", "f8", "c16", "O", "?", "U3"]
KINDS = [GDClassifier, GDRegressor, MLPClassifier, MLPRegressor]
CLASSES, TARGETS = np.arange(ROWS) % 3, np.arange(float(ROWS))


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


# Matrices.


def matrix(rng):
    X = sparse.random_array((ROWS, COLUMNS), density=pick(rng, [0.0, 0.1, 0.4, 1.0]), rng=rng)
    return X.astype(pick(rng, ["f4", "f8"])).asformat(pick(rng, FORMATS))


def other_array(array, rng):
    """Return an array in the place of another: of another length, type, shape or order."""
    array = np.atleast_1d(array)
    changes = [
        lambda: array[: rng.integers(len(array) + 1)],
        lambda: np.resize(array, len(array) + int(rng.integers(1, 9))),
        lambda: array.astype(pick(rng, TYPES)),
        lambda: array[:, None],
        lambda: array[::-1],
        lambda: rng.permutation(array),
        lambda: np.repeat(array, 2, axis=0)[::2],
        lambda: np.broadcast_to(array[:1], array.shape),
        lambda: array.tolist(),
        lambda: None,
        lambda: np.array(pick(rng, NUMBERS)),
    ]
    with np.errstate(all="ignore"):
        return pick(rng, changes)()


def damage(X, rng):
    """Change a sparse matrix past all that its class checks."""
    number = pick(rng, NUMBERS)
    names = [name for name in ARRAYS if isinstance(getattr(X, name, None), np.ndarray) and X.format != "lil"]
    if rng.random() < 0.1:
        X._shape = tuple(pick(rng, [0, 1, ROWS, COLUMNS, ROWS + 1, 100]) for _ in range(2))
    elif X.format == "dok":
        X._dict[(int(rng.integers(ROWS)), number)] = 1.0
    elif X.format == "lil":
        part, row = pick(rng, [X.rows, X.data]), rng.integers(ROWS)
        part[row] = [*part[row], number] if rng.random() < 0.7 else [number]
    elif rng.random() < 0.5:
        name = pick(rng, names)
        setattr(X, name, other_array(getattr(X, name), rng))
    else:
        write(X, names, rng)


def write(X, names, rng):
    """Write a number into one of the arrays of indices, in place or after making it wider."""
    name = pick(rng, [name for name in names if name != "data"])
    array = getattr(X, name)
    if rng.random() < 0.3:
        array = array.astype(np.int64)
        setattr(X, name, array)
    limits = np.iinfo(array.dtype)
    if array.ndim and array.size:
        array[rng.integers(array.size)] = max(limits.min, min(pick(rng, NUMBERS), limits.max))


def shown(X):
    """Return what CSR shows, read element by element."""
    dense = np.zeros(X.shape)
    for row in range(X.shape[0]):
        for at in range(int(X.indptr[row]), int(X.indptr[row + 1])):
            assert 0 <= X.indices[at] < X.shape[1], f"column {X.indices[at]} was accepted"
            assert at >= 0, f"element {at} was accepted"
            dense[row, X.indices[at]] += X.data[at]
    return dense


def estimator(rng):
    kind = pick(rng, KINDS)
    options = {"max_iter": 2, "random_state": 0, "tol": None, "n_threads": pick(rng, [1, 2]), "batch_size": 8}
    options |= {"standardize": pick(rng, [True, False]), "early_stopping": rng.random() < 0.2}
    options |= {"optimizer": pick(rng, ["adam", "sgd", "schedulefreesgd", "lars"]), "warm_start": rng.random() < 0.2}
    if kind in (MLPClassifier, MLPRegressor):
        options["hidden_layer_sizes"] = pick(rng, [(), (3,), (2, 2)])
    return kind(**options), CLASSES if kind in (GDClassifier, MLPClassifier) else TARGETS


def weights(rng):
    return pick(rng, [None, None, np.ones(ROWS), np.full(ROWS, 1e308), np.full(ROWS, 5e-324), rng.random(ROWS)])


@refusable
def fit_case(case):
    """Fit on a matrix that is damaged before, or in the midst by a callback."""
    rng = np.random.default_rng(case)
    X, (model, y) = matrix(rng), estimator(rng)
    if rng.random() < 0.8:
        damage(X, rng)
    if rng.random() < 0.3:
        model.callbacks = lambda epoch, logs: damage(X, rng)
    if rng.random() < 0.2:
        model.partial_fit(X, y, **({"classes": np.arange(3)} if y is CLASSES else {}))
    elif rng.random() < 0.1:
        model.lr_find(X, y, n_steps=5)
    model.fit(X, y, weights(rng))
    if rng.random() < 0.3:
        model.partial_fit(X, y)


@cache
def fitted(kind):
    y = CLASSES if kind in (GDClassifier, MLPClassifier) else TARGETS
    more = {"hidden_layer_sizes": (3,)} if kind in (MLPClassifier, MLPRegressor) else {}
    X = sparse.random_array((ROWS, COLUMNS), density=0.4, format="csr", rng=np.random.default_rng(0))
    return kind(max_iter=2, tol=None, random_state=0, **more).fit(X, y)


@refusable
def predict_case(case):
    """Predict for a damaged matrix; what is accepted must be answered as for what it shows."""
    rng = np.random.default_rng(case)
    X, model = matrix(rng), fitted(pick(rng, KINDS))
    for _ in range(rng.integers(1, 3)):
        damage(X, rng)
    methods = [name for name in ("predict", "predict_proba", "decision_function", "score") if hasattr(model, name)]
    method = pick(rng, methods)
    if method == "score":
        model.score(X, CLASSES if hasattr(model, "classes_") else TARGETS)
        return
    answer = getattr(model, method)(X)
    if X.format == "csr":
        expected = getattr(model, method)(shown(X))
        assert answer.shape == expected.shape
        assert np.allclose(answer, expected, rtol=1e-3, atol=1e-4), (answer, expected)


# Model files.


FOLDER = tempfile.TemporaryDirectory(prefix="gdfast-fuzz-")  # goes when the process ends


@cache
def workshop():
    """Return a folder with data, and a model of each kind: trained once for each process."""
    folder = Path(FOLDER.name)
    rng = np.random.default_rng(0)
    lines = [f"{i % 3},{rng.random():.3f},{'SML'[i % 3]},{['good', 'bad'][i % 2]} thing {i}" for i in range(60)]
    (folder / "a.csv").write_text("\n".join(["y,x,size,note", *lines]))
    (folder / "a.svm").write_text("\n".join(f"{i % 2} 1:{i} {2 + i % 7}:1" for i in range(60)))
    for i, (file, model, options) in enumerate(MODELS):
        made = Settings(target="y" if file == "a.csv" else None, model=model, epochs=1, test_size=0.0, **options)
        fit(prepare(str(folder / file), made)).save(folder / f"{i}.safetensors")
    return folder


MODELS = [
    ("a.csv", "linear", {"text": ["note"], "analyzer": "word"}),
    ("a.csv", "linear", {"drop": ["note"]}),
    ("a.csv", "mlp", {"drop": ["note"], "hidden": "3"}),
    ("a.csv", "mlp", {"drop": ["note"], "hidden": "3", "task": "regression"}),
    ("a.csv", "linear", {"drop": ["note"], "task": "regression"}),
    ("a.svm", "linear", {}),
    ("a.svm", "mlp", {"hidden": "2,2"}),
]
JUNK = [
    None,
    True,
    -1,
    0,
    1,
    2**40,
    1.5,
    float("nan"),
    "",
    "y",
    "softmax",
    "logistic",
    "GDRegressor",
    [],
    {},
    [[]],
    ["a"],
]


def places(node, path=()):
    """The paths of all that is in some plain data."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def change(data, rng):
    """Change one thing in a model's plain data: leave it out, or put something else in its place."""
    every = [path for path in places(data) if path[0] != "about"]
    path = pick(rng, every)
    holder, value = at(data, path[:-1]), at(data, path)
    if rng.random() < 0.1:
        del holder[path[-1]]
    elif isinstance(value, np.ndarray) and rng.random() < 0.7:
        holder[path[-1]] = other_array(value, rng)
    elif rng.random() < 0.3:
        holder[path[-1]] = copy.deepcopy(at(data, pick(rng, every)))
    else:
        holder[path[-1]] = copy.deepcopy(pick(rng, [*JUNK, *NUMBERS, np.zeros(3), np.zeros((2, 2)), np.arange(2)]))


def changed_bytes(content, rng):
    at_byte, gone = rng.integers(len(content)), rng.integers(40)
    return content[:at_byte] + rng.bytes(rng.integers(40)) + content[at_byte + gone :]


def run(model, data, out):
    """Run ``gdfast predict``: exit code 0 with predictions, or 2 with one sentence; nothing else."""
    said = io.StringIO()
    out.unlink(missing_ok=True)
    try:
        with contextlib.redirect_stderr(said):
            code = main(["predict", str(model), str(data), "--out", str(out), "--quiet"])
    except (ValueError, TypeError) as error:
        raise AssertionError("a traceback instead of a sentence") from error
    assert code in (0, 2)
    assert out.exists() == (code == 0)
    assert code == 0 or said.getvalue().count("\n") == 1, said.getvalue()
    return code


@refusable
def model_case(case):
    """Predict by a model file that is damaged: in its bytes, or in what it says under a checksum that is right."""
    rng = np.random.default_rng(case)
    folder, number = workshop(), rng.integers(len(MODELS))
    whole, damaged, out = folder / f"{number}.safetensors", folder / "damaged.safetensors", folder / "p.csv"
    if rng.random() < 0.2:
        content = whole.read_bytes()
        damaged.write_bytes(changed_bytes(content, rng))
        code = run(damaged, folder / MODELS[number][0], out)
        assert code == 2 or damaged.read_bytes() == content
        return
    data = read_data(whole, KIND)
    for _ in range(rng.integers(1, 3)):
        change(data, rng)
    write_data(damaged, KIND, data)
    run(damaged, folder / MODELS[number][0], out)


TOKENS = [
    "1",
    "0",
    "-1",
    ":",
    " ",
    "\n",
    "#",
    "qid:1",
    "2:1",
    "7:2.5",
    "1e400",
    "nan",
    "2147483646:1",
    "4294967297:1",
    ",",
]


@refusable
def svmlight_case(case):
    """Train on, or predict for, lines that may be svmlight."""
    rng = np.random.default_rng(case)
    folder = workshop()
    file = folder / "b.svm"
    file.write_text("1 1:1\n" + " ".join(pick(rng, TOKENS) for _ in range(rng.integers(1, 20))))
    run(folder / f"{pick(rng, [5, 6])}.safetensors", file, folder / "p.csv")


CASES = {fit_case: 900, predict_case: 1500, model_case: 400, svmlight_case: 200}


@pytest.mark.parametrize(("function", "cases"), CASES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_fuzz(function, cases):
    failures = run_cases(function, cases_wanted(cases))
    assert not failures, "\n".join(failures)
