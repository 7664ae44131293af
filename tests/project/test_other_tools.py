"""The examples of the page on other tools, each in a process of its own, where its libraries are installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "other-tools.md"
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.M))
TOOLS = ["torch", "thinc", "skorch", "lightning", "transformers", "accelerate", "optuna", "autograd", "jax"]
TOOLS += ["mlflow", "keras"]


def test_every_section_has_an_example():
    assert list(EXAMPLES) == re.findall("^## (.+)", PAGE.read_text(), re.M)[:-1]


@pytest.mark.parametrize("section", EXAMPLES)
def test_example_runs(section, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # keras cannot be imported without the backend that is chosen
    code = EXAMPLES[section]
    for tool in TOOLS:
        if re.search(rf"^(import|from) {tool}\b", code, re.M):
            pytest.importorskip(tool, exc_type=ImportError)
    if "sqlite:" in code:  # which the small package of mlflow leaves to SQLAlchemy
        pytest.importorskip("sqlalchemy")
    run = [sys.executable, "-W", "ignore", "-c", "import sys; exec(compile(sys.stdin.read(), 'example', 'exec'))"]
    done = subprocess.run(run, input=code, capture_output=True, text=True, timeout=500, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
