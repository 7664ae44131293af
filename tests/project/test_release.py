"""What a release says of itself agrees, and its workflow calls commands that are there.

`GDFAST_TAG=v1.2.3`, which `make release-check TAG=v1.2.3` sets, asks whether the tree is that release.
"""

import os
import re
import tomllib
from pathlib import Path

import pytest

import gdfast

ROOT = Path(__file__).parents[2]
if not (ROOT / "CITATION.cff").exists():
    pytest.skip("the tests run away from the source tree", allow_module_level=True)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


VERSION, WHEN = re.search(r"^## (\S+) \((.+)\)$", text_of("CHANGELOG.md"), re.MULTILINE).groups()
CITATION = dict(re.findall(r'^([\w-]+): "?([^"\n]+)"?$', text_of("CITATION.cff"), re.MULTILINE))


def test_version_changes_and_citation_agree():
    assert VERSION == gdfast.__version__ == CITATION["version"]
    assert CITATION["license"] == tomllib.loads(text_of("pyproject.toml"))["project"]["license"]


def test_the_date_is_that_of_the_changes():
    assert WHEN == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", WHEN)
    assert CITATION.get("date-released", "unreleased") == WHEN


def test_the_tag_is_this_version():
    tag = os.environ.get("GDFAST_TAG")
    if not tag:
        pytest.skip("no tag is asked for")
    assert tag == f"v{VERSION}"
    assert WHEN != "unreleased"


def test_the_workflow_calls_commands_that_are_there():
    targets = re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)
    called = re.findall(r"run: make ([\w-]+)", text_of(".github/workflows/release.yml"))
    assert {"test", "linkcheck", "release-check", "all-wheels"} == set(called)
    described = re.findall(r"^\| `make ([\w-]+)", text_of("docs/releasing.md"), re.MULTILINE)
    assert set(called) <= set(described) <= set(targets)


def test_wheels_are_for_the_versions_that_the_package_allows():
    settings = tomllib.loads(text_of("pyproject.toml"))
    first = settings["project"]["requires-python"].removeprefix(">=3.")
    assert settings["tool"]["cibuildwheel"]["build"][0] == f"cp3{first}-*"
    assert "tests/helpers/smoke.py" in settings["tool"]["cibuildwheel"]["test-command"]
