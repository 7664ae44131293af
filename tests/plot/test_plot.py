"""Pictures: what is drawn is what was given, with names and axes, on any machine."""

import dataclasses
import importlib
import io
import itertools
import subprocess
import sys

import numpy as np
import pytest

import gdfast
from gdfast import schedules

pytest.importorskip("matplotlib")
from PIL import Image

from gdfast import plot
from gdfast.plot.style import LINES


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def drawn(ax, label):
    (line,) = [line for line in ax.lines if line.get_label() == label]
    return line.get_xdata(), line.get_ydata()


class Fitted:
    loss_curve_ = (4.0, 2.0, 1.0)
    validation_scores_ = None

    def fit(self):
        """As an estimator has."""


class Stopped(Fitted):
    validation_scores_ = (0.5, 0.75, 0.625)


def finding(losses=(2.0, 2.0, 1.5, 1.0, 9.0)):
    losses = np.array(losses)
    return gdfast.training.lr_finder.LRFindResult(np.geomspace(1e-4, 1.0, len(losses)), losses + 0.1, losses, True)


# Losses


def test_losses_of_one():
    ax = plot.losses(Fitted())
    np.testing.assert_array_equal(drawn(ax, "Fitted"), ([1, 2, 3], [4.0, 2.0, 1.0]))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("Epoch", "Training loss", "log")
    assert ax.get_legend() is None
    assert len(ax.figure.axes) == 1
    np.testing.assert_array_equal(drawn(plot.losses([3.0, -1.0]), "loss"), ([1, 2], [3.0, -1.0]))
    assert plot.losses([3.0, -1.0]).get_yscale() == "linear"


def test_losses_of_several_with_scores():
    ax = plot.losses({"one": Fitted(), "two": Stopped(), "three": np.arange(1.0, 60.0)})
    assert labels(ax) == ["one", "two", "three"]
    left, right = ax.figure.axes
    assert left is ax
    assert "Validation score" in right.get_ylabel()
    np.testing.assert_array_equal(drawn(right, "two score"), ([1, 2, 3], [0.5, 0.75, 0.625]))
    best = right.lines[-1]
    assert (best.get_xdata(), best.get_ydata()) == ([2], [0.75])
    assert [line.get_color() for line in ax.lines] == [color for color, _ in LINES[:3]]
    assert [line.get_marker() for line in ax.lines] == ["o", "o", "None"]  # too many epochs for marks


def test_losses_into_given_axes():
    ax = plot.style.make_axes(None)
    assert plot.losses(Stopped(), ax=ax) is ax
    assert drawn(ax.figure.axes[1], "score")


@pytest.mark.parametrize("runs", [{}, [], {"a": []}])
def test_nothing_to_draw(runs):
    with pytest.raises(ValueError, match="at least one loss each"):
        plot.losses(runs)


def test_losses_of_an_estimator_that_is_not_fitted():
    class Unfitted:
        def fit(self):
            """As an estimator has."""

    with pytest.raises(ValueError, match="Unfitted has no loss_curve_ yet"):
        plot.losses(Unfitted())


# The finder


@pytest.mark.parametrize(
    ("curve", "first"),
    [
        ([9.0, 2.0, 1.9, 1.8, 1.7, 1.6], 1),
        ([1.0, 1.0, 1.0], 0),
        ([5.0], 0),
        ([100.0, 90.0, 80.0, 70.0, 60.0], 0),
        ([1e300, np.inf, np.nan, 3.0, 2.0, 1.0], 3),
        ([np.nan, np.nan, np.nan, np.nan], 2),
        ([9.0, 8.0, 7.0, 0.0, 0.0, 0.0], 3),
    ],
)
def test_progress_begins_where_it_matters(curve, first):
    epochs = list(range(1, len(curve) + 1))
    ax = plot.progress(epochs, curve, curve, measure="log loss", best=1)
    assert [list(line.get_xdata()) for line in ax.lines[:2]] == [epochs[first:]] * 2
    assert ax.get_yscale() == "linear"
    assert ax.get_xlabel() == (f"Epoch, from {first + 1} on" if first else "Epoch")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "held out", "kept: epoch 1"]
    ax.figure.savefig(io.BytesIO(), format="png")


def test_progress_of_nothing():
    with pytest.raises(ValueError, match="at least one error"):
        plot.progress([], [])


