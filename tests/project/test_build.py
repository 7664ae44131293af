"""The build: with and without OpenMP, with clang, with tools missing; sdist and wheel in an empty environment."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import gdfast

ROOT = Path(__file__).parents[2]
TESTS = Path(__file__).parents[1]
SMOKE = (TESTS / "helpers" / "smoke.py").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="the tests run away from the source tree"),
]


@pytest.fixture
def tree(tmp_path):
    """A copy of the source tree with nothing compiled in it."""
    return copied(tmp_path / "tree", "*.so", "*.pyd")


def copied(target, *without):
    """Copy the tree with its times: what Cython has translated is translated again only where it has changed."""
    ignore = shutil.ignore_patterns("__pycache__", *without)
    for name in ("src", "gdfast", "build/native"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


def build(tree, where="--inplace", **environment):
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", where],
        cwd=tree,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def unoptimized(folder, compiler, *names):
    """Return a command that compiles without optimizing: all files, or those that have one of these in their names.

    Optimizing is most of a build's time.
    """
    script = folder / "cc-unoptimized"
    which = "|".join(f"*{name}*" for name in names) or "*"
    script.write_text(f'#!/bin/sh\ncase "$*" in {which}) exec {compiler} "$@" -O0;; esac\nexec {compiler} "$@"\n')
    script.chmod(0o755)
    return str(script)


def run_in(tree, *arguments):
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree.parent,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_without_openmp(tmp_path):
    """Only the team of threads is compiled otherwise: what else has been built already stays as it is."""
    tree = copied(tmp_path / "tree", "_team.*.so", "_team.*.pyd")
    result = build(tree, "--build-lib=.", GDFAST_NO_OPENMP="1")  # --inplace would build everything in build/lib first
    assert result.returncode == 0, result.stderr
    assert "built without OpenMP" in result.stderr
    out = run_in(tree, "-c", SMOKE)
    assert "no: every step runs on one thread" in out
    assert str(tree) in out
    assert "threads                1" in out


@pytest.mark.skipif(os.name == "nt" or shutil.which("clang") is None, reason="clang is not installed")
def test_clang_builds_and_is_as_exact(tree, tmp_path):
    """What the tests of exactness run is optimized as ever."""
    only_compiled = ("/linear.c", "/_linear_loops_", "/mlp.c", "/columns.c")
    result = build(tree, CC=unoptimized(tmp_path, "clang", *only_compiled))
    assert result.returncode == 0, result.stderr
    out = run_in(tree, "-c", SMOKE)
    assert re.search("^compiler +clang", out, re.MULTILINE)
    assert str(tree) in out
    exact = str(TESTS / "engine" / "test_exact.py")
    run_in(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", exact)


def test_missing_compiler_is_one_clear_sentence(tree):
    result = build(tree, CC="no-such-compiler")
    assert result.returncode != 0
    assert "found no working C compiler: install one" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the compiler")
def test_missing_headers_are_one_clear_sentence(tree, tmp_path):
    compiler = tmp_path / "cc-without-headers"
    refuse = 'for f in "$@"; do case "$f" in *probe.c) grep -q Python.h "$f" && exit 1;; esac; done'
    compiler.write_text(f'#!/bin/sh\n{refuse}\nexec cc "$@"\n')
    compiler.chmod(0o755)
    result = build(tree, CC=str(compiler))
    assert result.returncode != 0
    assert "found no Python headers (Python.h): install them" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_sdist_and_wheel_work_in_an_empty_environment(tree, tmp_path):
    """The sdist is made from the tree, the wheel from the sdist; the wheel is all that the new environment gets.

    How the compiler optimizes is a matter of all other tests: they run on what setup.py has built.
    """
    shutil.rmtree(tree / "build", ignore_errors=True)
    command = [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(tree)]
    variables = {**os.environ}
    if os.name != "nt":
        variables["CC"] = unoptimized(tmp_path, os.environ.get("CC") or sysconfig.get_config_var("CC"))
    made = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    assert sdist.name == f"gdfast-{gdfast.__version__}.tar.gz"
    assert not (tree / "build" / "native").exists(), "an sdist needs no translation to C"
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert packed >= {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.[ph]*")}
    assert not [name for name in packed if name.startswith("build") or name.endswith((".c", ".so"))]
    typed = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gdfast").rglob("*.pyi")} | {"gdfast/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        assert typed <= set(archive.namelist())
        metadata = archive.read(f"gdfast-{gdfast.__version__}.dist-info/METADATA").decode()
    assert "\nDescription-Content-Type: text/markdown\n" in metadata
    assert "\n# gdfast\n" in metadata
    assert not re.search(r"\]\((?!https:)", metadata), "links that lead nowhere on a package index"
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    out = subprocess.run([python, "-c", SMOKE], cwd=elsewhere, env=clean, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert str(environment) in out.stdout
    no_extra = subprocess.run(
        [environment / python.parent / "gdfast", "info"], cwd=elsewhere, env=clean, capture_output=True, text=True
    )
    assert no_extra.returncode == 2
    assert "pip install" in no_extra.stderr
    assert "Traceback" not in no_extra.stderr
