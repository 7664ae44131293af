"""The types of the public API, seen from outside: small programs pass mypy --strict and pyright with what is installed.

`pip install pyright` brings the second, which needs node.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import gdfast

PROGRAMS = Path(__file__).parent / "typed"
PACKAGE = Path(gdfast.__file__).parent
NEEDED = {"numpy": "numpy", "sklearn": "sklearn", "torch": "torch"}  # program -> what it has to find

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python with gdfast as a wheel installs it, for what checks types, beside the libraries of this one."""
    folder = tmp_path_factory.mktemp("types")
    venv.create(folder)
    installed = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    for pattern in ("*.py", "*.pyi", "py.typed"):
        for path in PACKAGE.rglob(pattern):
            there = installed / "gdfast" / path.relative_to(PACKAGE)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)
    (installed / "libraries.pth").write_text("\n".join(site for site in sys.path if site.endswith("-packages")))
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def check(command, folder):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    made = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr


def mypy(python, program, folder):
    check([sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "--config-file=", program], folder)


def pyright(python, program, folder):
    command = shutil.which("pyright", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if not command or subprocess.run([command, "--version"], capture_output=True).returncode:
        pytest.skip("pyright is not installed, or finds no node")
    shutil.copy(program, folder)
    check([command, "--pythonpath", python, program.name], folder)


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
@pytest.mark.parametrize("program", NEEDED)
def test_a_typed_program_passes(program, checker, python, tmp_path):
    if importlib.util.find_spec(NEEDED[program]) is None:
        pytest.skip(f"{NEEDED[program]} is not installed")
    checker(python, PROGRAMS / f"{program}_program.py", tmp_path)


def test_a_wrong_type_is_found(python, tmp_path):
    """So that the programs do not pass because nothing has a type."""
    program = tmp_path / "wrong.py"
    program.write_text("import numpy as np\nimport gdfast\n\ngdfast.Adam(np.zeros(3), lr='fast').step_one(3)\n")
    with pytest.raises(AssertionError) as error:
        mypy(python, program, tmp_path)
    assert "arg-type" in str(error.value)
    assert '"step_one"' in str(error.value)
