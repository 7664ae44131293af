"""Tasks on a cluster: one for each partition, results combined in the order of partitions, and a limit of time."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

import distributed
from dask.delayed import delayed

FAN_IN = 16  # results that one task combines; the tree depends on the number of partitions alone


class Cluster:
    """A client's cluster.

    Parameters
    ----------
    client : distributed.Client or None
        None: the client in use.
    timeout : float or None
        Seconds that a result may take.

    Raises
    ------
    TypeError, ValueError
        If there is no client, or it is asynchronous.
    """

    def __init__(self, client: Any, timeout: float | None) -> None:
        if client is None:
            try:
                client = distributed.get_client()
            except ValueError as error:
                raise ValueError("gdfast.dask needs a distributed.Client: there is none, and client is None") from error
        if not isinstance(client, distributed.Client) or client.asynchronous:
            raise TypeError(f"client must be a distributed.Client that is not asynchronous; got {client!r}")
        self._client, self._timeout = client, timeout

    def compute(self, function: Callable[..., Any], parts: Sequence[tuple[Any, ...]], *arguments: Any) -> list[Any]:
        """Return futures of ``function(number, *part, *arguments)`` for delayed parts; these tasks load rows."""
        task, shared = delayed(function, pure=False), [delayed(value, pure=False) for value in arguments]
        futures: list[Any] = self._client.compute([task(i, *part, *shared) for i, part in enumerate(parts)])
        return futures

    def share(self, value: Any) -> Any:
        """Return a future of a value: workers take it from each other, and it is made again if they are lost."""
        return self._client.submit(_same, value, pure=False)

    def each(self, function: Callable[..., Any], parts: Sequence[Any], *arguments: Any) -> list[Any]:
        """Return futures of ``function(part, *arguments)``."""
        return [self._client.submit(function, part, *arguments, pure=False) for part in parts]

    def combined(self, function: Callable[..., Any], futures: Sequence[Any]) -> Any:
        """Return what `function` makes of the results, 16 neighbours at a time."""
        level = list(futures)
        while len(level) > 1:
            level = [
                self._client.submit(function, level[at : at + FAN_IN], pure=False)
                for at in range(0, len(level), FAN_IN)
            ]
        return self._gather(level, futures)[0]

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Return the results in their order; of several errors the first one is raised."""
        return self._gather(list(futures), futures)

    def _gather(self, futures: list[Any], of_partitions: Sequence[Any]) -> list[Any]:
        try:
            distributed.wait(futures, timeout=self._timeout)
            for future in futures:
                if future.status == "error":
                    future.result()
            found: list[Any] = self._client.gather(futures)
            return found
        except TimeoutError as error:
            late = [i for i, future in enumerate(of_partitions) if future.status == "pending"]
            message = f"no result within timeout={self._timeout:g} s: {self._where(of_partitions)}; tasks left: {late}"
            self._client.cancel([*futures, *of_partitions])
            raise TimeoutError(message) from error
        except CancelledError as error:
            raise RuntimeError(
                "data of the fit are lost or cancelled, and no task makes them again: a worker that held scattered "
                "data has ended, or the cluster was restarted"
            ) from error

    def _where(self, partitions: Sequence[Any]) -> str:
        """Say which workers are busy."""
        keys = {future.key for future in partitions if future.status == "pending"}
        processing = self._client.processing()
        ours = [worker for worker, tasks in processing.items() if keys & set(tasks)]
        workers = ours or [worker for worker, tasks in processing.items() if tasks]
        if not workers:
            return f"none of the cluster's {len(processing)} workers has taken the work up"
        return f"waiting for {', '.join(sorted(workers))}"


def _same(value: Any) -> Any:
    return value
