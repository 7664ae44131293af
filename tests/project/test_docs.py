"""The page of rules is what the classes say."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_rules.py"))


def test_the_page_of_rules_is_current():
    written = (DOCS / "rules.md").read_text(encoding="utf-8")
    assert written == SCRIPT["page"](), "run: python docs/make_rules.py"


@pytest.mark.parametrize("cls", SCRIPT["optimizers"](), ids=lambda cls: cls.__name__)
def test_every_option_is_described(cls):
    described = SCRIPT["sections"](cls)["Parameters"]
    for name in cls.own_specs:
        assert any(name in line.partition(" : ")[0].split(", ") for line in described.splitlines()), name
