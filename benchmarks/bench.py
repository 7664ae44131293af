"""What the pytest-benchmark suites share."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from benchmarks.peers import entered
from benchmarks.workloads import Workload

Step = Callable[[], None]


def cases(works: Iterable[Workload], names: Sequence[str] | None = None) -> list[Any]:
    """Return one case for every workload and contender that has its rule, with a readable id."""
    return [
        pytest.param(work, contender, id=f"{work.label}-{contender}".replace(", ", "-").replace(" ", "_"))
        for work in works
        for contender in entered(work.rule)
        if names is None or contender.name in names
    ]
