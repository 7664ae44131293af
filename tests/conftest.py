"""Fixtures that every test may use."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

# More threads than CPUs spin against one another otherwise. Read by OpenMP when the engine is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from hypothesis import settings

import gdfast
from gdfast.engine import isa, threads

settings.register_profile("any machine", deadline=None)  # a slow machine is no failure
settings.load_profile("any machine")


@pytest.fixture
def use_level(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make optimizers that are made from now on run at an instruction-set level."""

    def use(level: str) -> None:
        monkeypatch.setattr(isa, "rules", isa.choose(level))

    return use


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[gdfast.Optimizer, int], None]:
    """Make an optimizer share even the smallest work among so many threads, whatever the machine."""
    monkeypatch.setattr(threads, "available_cpus", lambda: 8)

    def share(opt: gdfast.Optimizer, n_threads: int) -> None:
        opt.n_threads = n_threads
        opt._engine.most_parts = n_threads

    return share


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let SIGINT interrupt this process, and those that it starts, also where the tests run in the background.

    A shell starts what it runs in the background with the signal ignored, and children inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


#: programs that type checkers read, and that need PyTorch to be imported
collect_ignore_glob = ["project/typed/*"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests: the last of them would keep one process while the others have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Let no file of tests be passed over because it cannot be imported, as pytest does with those for doctests."""
    if report.skipped and report.nodeid.startswith("tests/") and "unable to import module" in str(report.longrepr):
        raise ImportError(f"{report.nodeid} cannot be imported")
