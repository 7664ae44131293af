"""The code of docs/mpi.md, on real ranks."""

import re
from pathlib import Path

import pytest
import ranks

PAGE = (Path(__file__).parents[2] / "docs" / "mpi.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_block(number: str) -> None:
    exec(compile(BLOCKS[int(number)], "mpi.md", "exec"), {"__name__": "__main__"})


def test_the_first_example() -> None:
    ranks.run(3, run_block, "0")


def test_fewer_bytes() -> None:
    pytest.importorskip("ml_dtypes")
    ranks.run(2, run_block, "1")


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_the_digits(n_ranks: int) -> None:
    pytest.importorskip("sklearn")
    found = re.search(rf"{n_ranks} ranks: test accuracy ([\d.]+)%", ranks.run(n_ranks, run_block, "2"))
    assert found is not None
    assert float(found[1]) > 95
    assert len(BLOCKS) == 3
