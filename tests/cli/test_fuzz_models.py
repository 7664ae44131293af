"""Model files under right checksums whose contents were changed at random: every command refuses or answers them."""

import contextlib
import copy
import functools
import io
import os
import tempfile
import warnings
from pathlib import Path

import fuzzing
import numpy as np
import pandas as pd

from gdfast.__main__ import main
from gdfast.checkpoint.plain import read_data, write_data
from gdfast.cli.model import KIND
from gdfast.cli.settings import Settings
from gdfast.cli.training import train

MODELS = {
    "classes": {"target": "kind", "keep": ["n"]},
    "two": {"target": "mark", "drop": ["note"], "category": ["n"]},
    "numbers": {"target": "price", "drop": ["note"]},
    "network": {"target": "kind", "drop": ["note"], "model": "mlp", "hidden": "3"},
    "price": {"target": "price", "model": "mlp", "hidden": "3,2", "text": ["note"]},
}
VALUES = (
    None, True, False, 0, 1, -1, 2**70, 0.5, -2.5, float("nan"), float("inf"), "", "x", "kind", "\ud800", [], {}, [1],
    {"x": 1}, np.zeros(0), np.zeros(3), np.ones((3, 2)), np.zeros((2, 2, 2)), np.ones(4, int), np.array([True]),
    np.array(1.0), np.full(3, np.nan), 1e308, "GDRegressor", "GDClassifier", "MLPRegressor", "linear", [[]],
)  # fmt: skip


@functools.cache
def folder() -> tempfile.TemporaryDirectory:
    """Return a folder with data and a model of each kind, removed with the process."""
    made = tempfile.TemporaryDirectory()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(60), "n": rng.integers(0, 4, 60), "size": rng.choice(["S", "M"], 60)})
    frame["day"] = pd.date_range("2026-01-01", periods=60).strftime("%Y-%m-%d")
    frame["note"] = [f"{word} thing" for word in rng.choice(["good", "bad"], 60)]
    frame["kind"], frame["mark"] = rng.choice(list("xyz"), 60), rng.random(60) < 0.5
    frame["price"] = 3 * frame["a"] + rng.random(60)
    frame.to_csv(f"{made.name}/a.csv", index=False)
    for name, options in MODELS.items():
        train(f"{made.name}/a.csv", Settings(**options, epochs=1, quiet=True), Path(made.name) / name)
    return made


def places(data, way=()):
    """Return the ways to all that is in this data."""
    found = [way] if way else []
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return found + [place for key, value in items for place in places(value, (*way, key))]


def changed_array(rng, array):
    """Return an array that differs in values, shape or type."""
    flat = array.astype(float).reshape(-1)
    if len(flat) and rng.random() < 0.5:
        flat[rng.integers(len(flat))] = rng.choice([np.nan, np.inf, -np.inf, 0, -1, 1e308, 1e-320])
        return flat.reshape(array.shape).astype(array.dtype if array.dtype.kind == "f" else float)
    kinds = [array.T, array[..., None], array[:-1], flat, flat * 0, -array, array.astype(np.float32)]
    kinds += [array.astype(np.int64), np.concatenate([array, array]), array > 0]
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(kinds[rng.integers(len(kinds))])


def mutate(rng, data):
    """Change one thing in the data."""
    ways = places(data)
    *way, last = ways[rng.integers(len(ways))]
    owner = functools.reduce(lambda node, key: node[key], way, data)
    value, kind = owner[last], rng.integers(5)
    if kind == 0:
        del owner[last]
    elif kind == 1 and isinstance(owner, list):
        owner.insert(last, copy.deepcopy(value))
    elif kind == 2:
        other = functools.reduce(lambda node, key: node[key], ways[rng.integers(len(ways))], data)
        owner[last] = copy.deepcopy(other)
    elif kind == 3 and isinstance(value, np.ndarray) and value.ndim:
        owner[last] = changed_array(rng, value)
    else:
        owner[last] = VALUES[rng.integers(len(VALUES))]


def model_case(seed: int) -> None:
    """Change a model's contents once to three times, and try each command on it."""
    rng, data_file = np.random.default_rng(seed), f"{folder().name}/a.csv"
    name = list(MODELS)[rng.integers(len(MODELS))]
    data = read_data(f"{folder().name}/{name}/model.safetensors", KIND)
    for _ in range(rng.integers(1, 4)):
        mutate(rng, data)
    with tempfile.TemporaryDirectory() as there:
        model, out = f"{there}/model.safetensors", f"{there}/p.csv"
        write_data(model, KIND, data)
        go_on = ["train", data_file, "--continue", model, "--epochs", "1", "--missing", "fill", "--out", f"{there}/m"]
        answered(["show", model])
        written = answered(["predict", model, data_file, "--out", out]) == 0
        assert os.path.exists(out) == written
        if written or seed % 10 == 0:
            answered(["evaluate", model, data_file])
            trained = answered(go_on) == 0
            assert os.path.exists(f"{there}/m") == trained
        if written:
            frame = pd.read_csv(out, keep_default_na=False)
            numbers = frame.select_dtypes("number")
            assert len(frame) == 60
            assert np.isfinite(numbers.to_numpy(float)).all()
            assert "nan" not in frame.astype(str).to_numpy()


def answered(command: list[str]) -> int:
    """Run a command, which must succeed, or say in one sentence why not; return its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")
        code = main(command)
    assert code in (0, 2), (command, code)
    if code:
        said = err.getvalue().rstrip("\n")
        assert said.startswith("gdfast: "), said
        assert out.getvalue() == ""
        assert "\n" not in said or "column" in said, said
    return code


def test_changed_model_files():
    assert fuzzing.run_cases(model_case, fuzzing.cases_wanted(40)) == []
