"""The three first pages: what they show runs, in order, as a newcomer types it."""

import re
from pathlib import Path

import pytest

from gdfast.__main__ import main

DOCS = Path(__file__).parents[2] / "docs"


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def python_of(name: str) -> str:
    return "".join(re.findall(r"```python\n(.*?)```", text_of(name), re.DOTALL))


def test_a_table_of_data(tmp_path, monkeypatch, capsys):
    for package in ("pandas", "sklearn", "typer", "matplotlib", "safetensors"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|text)?\n(.*?)```", text_of("start-table.md"), re.DOTALL)
    names: dict[str, object] = {}
    commands, shown = [], ""
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, "start-table.md", "exec"), names)
        elif kind == "text":
            assert block in shown
        else:
            for line in block.splitlines():
                commands.append(line)
                assert main(line.split()[1:]) == 0, line
                shown = capsys.readouterr().out
    assert [line.split()[1] for line in commands] == ["train", "predict", "evaluate", "show", "train"]
    assert {"flats-model", "flats-network", "predicted.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_numpy_code(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(python_of("start-numpy.md"), "start-numpy.md", "exec"), names)
    assert names["opt"].step_count == 2


def test_a_pytorch_program(tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(python_of("start-pytorch.md"), "start-pytorch.md", "exec"), names)
    assert isinstance(names["plain"], torch.optim.AdamW)
    assert "ms a step" in capsys.readouterr().out
