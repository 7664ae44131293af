"""The pages of the documentation: every page is listed, every link leads somewhere, and all code runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEMPLATES = DOCS / "site"  # of the documentation site; `make docs` checks them
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent != TEMPLATES),
]
#: pages whose code needs more than to be run top to bottom: each has a test of its own, which names it
OWN_TEST = {
    "README.md",
    "checkpoints.md",
    "command-line.md",
    "dask.md",
    "estimators.md",
    "lab.md",
    "mpi.md",
    "other-tools.md",
    "own-estimators.md",
    "start-numpy.md",
    "start-pytorch.md",
    "start-table.md",
    "torch.md",
    "watching.md",
}
LINK = r"\[([^\[\]]+)\]\(([^()\s]+)\)"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_of(page: Path) -> str:
    return "".join(re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL))


def title_of(page: Path) -> str:
    return text_of(page).partition("\n")[0].removeprefix("# ")


def anchors_of(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def relative(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    for _, target in re.findall(LINK, prose):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors_of(there), target


def entries(index: Path) -> list[tuple[str, Path, str]]:
    """Return title, page and description of each entry of an index, whose lines may be wrapped."""
    found = re.findall(rf"^- {LINK}: (\S.*?)(?=\n- |\n\n|\Z)", text_of(index), re.MULTILINE | re.DOTALL)
    return [(title, (index.parent / target).resolve(), description) for title, target, description in found]


@pytest.mark.parametrize(
    ("index", "pages"),
    [
        (DOCS / "README.md", [*DOCS.glob("*.md"), *(DOCS / "report").glob("*.md"), DOCS / "decisions" / "README.md"]),
        (DOCS / "decisions" / "README.md", [*(DOCS / "decisions").glob("*.md")]),
    ],
    ids=["docs", "decisions"],
)
def test_an_index_lists_every_page_once_with_a_sentence(index, pages):
    listed = entries(index)
    assert len(listed) == text_of(index).count("\n- ")
    assert sorted(page for _, page, _ in listed) == sorted(set(pages) - {index})
    assert all(description.rstrip().endswith(".") for _, _, description in listed)


def test_the_index_of_decisions_has_their_titles():
    for title, page, _ in entries(DOCS / "decisions" / "README.md"):
        assert title == title_of(page)


def test_every_page_is_in_a_folder_that_is_listed():
    assert {relative(page.parent) for page in PAGES[4:]} == {"docs", "docs/decisions", "docs/report"}


@pytest.mark.parametrize("name", sorted(OWN_TEST))
def test_pages_that_are_not_run_here_have_a_test_of_their_own(name):
    tests = [test for test in (ROOT / "tests").rglob("test_*.py") if test != Path(__file__)]
    assert any(f'"{name}"' in text_of(test) and "exec(" in text_of(test) for test in tests)


@pytest.mark.parametrize("page", [page for page in PAGES if code_of(page) and page.name not in OWN_TEST], ids=relative)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    for package in ("safetensors", "scipy", "sklearn"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of(page), page.name, "exec"), {})
