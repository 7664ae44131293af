"""BLAS with one thread while tasks run: its bits depend on the number, and a worker has several tasks at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from gdfast.sklearn._native_loops import limited_blas

_lock, _limit = Lock(), ExitStack()
_users = 0


@contextmanager
def one_blas_thread(needed: bool) -> Iterator[None]:
    """Limit BLAS to one thread until the last task of this process has left."""
    global _users
    if not needed:
        yield
        return
    with _lock:
        if not _users:
            _limit.enter_context(limited_blas(True))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limit.close()
