"""The code of docs/dask.md."""

import re
from pathlib import Path

import pytest

pytest.importorskip("distributed")

PAGE = Path(__file__).parents[2] / "docs" / "dask.md"


def test_the_code_of_the_page_runs():
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    assert code
    exec(compile(code, "dask.md", "exec"), {})