def test_the_finder():
    found = finding()
    ax = found.plot()
    np.testing.assert_array_equal(drawn(ax, "smoothed"), (found.lrs, found.smoothed))
    np.testing.assert_array_equal(drawn(ax, "each step"), (found.lrs, found.losses))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale()) == ("Learning rate", "Loss", "log")
    for name, lr in found.suggestions.items():
        (x,), (y,) = drawn(ax, f"{name}: {lr:.1e}")
        assert x == lr
        assert 1.0 <= y <= 2.0
    low, high = ax.get_ylim()
    assert low < 1.0 < 2.0 < high < 9.0  # the explosion is cut off


def test_the_finder_where_nothing_falls():
    found = finding([1.0, 1.0, np.nan])
    ax = plot.lr_find(found, ax=plot.style.make_axes(None))
    assert labels(ax) == ["each step", "smoothed"]
    ax.figure.canvas.draw()


# Schedules


def test_schedules():
    cosine, step = schedules.Cosine(0.1, total_steps=20), lambda step: -1.0
    ax = plot.schedules({"cosine": cosine, "constant": step}, 20)
    assert labels(ax) == ["cosine", "constant"]
    np.testing.assert_array_equal(drawn(ax, "cosine"), (range(20), [cosine(i) for i in range(20)]))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Step", "Value")
    assert ax.get_ylim()[0] < -1.0
    assert len({line.get_linestyle() for line in ax.lines[:2]}) == 2


def test_schedules_without_names():
    def warm(step):
        return step

    several = [schedules.Cosine(0.1, total_steps=9), warm, schedules.Cosine(0.2, total_steps=9)]
    assert labels(plot.schedules(several, 9)) == ["Cosine", "warm", "Cosine 2"]
    assert labels(plot.schedules(warm, 3)) == ["warm"]


def test_bad_schedules():
    with pytest.raises(TypeError, match=r"callables step -> float; got 0\.1 for float"):
        plot.schedules([0.1], 3)
    for steps in (0, 1.5, True):
        with pytest.raises(ValueError, match="steps must be an int of at least 1"):
            plot.schedules(lambda step: 1.0, steps)


# Paths


@pytest.mark.parametrize("surface", plot.SURFACES.values(), ids=plot.SURFACES)
def test_gradients_of_the_surfaces(surface):
    """As finite differences say; and the minima are where it is zero and the value least."""
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(-2, 2, (20, 2)):
        h = 1e-6
        by_x = (surface.value(x + h, y) - surface.value(x - h, y)) / (2 * h)
        by_y = (surface.value(x, y + h) - surface.value(x, y - h)) / (2 * h)
        np.testing.assert_allclose(surface.gradient(x, y), (by_x, by_y), rtol=1e-5, atol=1e-5)
    x, y = np.meshgrid(np.linspace(*surface.xlim, 200), np.linspace(*surface.ylim, 200))
    for at in surface.minima:
        np.testing.assert_allclose(surface.gradient(*at), 0.0, atol=1e-12)
        assert surface.value(*at) <= surface.value(x, y).min()


@pytest.mark.parametrize("surface", plot.SURFACES.values(), ids=plot.SURFACES)
def test_what_the_pictures_explain(surface):
    """Every path stays in the picture and ends lower; momentum and Adam get further than plain descent."""
    ends = {}
    for name, make in surface.optimizers.items():
        points = plot.trace(surface, make)
        assert len(points) == surface.steps + 1
        for values, limits in zip(points.T, (surface.xlim, surface.ylim), strict=True):
            assert limits[0] <= values.min()
            assert values.max() <= limits[1]
        ends[name] = surface.value(*points[-1])
        assert ends[name] < surface.value(*surface.start)
    assert max(ends["momentum"], ends["Adam"]) < ends["SGD"]


def test_a_path_is_the_optimizers():
    points = plot.trace("ravine", lambda point: gdfast.SGD(point, lr=0.01), 3)
    w = np.array(plot.SURFACES["ravine"].start)
    for point in points:
        np.testing.assert_array_equal(point, w)
        w = w - 0.01 * np.array([w[0], 40.0 * w[1]])


def test_a_path_ends_where_it_is_not_finite():
    points = plot.trace("beale", lambda point: gdfast.SGD(point, lr=1.0), 100)
    assert len(points) < 20
    assert np.isfinite(points).all()


def own_surface():
    return plot.Surface("Bowl", lambda x, y: x**2 + y**2, lambda x, y: (2 * x, 2 * y), (1.0, 1.0), (-2, 2), (-2, 2))


