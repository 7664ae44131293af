"""Linear estimators on two Dask workers, rows sorted by class: `python -m benchmarks.dask_workers [--quick] --out DIR`.

Each worker is a process with one thread and holds the rows of one class. The score on rows held out is compared with
that of the same estimator in this process, on the same sorted rows.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

from benchmarks import results, tables
from gdfast.sklearn import GDClassifier

ROWS, QUICK_ROWS, COLUMNS, WORKERS = 200_000, 8_000, 50, 2


def rows_of(n: int) -> tuple[Any, ...]:
    """Return rows to train on, sorted by class, and rows held out: X, X held out, y, y held out."""
    X, y = make_classification(n, COLUMNS, n_informative=20, flip_y=0.1, random_state=0)
    A, B, a, b = train_test_split(X.astype(np.float32), y, test_size=0.25, random_state=0)
    order = np.argsort(a, kind="stable")
    return A[order], B, a[order], b


def measure(n: int) -> results.Figures:
    """Fit in this process and on the workers."""
    import dask.array as da
    from distributed import Client, LocalCluster

    import gdfast.dask

    A, B, a, b = rows_of(n)
    start = time.perf_counter()
    alone = GDClassifier(random_state=0).fit(A, a)
    seconds = {"one process": time.perf_counter() - start}
    half = -(-len(A) // WORKERS)
    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        X, y = (client.persist(found) for found in (da.from_array(A, chunks=(half, -1)), da.from_array(a, chunks=half)))
        start = time.perf_counter()
        model = gdfast.dask.GDClassifier(random_state=0).fit(X, y)
        seconds[f"{WORKERS} workers"] = time.perf_counter() - start
        local = model.to_local()
    scores = {"one process": alone.score(B, b), f"{WORKERS} workers": local.score(B, b)}
    return {
        "rows": len(A),
        "scores": scores,
        "seconds": seconds,
        "score_off": abs(scores["one process"] - scores[f"{WORKERS} workers"]),
    }


def main(
    quick: Annotated[bool, typer.Option(help="Few rows.")] = False,
    out: Annotated[Path, typer.Option(help="The folder of the table.")] = Path("results"),
) -> None:
    """Compare the scores."""
    facts = tables.head("quick" if quick else "full", 1)
    found = measure(QUICK_ROWS if quick else ROWS)
    rows = [[who, f"{found['seconds'][who]:.2f}", f"{score:.4f}"] for who, score in found["scores"].items()]
    parts = [__doc__.split("\n\n")[1].strip(), tables.table(["fit", "seconds", "held-out score"], rows)]
    print(results.write(out, "dask_workers", "Sorted rows on two workers", facts, parts, found))


if __name__ == "__main__":
    typer.run(main)
