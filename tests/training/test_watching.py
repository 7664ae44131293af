"""The page about watching a training: its code runs, and the script makes its pictures."""

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("safetensors")

from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "watching.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    names: dict = {}
    exec(compile(code, "watching.md", "exec"), names)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == set(re.findall(r'"([\w-]+\.\w+)"', code))
    assert names["about"]["epoch"] == names["best"].best_epoch
    assert names["model"].score(names["X"], names["y"]) > 0.95


def test_the_pictures_are_made_as_they_are_there(tmp_path):
    for path in runpy.run_path(str(DOCS / "make_pictures.py"))["main"](tmp_path):
        with Image.open(path) as made, Image.open(DOCS / "pictures" / path.name) as there:
            assert (made.format, made.size) == (there.format, there.size)
