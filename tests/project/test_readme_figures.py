"""The README's table of steps: its figures are the report's."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))  # `benchmarks` is in the source tree only

from benchmarks import readme  # noqa: E402

REPORT = """
| workload | gdfast | PyTorch at its best | optax | numba | NumPy | share of the limit |
|---|---|---|---|---|---|---|
| adam, 1k, float32, 2 threads (*) | 0.788 µs per step | 50.7× fused | - | 1.006× | 8.53× | 0.31 |
| adam, 100k, float32, 2 threads | 0.175 ns per parameter | 0.885× single | 6.53× | - | 10.7× | 0.7 |

| measurement | gdfast |
|-------------|--------|
| whole step  | gdfast ms 10.43; faster than PyTorch 1.54; faster than optax 3.533; share of limit 1.138 |
| embedding   | gdfast ms 0.0714; faster than PyTorch 5.96 |
"""


def test_the_readme_has_the_figures_of_the_written_report():
    text, report = (ROOT / "README.md").read_text(), (ROOT / "docs" / "report" / "report.md").read_text()
    assert set(readme.STEPS) | set(readme.MEASURED) <= set(re.findall(r"^\| (.+?) \|", text, re.MULTILINE))
    assert readme.with_steps(text, report) == text


def test_rows_of_the_readme_are_filled():
    labels = ["Adam, 1,000 parameters, 2 threads", "Adam, 100,000, 2 threads", *list(readme.MEASURED)[::2], "Other"]
    before = "".join(f"| {label} | old |\n" for label in labels)
    assert readme.with_steps(before, REPORT).splitlines() == [
        "| Adam, 1,000 parameters, 2 threads | 0.79 µs | 51× | | 1.01× | 8.5× | |",
        "| Adam, 100,000, 2 threads | 17.5 µs | 0.89× | 6.5× | | 11× | 0.70 |",
        "| clip to norm, Adam, zero gradients, 16.8M, 2 threads | 10.4 ms | 1.5× | 3.5× | | | 1.14 |",
        "| Adam, 4,096 rows of a table of 1M x 64 | 71.4 µs | 6.0× | | | | |",
        "| Other | old |",
    ]
    with pytest.raises(ValueError, match=r"one row of its table for 'Adam, 1,000 parameters, 2 threads'; it has 0"):
        readme.with_steps("| Other |\n", REPORT)
