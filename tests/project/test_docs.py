"""The page of rules and the table of losses are what the code declares."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_rules.py"))


def test_the_page_of_rules_is_current():
    written = (DOCS / "rules.md").read_text(encoding="utf-8")
    assert written == SCRIPT["page"](), "run: python docs/make_rules.py"


def test_the_table_of_losses_is_current():
    written = (DOCS / "estimators.md").read_text(encoding="utf-8")
    assert written == runpy.run_path(str(DOCS / "make_losses.py"))["page"](), "run: python docs/make_losses.py"


@pytest.mark.parametrize("cls", SCRIPT["optimizers"](), ids=lambda cls: cls.__name__)
def test_every_option_is_described(cls):
    described = SCRIPT["sections"](cls)["Parameters"]
    for name in cls.own_specs:
        assert any(name in line.partition(" : ")[0].split(", ") for line in described.splitlines()), name
