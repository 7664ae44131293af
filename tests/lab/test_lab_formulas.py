"""The lab's formulas and surfaces: what their text says, their slopes, and what is refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdfast.lab import formula, surfaces
from gdfast.lab.errors import LabError

TEXTS = [
    "x**2 + y", "(1 - x)**2 + 100*(y - x^2)^2", "sin(x)*cos(y) + tan(x/9)", "tanh(x*y)", "exp(-x**2)*y",
    "log(x**2 + 1)/y", "sqrt(x**2 + y**2)", "abs(x) - abs(y)", "x**y", "2**x - y", "pi*x/e", "+x - -y",
    "x/(1 + y**2)", "3*(2*x)*y", "x*2*y*0.5", "0.5*sin(x*y)", "0.5*(x**2 - y**2)", "1 + x*0 + y",
    "x - 0 + (0 - y)", "-x*3", "(x + 1)**1*y**0",
    "1*x/1 + 0/(x*y)", "-1*x + y*(-1)", "x + (-2)*y", "-(-x) + y", "0.5*(x**2 + x*y)", "x**(-1)",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_formula_is_what_python_says_and_its_slopes_are_the_differences(text):
    found = formula.read(text)
    python = text.replace("^", "**")
    names = {"np": np, "pi": math.pi, "e": math.e, **{name: getattr(np, name) for name in formula.SLOPES}}
    for x, y in [(1.3, 0.7), (0.4, 2.5)]:
        x, y = np.float64(x), np.float64(y)
        here = {**names, "x": x, "y": y}
        assert found.value(x, y) == pytest.approx(eval(python, here), rel=1e-14)
        assert (found.value(x, y), *found.gradient(x, y)) == tuple(
            eval(source, here) for source in (found.source, found.dx, found.dy)
        )
        h = 1e-6
        differences = (
            (found.value(x + h, y) - found.value(x - h, y)) / (2 * h),
            (found.value(x, y + h) - found.value(x, y - h)) / (2 * h),
        )
        assert found.gradient(x, y) == pytest.approx(differences, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (7, "must be text; got int"),
        ("x" * 300, "at most 240 characters; got 300"),
        ("__import__('os').system('true')", 'cannot contain "\'"'),
        ("x.real", "cannot contain 'x.real'"),
        ("[x]", r"cannot contain '\['"),
        ("x if y else 1", "cannot contain 'x if y else 1'"),
        ("x == y", "cannot contain '='"),
        ("eval(x)", r"cannot contain 'eval\(x\)'"),
        ("sin(x, y)", r"cannot contain 'sin\(x, y\)'"),
        ("sin", "knows x, y, pi and e; got 'sin'"),
        ("z", "got 'z'"),
        ("2x", "a product needs its \\*"),
        ("1if x", "cannot be read"),
        ("", "cannot be read"),
        ("(" * 120 + "x", "cannot be read"),
        ("-" * 60 + "x", "at most 24 operations deep"),
        ("True*x", "cannot contain True"),
        ("1j*x", "cannot contain 1j"),
        ("None", "cannot contain None"),
        ("1", "must depend on x or y"),
        ("x - x*1 + x*0", "must depend on x or y"),
        ("1/0 + x", "not a finite number"),
        ("9**9**9*x", "not a finite number"),
        ("1e999*x", "not a finite number"),
        ("9" * 200 + "*x", None),
        ("x*" + "9" * 10 + "**99", "not a finite number"),
        ("(0 - 2)**x", "needs a positive base"),
        ("*".join(["(" + "*".join(["sin(x*y)"] * 8) + ")"] * 3), "too many terms"),
    ],
)
def test_what_is_no_formula_is_refused_in_words(text, words):
    if words is None:
        formula.read(text)
        return
    with pytest.raises(LabError, match=words):
        formula.read(text)


def test_a_number_that_no_float_holds():
    assert formula._number(10**400) == math.inf


@given(st.text(alphabet="xy0123456789.+-*/^() sincotaexplgqrb,", max_size=60))
def test_no_text_does_harm(text):
    try:
        found = formula.read(text)
    except LabError:
        return
    with np.errstate(all="ignore"):
        found.value(np.float64(0.5), np.float64(0.25))
        found.gradient(np.float64(0.5), np.float64(0.25))


@pytest.mark.parametrize("key", surfaces.SURFACES)
def test_surfaces(key):
    surface = surfaces.SURFACES[key]
    heights = surfaces.grid(surface)
    assert heights.shape == (surfaces.GRID, surfaces.GRID)
    assert heights.dtype == np.float32
    assert np.isfinite(heights).all()
    for at in surface.minima:
        assert np.abs(surface.formula.gradient(*map(np.float64, at))).max() < 0.05
        assert surface.formula.value(*at) <= heights.min() + 1e-3
    for (low, high), at in zip((surface.xlim, surface.ylim), surface.start, strict=True):
        assert low < at < high
    corner = surface.formula.value(surface.xlim[0], surface.ylim[1])
    assert heights[-1, 0] == np.float32(corner)
    assert json.loads(json.dumps(surfaces.described(surface)))["text"] == surface.text


def test_surfaces_are_those_that_are_drawn_elsewhere():
    pytest.importorskip("matplotlib")
    from gdfast.plot import SURFACES as DRAWN

    for key, drawn in DRAWN.items():
        mine = surfaces.SURFACES[key]
        x, y = np.float64(0.37), np.float64(-0.61)
        assert mine.formula.value(x, y) == pytest.approx(drawn.value(x, y), rel=1e-14)
        assert mine.formula.gradient(x, y) == pytest.approx(drawn.gradient(x, y), rel=1e-13)


def test_a_surface_of_ones_own():
    surface = surfaces.of_formula("(x - 1)**2 + (y + 0.5)**2", [-2, 2, -1, 1])
    assert surface.minima == (pytest.approx((1.0, -0.5)),)
    assert surface.start == (-1.2, 0.5)
    assert surfaces.of_formula("x + y", (-2, 2, -1, 1)).minima == ()
    assert surfaces.described(surfaces.of_formula("x + y", (-2, 2, -1, 1)))["floor"] is None
    half = surfaces.of_formula("sqrt(x) + y**2", [-1, 4, -1, 1])
    assert np.isnan(surfaces.grid(half)).any()


@pytest.mark.parametrize(
    ("text", "view", "words"),
    [
        ("x", None, "view must be four numbers"),
        ("x", [1, 2, 3], "view must be four numbers"),
        ("x", [1, 2, 3, "4"], "view must be four numbers"),
        ("x", [1, 2, 3, True], "view must be four numbers"),
        ("x", [1, 2, 3, math.nan], "view must be four numbers"),
        ("x", [1, 2, 3, 1e300], "view must be four numbers"),
        ("x", [2, 1, 0, 1], "left below its right"),
        ("x", [0, 1, 1, 1], "low below its high"),
        ("log(0 - x**2 - 1) + y", [0, 1, 0, 1], "no finite value"),
    ],
)
def test_a_wrong_view(text, view, words):
    with pytest.raises(LabError, match=words):
        surfaces.of_formula(text, view)
