"""Rows beyond memory: memory and rate of a fit on Parquet, beside reading alone; a click log beside vowpal wabbit.

    python -m benchmarks.streams [--quick] [--gigabytes 10] [--folder /tmp/rows] [--out DIR]

Without `--folder` the data are made in a temporary folder; `--quick`: 0.1 gigabytes, one round. Each contender runs in
a process of its own, whose peak of memory is that of the fit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import results, tables

COLUMNS, GROUP = 100, 100_000
LEVELS = (10, 50, 200, 1_000, 5_000, 20_000, 50_000, 100_000)
CLICKS, HELD_OUT = 240_000, 60_000
PEER = "clicks, vowpal wabbit"


def make_rows(path: Path, gigabytes: float) -> None:
    """Write float32 columns and a target that depends on them, a row group at a time."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    weights = rng.standard_normal(COLUMNS).astype(np.float32)
    names = [f"x{i}" for i in range(COLUMNS)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int8())])
    with parquet.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for _ in range(max(1, round(gigabytes * 1e9 / (4 * COLUMNS * GROUP)))):
            X = rng.standard_normal((GROUP, COLUMNS), np.float32)
            y = (X @ weights + 5 * rng.standard_normal(GROUP) > 0).astype(np.int8)
            writer.write_table(pa.table([*map(pa.array, X.T), pa.array(y)], schema=schema))


def make_clicks(folder: Path) -> None:
    """Write a click log: categories, each level of which has an effect, and three numbers."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng, n = np.random.default_rng(0), CLICKS + HELD_OUT
    columns, score = {}, np.full(n, -1.2)
    for i, levels in enumerate(LEVELS):
        cells = rng.permutation(levels)[(levels * rng.random(n) ** 2.5).astype(int)]
        columns[f"c{i}"] = cells
        score += 0.6 * rng.standard_normal(levels)[cells]
    for i in range(3):
        columns[f"x{i}"] = rng.standard_normal(n).astype(np.float32)
        score += 0.3 * columns[f"x{i}"]
    columns["y"] = (rng.random(n) < 1 / (1 + np.exp(-score))).astype(np.int8)
    table = pa.table(columns)
    parquet.write_table(table.slice(0, CLICKS), folder / "clicks.parquet", row_group_size=60_000)
    csv.write_csv(table.slice(0, CLICKS), folder / "clicks.csv")
    parquet.write_table(table.slice(CLICKS), folder / "held-out.parquet")
    for name, rows in (("clicks.vw", range(CLICKS)), ("held-out.vw", range(CLICKS, n))):
        with open(folder / name, "w") as file:
            file.writelines(
                f"{2 * columns['y'][row] - 1} | "
                + " ".join(f"c{i}_{columns[f'c{i}'][row]}" for i in range(len(LEVELS)))
                + "".join(f" x{i}:{columns[f'x{i}'][row]:.6g}" for i in range(3))
                + "\n"
                for row in rows
            )


def read(folder: Path) -> dict[str, float]:
    """Read the batches and do nothing."""
    from pyarrow import parquet

    with parquet.ParquetFile(folder / "rows.parquet", buffer_size=1 << 16, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            for _ in file.iter_batches(1 << 16, row_groups=[group]):
                pass
    return {}


def fit(folder: Path) -> dict[str, float]:
    """Fit one averaged epoch."""
    from gdfast.sklearn import GDClassifier
    from gdfast.tables import Parquet

    model = GDClassifier(random_state=0).fit(Parquet(folder / "rows.parquet", target="y"))
    return {"loss": model.loss_curve_[-1]}


def clicks(folder: Path, suffix: str) -> dict[str, float]:
    """Fit a click log in one pass, with the choices of ``gdfast train --stream``."""
    from gdfast.cli.streaming import HASHED
    from gdfast.sklearn import GDClassifier
    from gdfast.tables import CSV, Parquet

    categories = [f"c{i}" for i in range(len(LEVELS))]
    make = Parquet if suffix == "parquet" else CSV
    GDClassifier(max_iter=1).fit(np.eye(4), [0, 1, 0, 1])  # what is imported with the first fit
    start = time.perf_counter()
    model = GDClassifier(random_state=0, **HASHED).fit(
        make(folder / f"clicks.{suffix}", target="y", categories=categories)
    )
    seconds = time.perf_counter() - start
    source = Parquet(folder / "held-out.parquet", target="y", categories=categories)
    batches = list(source.open().epoch(0))
    scores = np.concatenate([model.decision_function(batch.X) for batch in batches])
    return {"seconds": seconds, "AUC": _auc(np.concatenate([batch.y for batch in batches]), scores)}


def vowpal_wabbit(folder: Path) -> dict[str, float]:
    """One pass of vowpal wabbit over its own text."""
    from vowpalwabbit import Workspace

    start = time.perf_counter()
    model = Workspace(f"-d {folder}/clicks.vw --loss_function logistic -b 20 --holdout_off --quiet")
    seconds = time.perf_counter() - start
    lines = (folder / "held-out.vw").read_text().splitlines()
    labels = np.array([line.startswith("1") for line in lines])
    return {"seconds": seconds, "AUC": _auc(labels, np.array([model.predict(line) for line in lines]))}


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


CONTENDERS = {
    "read": read,
    "fit": fit,
    "clicks, Parquet": lambda folder: clicks(folder, "parquet"),
    "clicks, CSV": lambda folder: clicks(folder, "csv"),
    PEER: vowpal_wabbit,
}


def run(name: str, folder: Path) -> dict[str, float] | None:
    """Run a contender in a process of its own; None where something is not installed."""
    command = [sys.executable, "-m", "benchmarks.streams", "--folder", str(folder), "--run", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def one(name: str, folder: Path) -> None:
    """Print what a contender took, as JSON."""
    import resource

    start = time.perf_counter()
    found = CONTENDERS[name](folder)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "MB": peak, **found}))


def measure(folder: Path, gigabytes: float, rounds: int) -> dict[str, dict[str, float]]:
    """Make the data where they are not there, and return the best round of each contender that is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rows.parquet").exists():
        make_rows(folder / "rows.parquet", gigabytes)
    if not (folder / "clicks.parquet").exists():
        make_clicks(folder)
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name in CONTENDERS:
            found = run(name, folder)
            if found and (name not in best or found["seconds"] < best[name]["seconds"]):
                best[name] = found
    return best


