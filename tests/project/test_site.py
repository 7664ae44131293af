"""The documentation site, which `make docs` builds: formulas in mathematics, links and counterparts that exist."""

import re
import runpy
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
FORMULAS = runpy.run_path(str(DOCS / "site" / "formulas.py"))
BLOCKS = re.findall(r"^```\n(.*?)^```", (DOCS / "rules.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("code", "tex"),
    [
        ("m = beta1*m + (1-beta1)*g", r"m &\leftarrow \beta_{1}\,m + \left(1 - \beta_{1}\right)\,g"),
        ("v = (1-beta2)*g*g", r"v &= \left(1 - \beta_{2}\right)\,g^2"),
        ("u = a - (b - c)", r"u &= a - \left(b - c\right)"),
        ("u = -(a + b)", r"u &= -\left(a + b\right)"),
        ("p = p - lr/(sqrt(v) + eps)", r"p &\leftarrow p - \frac{\mathrm{lr}}{\sqrt{v} + \varepsilon}"),
        ("p = (a*b)**2", r"p &= \left(a\,b\right)^{2}"),
        ("z = x0 - cbrt(q)  sign(0) = 0", r"z &= x_{0} - \sqrt[3]{q} &\quad& \mathrm{sign}\left(0\right) = 0"),
        ("z = g if t == 1 else 0", r"z &= \begin{cases}g & \text{if } t = 1 \\ 0 & \text{otherwise}\end{cases}"),
        ("p = b  nesterov: p - b", r"p &= b &\quad& \text{nesterov: } p - b"),
        ("r = lr  lr, if |p| is 0", r"r &= \mathrm{lr} &\quad& \mathrm{lr} \text{, if |p| is 0}"),
        ("r = |p|  if r <= 5", r"r &= \left|p\right| &\quad& \text{if } r \leq 5"),
        ("x = x*x', y = 1e-3", r"x &\leftarrow x\,x^\top,\quad y = 10^{-3}"),
        ("w = max(w so far) @ d", r"w &\leftarrow \max\left(w_{1 \ldots t}\right)^\top d"),
        ("m = 1 where it is so", r"m &= \text{1 where it is so}"),
        ("rho = rho_inf*eps_root", r"\rho &= \rho_{\infty}\,\varepsilon_{\mathrm{root}}"),
    ],
)
def test_code_becomes_mathematics(code, tex):
    assert FORMULAS["line"](code) == tex


def test_what_is_no_formula_is_refused():
    with pytest.raises(SyntaxError):
        FORMULAS["line"]("no formula at all")
    with pytest.raises(SyntaxError, match="no mathematics for"):
        FORMULAS["line"]("p = [1, 2]")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.partition(" = ")[0])
def test_every_rule_can_be_set(block):
    math = pytest.importorskip("docutils.utils.math.latex2mathml")
    tex = FORMULAS["align"](block)
    assert tex.count(r"\\" + "\n") == block.strip().count("\n")
    assert "<merror" not in math.tex2mathml(tex, as_block=True)


def test_broken_links_are_found(tmp_path):
    broken = runpy.run_path(str(DOCS / "site" / "check_links.py"))["broken"]
    (tmp_path / "a.html").write_text(
        '<h1 id="top-of-a"></h1> <a href="#top-of-a">1</a> <a href="b.html#there">2</a> <a href="https://x.example">3</a>'
        '<a href="b.html#not-there">4</a> <a href="c.html">5</a> <img src="d.png">'
    )
    (tmp_path / "b.html").write_text('<a name="there" href="sub/../a.html">')
    assert broken(tmp_path) == ["a.html: no anchor b.html#not-there", "a.html: no page c.html", "a.html: no page d.png"]


def test_counterparts_exist():
    torch = pytest.importorskip("torch")
    optax = pytest.importorskip("optax")
    sklearn_tools = pytest.importorskip("sklearn.utils.discovery")
    import gdfast

    names = runpy.run_path(str(DOCS / "site" / "counterparts.py"))
    for name, (in_torch, in_optax) in names["OPTIMIZERS"].items():
        assert hasattr(gdfast, name) or name == "SparseAdam"
        assert in_torch is None or hasattr(torch.optim, in_torch), in_torch
        assert in_optax is None or attribute(optax, in_optax), in_optax
    for name, (in_torch, in_optax) in names["SCHEDULES"].items():
        assert hasattr(gdfast.schedules, name)
        assert in_torch is None or hasattr(torch.optim.lr_scheduler, in_torch), in_torch
        assert in_optax is None or hasattr(optax.schedules, in_optax), in_optax
    estimators = {f"{cls.__module__}".rpartition("._")[0] + f".{name}" for name, cls in sklearn_tools.all_estimators()}
    others = {title for links in names["OTHERS"].values() for title in links if title.startswith("sklearn.")}
    assert others <= estimators


def attribute(module, path):
    for name in path.split("."):
        module = getattr(module, name)
    return module


def test_the_sources_of_the_site(tmp_path, monkeypatch):
    """Everything but Sphinx's own work, which takes a minute."""
    for package in ("sphinx", "torch", "mpi4py", "matplotlib", "sklearn", "websockets", "anywidget"):
        pytest.importorskip(package)
    monkeypatch.setattr(sys, "path", [*sys.path])
    site = runpy.run_path(str(DOCS / "make_site.py"))
    site["assemble"](tmp_path / "source")
    made = {path.relative_to(tmp_path / "source").as_posix() for path in (tmp_path / "source").rglob("*.*")}
    assert {"index.md", "rules/adam.md", "api/gdfast.torch.AdamW.rst", "gallery/d-ravine.gif", "benchmarks.md"} <= made
    page = (tmp_path / "source" / "api" / "gdfast.Adam.rst").read_text(encoding="utf-8")
    assert "https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html" in page
