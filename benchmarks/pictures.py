"""Two pictures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Measured
from benchmarks.workloads import ALL, RULES, threads_text

# Okabe and Ito's colours, which stay apart for colour-blind eyes; markers say the same again.
STYLES: dict[str, dict[str, Any]] = {
    "gdfast": {"color": "#D55E00", "marker": "o", "linewidth": 2.6, "zorder": 5},
    "PyTorch fused": {"color": "#0072B2", "marker": "s"},
    "PyTorch foreach": {"color": "#0072B2", "marker": "D", "linestyle": "--"},
    "PyTorch single": {"color": "#0072B2", "marker": "v", "linestyle": ":"},
    "optax": {"color": "#009E73", "marker": "^"},
    "numba": {"color": "#CC79A7", "marker": "P"},
    "numba, exact": {"color": "#CC79A7", "marker": "p", "linestyle": "--"},
    "NumPy": {"color": "#E69F00", "marker": "X"},
    "gdfast numpy": {"color": "#999999", "marker": "x", "linestyle": "--"},
    "limit": {"color": "#000000", "linewidth": 1.4, "linestyle": (0, (1, 1))},
}
LABELS = {"gdfast numpy": "gdfast, NumPy engine", "limit": "limit (memory traffic only)"}
ASKED, ASKED_AT = 0.93, "16.8M"  # the share of the limit asked of every rule, and the size
SETTINGS = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 12}


def draw(measured: Sequence[Measured], folder: Path) -> list[Path]:
    """Draw what the run has data for; return the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(SETTINGS):
        return [path for path in (size_picture(measured, folder), limit_picture(measured, folder)) if path]


def size_picture(measured: Sequence[Measured], folder: Path) -> Path | None:
    """Draw the time per parameter of Adam against the number of parameters, for 1 and all threads."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

    panels = {t: _adam(measured, t) for t in sorted({1, ALL})}
    panels = {t: rows for t, rows in panels.items() if rows}
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(5.6 * len(panels), 5.6), sharey=True, squeeze=False)
    for axis, (threads, rows) in zip(axes[0], panels.items(), strict=True):
        for name, style in STYLES.items():
            points = [(m.work.elements, t) for m in rows if (t := _nanoseconds(m, name)) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), label=LABELS.get(name, name), markersize=6, **style)
        axis.set(xscale="log", yscale="log", xlabel="parameters in one float32 array", title=threads_text(threads))
        axis.xaxis.set_major_locator(FixedLocator([10**k for k in range(2, 8)]))
        axis.xaxis.set_major_formatter(FixedFormatter(["100", "1k", "10k", "100k", "1M", "10M"]))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axis.grid(True, which="major", color="#DDDDDD", linewidth=0.8)
        axis.set_axisbelow(True)
    axes[0][0].set_ylabel("time of a step per parameter, ns")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.suptitle("Adam: one step, lower is better", fontsize=14)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    figure.legend(handles, labels, loc="lower center", ncols=5 if len(panels) > 1 else 3, frameon=False, handlelength=3)
    return _save(figure, folder / "adam.png")


def limit_picture(measured: Sequence[Measured], folder: Path) -> Path | None:
    """Draw each rule's share of the limit, at the largest size that every rule was run at."""
    import matplotlib.pyplot as plt

    rows = _every_rule(measured)
    if not rows:
        return None
    names = [m.work.rule for m in rows][::-1]
    shares = [m.share_of_limit or 0.0 for m in rows][::-1]
    figure, axis = plt.subplots(figsize=(8.6, 0.42 * len(rows) + 2.2))
    axis.barh(names, [100 * share for share in shares], color="#0072B2", height=0.68)
    for row, share in enumerate(shares):
        axis.text(1.01, row, f"{100 * share:.0f} %", transform=axis.get_yaxis_transform(), va="center")
    lines = [axis.axvline(100, color="black", linewidth=1.6, label="the limit: memory traffic only")]
    if rows[0].work.shape == ASKED_AT:
        style = {"color": "#E69F00", "linewidth": 1.6, "linestyle": "--"}
        lines.append(axis.axvline(100 * ASKED, label=f"asked: {100 * ASKED:.0f} %", **style))
    axis.set(xlabel="share of the limit, %", xlim=(0, max(110, 105 * max(shares))))
    figure.suptitle(f"How near to the limit: {rows[0].work.shape} float32 parameters, {threads_text(ALL)}", fontsize=13)
    axis.tick_params(axis="y", length=0)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(handles=lines, loc="lower center", ncols=2, frameon=False)
    return _save(figure, folder / "limit.png")


def _adam(measured: Sequence[Measured], threads: int) -> list[Measured]:
    rows = [
        m
        for m in measured
        if (m.work.rule, m.work.dtype, m.work.threads) == ("adam", "float32", threads) and len(m.work.sizes) == 1
    ]
    return sorted(rows, key=lambda m: m.work.elements)


def _every_rule(measured: Sequence[Measured]) -> list[Measured]:
    for shape in ("16.8M", "1M"):
        wanted = [(rule, shape, "float32", ALL) for rule in RULES]
        by_work = {(m.work.rule, m.work.shape, m.work.dtype, m.work.threads): m for m in measured}
        if all(key in by_work for key in wanted):
            return [by_work[key] for key in wanted]
    return []


def _nanoseconds(m: Measured, name: str) -> float | None:
    here = m.best_limit if name == "limit" else name
    return m.nanoseconds(here) if here in m.times else None


def _save(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
