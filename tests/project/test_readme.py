"""The README's examples run, and its commands and paths are there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gdfast.__main__ import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(example: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    return names


def test_the_numpy_example_fits():
    names = run(EXAMPLES[0])
    np.testing.assert_allclose(names["w"], [1.0, -2.0, 0.5], atol=1e-3)
    assert names["opt"].step_count == 500


def test_the_pytorch_example_is_one_import():
    torch = pytest.importorskip("torch")
    assert issubclass(run(EXAMPLES[1])["AdamW"], torch.optim.AdamW)
    assert len(EXAMPLES) == 2


def test_the_command_for_a_table_trains(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    arguments = re.search(r"^gdfast (train .*)$", README, re.MULTILINE)[1].split()
    rows = [("cheap pills, buy now", "yes"), ("lunch at noon?", "no")] * 50
    pandas.DataFrame(rows, columns=["text", "spam"]).to_csv("messages.csv", index=False)
    assert main([*arguments, "--quiet"]) == 0
    assert (tmp_path / "messages-model" / "model.safetensors").exists()


def test_three_readers_find_their_way_in_the_first_screen():
    screen = "\n".join(README.splitlines()[:45])
    for start in ("gdfast train ", "opt = gdfast.", "from gdfast.torch import "):
        assert f"\n{start}" in screen


def test_paths_are_there():
    paths = re.findall(r"^((?:src|gdfast)/\S+)", README, re.MULTILINE)
    assert len(paths) == 3
    for path in paths:
        assert (ROOT / path).exists(), path


def test_commands_are_there():
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^make (\S+)", README, re.MULTILINE)
    assert commands == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_add_a_rule_in_three_places():
    """Every rule has its loop, its class and its function; nothing else names it but the tests' table."""
    from cases import CASES, MATRICES

    from gdfast import reference
    from gdfast.engine import isa

    made = [case.make(np.zeros(1)) for case in CASES] + [case.make(np.zeros((1, 1))) for case in MATRICES]
    rules = {rule for opt in made for rule in opt.rules}
    around = {"lookahead"}  # goes around all of them; test_lookahead
    assert {entry.rule for opt in made for entry in opt._layout.entries} == rules
    assert reference.RULES.keys() | reference.FULL_UPDATE.keys() | reference.LAYERWISE.keys() == rules | around
    assert {rule for rule in isa.rules.TABLE if not rule.startswith("limit_")} == rules | around
