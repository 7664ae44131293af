"""The README's examples run, and its commands and paths are there."""

import re
from pathlib import Path

import numpy as np

import gdfast

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) == 4
    names: dict[str, object] = {}
    exec(compile("".join(examples), "README.md", "exec"), names)
    assert isinstance(names["opt"], gdfast.AdamW)
    assert isinstance(names["w"]["coef"], np.ndarray)


def test_links_and_paths_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
    for path in re.findall(r"^((?:src|gdfast)/\S+)", README, re.MULTILINE):
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
    assert reference.RULES.keys() | reference.SETTING.keys() | reference.LAYERWISE.keys() == rules | around
    assert {rule for rule in isa.rules.TABLE if not rule.startswith("limit_")} == rules | around
