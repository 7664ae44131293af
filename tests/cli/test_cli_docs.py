"""The page on the command line: its code runs, its commands and options are there."""

import re
from pathlib import Path

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
