"""The examples of the page on estimators run."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text(encoding="utf-8")


def test_examples_run():
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) >= 3
    exec(compile("".join(examples), "estimators.md", "exec"), {})