def test_paths():
    figure = plot.paths("rosenbrock", {"Lion": lambda point: gdfast.Lion(point, lr=0.01)}, steps=20)
    left, right = figure.axes
    assert left.get_title() == "Rosenbrock's valley"
    np.testing.assert_array_equal(np.transpose(drawn(left, "Lion"))[0], plot.SURFACES["rosenbrock"].start)
    surface, (steps, above) = plot.SURFACES["rosenbrock"], drawn(right, "Lion")
    assert len(steps) == 21
    np.testing.assert_allclose(above, surface.value(*drawn(left, "Lion")))
    assert (right.get_xlabel(), right.get_yscale()) == ("Step", "log")
    assert (left.get_xlim(), left.get_ylim()) == (surface.xlim, surface.ylim)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Lion"]


def test_paths_over_a_user_defined_surface():
    figure = plot.paths(own_surface())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SGD", "momentum", "RMSprop", "Adam"]
    filled, lined = figure.axes[0].collections
    levels = np.array(lined.levels)
    np.testing.assert_allclose(levels[1:] / levels[:-1], levels[1] / levels[0])  # equal ratios
    assert filled.get_facecolor().shape[0] == len(levels)


@pytest.mark.parametrize(
    ("value", "message"),
    [(lambda x, y: 0 * x + 3, "must not be flat .* Bowl is 3 there"), (lambda x, y: x / 0.0 + np.inf, "has none")],
)
def test_surfaces_without_contours(value, message):
    with pytest.raises(ValueError, match=message):
        plot.paths(dataclasses.replace(own_surface(), value=value))


def test_a_surface_with_holes():
    holed = dataclasses.replace(own_surface(), value=lambda x, y: np.sqrt(x) + y**2)
    filled, _ = plot.paths(holed, steps=2).axes[0].collections
    assert np.nanmin(np.concatenate([path.vertices for path in filled.get_paths() if len(path.vertices)])[:, 0]) > -0.1


def test_gallery():
    figure = plot.gallery(["ravine", "saddle", own_surface()])
    assert [ax.get_title() for ax in figure.axes] == [
        "Ravine, 60 steps",
        "Saddle between two minima, 120 steps",
        "Bowl, 200 steps",
    ]
    for ax in figure.axes:
        assert {"SGD", "momentum", "RMSprop", "Adam"} <= {line.get_label() for line in ax.lines}
    assert len(figure.legends[0].get_texts()) == 4


def test_animation(tmp_path):
    path = tmp_path / "paths.gif"
    diverging = {"SGD": lambda point: gdfast.SGD(point, lr=0.02), "wild": lambda point: gdfast.SGD(point, lr=1e60)}
    plot.animate(path, "ravine", diverging, steps=12, frames=5, fps=10)
    with Image.open(path) as image:
        assert image.format == "GIF"
        assert image.info["loop"] == 0
        times, frames = [], []
        for i in range(image.n_frames):
            image.seek(i)
            times.append(image.info["duration"])
            frames.append(np.array(image.convert("RGB")))
    assert times == [100] * 4 + [1500]
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


@pytest.mark.parametrize("draw", [plot.paths, plot.trace, lambda surface, *_: plot.animate("x", surface)])
def test_no_such_surface(draw):
    with pytest.raises(ValueError, match=r"surface must be one of ravine, .*, beale, or a Surface; got 'x'"):
        draw("x", None)
    with pytest.raises(TypeError, match="surface must be a name or a Surface; got int"):
        draw(3, None)


# Where they run


def test_pyplot_and_settings_are_not_touched():
    """Importing and drawing starts no GUI, and leaves matplotlib's settings alone."""
    code = (
        "import sys, matplotlib as m\n"
        # not m.rcParams[k], which loads pyplot to answer for the backend
        "settings = lambda: {k: dict.__getitem__(m.rcParams, k) for k in m.rcParams}\n"
        "before = settings()\n"
        "from gdfast import plot; plot.paths('ravine', steps=3).savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules and settings() == before"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, "/dev/null"], check=True, timeout=120)


def test_without_matplotlib(monkeypatch):
    monkeypatch.delitem(sys.modules, "gdfast.plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'gdfast.plot needs matplotlib, .* pip install "gdfast\[plot\]"'):
        importlib.import_module("gdfast.plot")


def test_it_is_not_imported_before_it_is_asked_for():
    code = "import sys, gdfast; assert 'matplotlib' not in sys.modules; gdfast.plot; assert 'matplotlib' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