def figures_of(best: dict[str, dict[str, float]], gigabytes: float) -> results.Figures:
    """Return the figures for the marks of the report."""
    peer = best.get(PEER)
    rows = {
        "rate_over_reading": best["read"]["seconds"] / best["fit"]["seconds"],
        "peak_mb": best["fit"]["MB"],
    }
    figures: results.Figures = {"gigabytes": gigabytes, "best": best, **rows}
    if gigabytes >= 10:
        figures["of_10_gb"] = rows  # what the marks read: with few rows, the imports are most of the time
    for suffix in ("Parquet", "CSV"):
        ours = best[f"clicks, {suffix}"]
        if peer:
            figures[f"clicks_{suffix}_faster"] = peer["seconds"] / ours["seconds"]
            figures[f"clicks_{suffix}_auc_above"] = ours["AUC"] - peer["AUC"]
    return figures


def table(best: dict[str, dict[str, float]]) -> str:
    """Return one line for each contender."""
    rows = [
        [name, f"{found['seconds']:.2f}", f"{found['MB']:.0f}", f"{found['AUC']:.4f}" if "AUC" in found else ""]
        for name, found in best.items()
    ]
    return tables.table(["contender", "seconds", "peak MB", "AUC"], rows)


def main() -> None:
    """Make the data where they are not there, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.1 gigabytes, one round")
    parser.add_argument("--gigabytes", type=float, help="float32 numbers in the Parquet file; 1, or 0.1 with --quick")
    parser.add_argument("--folder", type=Path, help="where the data are made, and kept")
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--out", type=Path, help="the folder of streams.md and streams.json")
    parser.add_argument("--run", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        one(options.run, options.folder)
        return
    gigabytes = options.gigabytes or (0.1 if options.quick else 1.0)
    rounds = options.rounds or (1 if options.quick else 3)
    facts = tables.head("quick" if options.quick else "full", rounds) | {"gigabytes of rows": f"{gigabytes:g}"}
    with tempfile.TemporaryDirectory() as made:
        best = measure(options.folder or Path(made), gigabytes, rounds)
    about = "Each contender in a process of its own; the best of the rounds. `read` and `fit` include the imports."
    figures = figures_of(best, gigabytes)
    print(results.write(options.out, "streams", "Rows beyond memory", facts, [about, table(best)], figures))


if __name__ == "__main__":
    main()
