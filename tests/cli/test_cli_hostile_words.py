"""Words of the data that mean something to a library: dollars are no mathematics in a picture."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", [["$a_$", "$b^$"], ["up to $10", "$10 to $20"], ["\\frac$", "$\\$"]])
def test_dollars_in_classes_and_columns(words, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.random(60), "pay $x_$": rng.random(60)})
    frame["class"] = np.where(frame.x > 0.5, *words)
    frame.to_csv("a.csv", index=False)
    run(capsys, "train", "a.csv", "--target", "class", "--out", "classes")
    run(capsys, "train", "a.csv", "--target", "pay $x_$", "--drop", "class", "--out", "$n_$")
    run(capsys, "plot", "losses", "$n_$")
    assert Path("losses.png").read_bytes()[:4] == Path("classes/curve.png").read_bytes()[:4] == b"\x89PNG"
