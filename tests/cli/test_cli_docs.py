"""The page on the command line: its code runs, its commands and options are there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from gdfast.__main__ import main
from gdfast.cli import app
from gdfast.tables import reading

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "command-line.md").read_text(encoding="utf-8")


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "20", "--quiet"]) == 0
    names: dict = {}
    exec(compile("".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), "command-line.md", "exec"), names)
    assert (names["predictions"] == reading.read("digits").columns["target"]).mean() > 0.9


def test_the_examples_run(tmp_path, monkeypatch):
    """Every line of a block that is a command, in order, on files of these names."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    flowers = pd.DataFrame({"length": rng.random(90), "species": ["a", "b", "c"] * 30})
    flowers.to_csv("flowers.csv", index=False)
    flowers[:9].to_csv("new.csv", index=False)
    shop = pd.DataFrame({"shop": rng.integers(0, 9, 200), "size": rng.random(200), "price": 3 * rng.random(200)})
    shop.loc[3, "size"] = shop.loc[4, "price"] = None
    shop.to_csv("shop.csv.gz", index=False)
    lines = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 9
    for line in lines:
        assert main(line.split()[1:]) == 0, line


def test_commands_and_options_are_there():
    help_of = {
        name: CliRunner().invoke(app, [name, "--help"], terminal_width=200).stdout
        for name in set(re.findall(r"(?:`|^)gdfast ([a-z-]+)[ `]", PAGE, re.MULTILINE))
    }
    assert all(text.startswith("Usage: ") for text in help_of.values()), help_of
    for option in re.findall(r"--[a-z][a-z-]*", PAGE):
        assert option == "--help" or any(f"{option} " in text for text in help_of.values()), option


def test_every_option_and_format_of_train_is_described():
    shown = CliRunner().invoke(app, ["train", "--help"], terminal_width=200).stdout
    for option in set(re.findall(r"--[a-z][a-z-]*", shown)) - {"--help", "--quiet"}:
        assert option in PAGE, option
    for name in (*reading.READERS, *reading.BUNDLED):
        assert f"`{name}`" in PAGE, name
