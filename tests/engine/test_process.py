"""Promise 6, and what importing gdfast does and does not do. Each in a process of its own."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from levels import LEVELS

import gdfast
from gdfast.engine import _plan, isa


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


STEP = """
import numpy as np
def step():
    for dtype in (np.float32, np.float64):
        param = np.ones(1_000_000, dtype)
        opt = gdfast.Adam(param)
        for _ in range(3):
            opt.step(param * dtype(1e-30))
"""


def test_floating_point_mode_is_left_alone():
    """Rounding to nearest, subnormal numbers kept, no trap: before, after the import, and after steps."""
    code = f"""
import numpy as np, threading
def mode():
    a, tiny = np.float64(1), np.finfo(np.float64).smallest_subnormal
    floats = np.array([1e-40, 2**-24, 1.0], np.float32)
    return (float(tiny * a), float(tiny / 2 * 2), 1 / 3 * 3, 0.1 + 0.2, -0.1 - 0.2, (floats * floats[2]).tolist(),
            (floats[1] + floats[2]).item(), np.geterr())
before = mode()
import gdfast
assert mode() == before, "import"
{STEP}
step()
assert mode() == before, "step"
assert before[0] == 5e-324
seen = []
thread = threading.Thread(target=lambda: (step(), seen.append(mode())))
thread.start(); thread.join()
assert seen == [before], "thread"
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_threads_and_signals_are_left_alone():
    code = f"""
import signal
from threadpoolctl import threadpool_info
import numpy
def signals():
    return {{s: signal.getsignal(s) for s in signal.valid_signals()}}
before = signals()
import gdfast
pools = lambda: {{(p["filepath"], p["num_threads"]) for p in threadpool_info()}}
start = pools()
assert signals() == before
{STEP}
step()
assert signals() == before
assert pools() == start
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_what_the_package_offers(monkeypatch):
    monkeypatch.delattr(gdfast, "schedules", raising=False)  # as before it was first asked for
    assert gdfast.schedules.Constant(1.0)(0) == 1.0
    with pytest.raises(AttributeError, match="module 'gdfast' has no attribute 'schedulers'"):
        gdfast.schedulers  # noqa: B018
    assert not hasattr(gdfast, "adam")
    with pytest.raises(AttributeError, match=r"module 'gdfast\.optimizers' has no attribute 'Adamm'"):
        gdfast.optimizers.Adamm  # noqa: B018


def test_every_class_of_the_optimizers_is_offered_everywhere():
    """In the table by which it is imported, to type checkers, as a name of the package, and by a star."""
    folder = Path(gdfast.__file__).parent
    public = {
        node.name: path.stem if path.parent.name == "optimizers" else path.parent.name
        for path in (folder / "optimizers").rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and hasattr(getattr(gdfast, node.name, None), "step")
    }
    assert public == gdfast.optimizers.MODULES
    for path in (folder / "__init__.py", folder / "optimizers" / "__init__.py"):
        told = {
            alias.asname
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module.startswith("gdfast.optimizers")
            for alias in node.names
        }
        assert told - {"_OPTIMIZERS"} == public.keys()
    assert public.keys() <= {*dir(gdfast)} & {*gdfast.__all__} & {*dir(gdfast.optimizers)}
    for name in public:
        assert getattr(gdfast, name) is getattr(gdfast.optimizers, name)
        assert getattr(gdfast, name).__module__.startswith("gdfast.optimizers.")


def test_a_program_imports_the_optimizers_that_it_uses():
    code = """
import pickle, sys
import numpy as np
import gdfast
def loaded():
    return {name.split(".")[2] for name in sys.modules if name.startswith("gdfast.optimizers.")}
assert loaded() == set(), loaded()
opt = pickle.loads(pickle.dumps(gdfast.Lion(np.ones(3))))
assert isinstance(opt, gdfast.Optimizer)
assert loaded() == {"sign"}, loaded()
from gdfast import *
assert Muon is gdfast.Muon and global_norm is gdfast.global_norm
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_all_names_can_be_asked_for_without_the_extras():
    code = """
import inspect, sys
for name in ("mpi4py", "websockets", "matplotlib", "PIL", "safetensors", "ml_dtypes", "sklearn", "scipy", "torch"):
    sys.modules[name] = None
import gdfast
offered = {*dir(gdfast)}
assert {"Adam", "save", "lr_find", "schedules"} <= offered
assert {name for name, _ in inspect.getmembers(gdfast)} >= offered
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_numpy_is_the_only_dependency():
    """Importing gdfast imports nothing from outside of the standard library but NumPy."""
    code = """
import sys
before = set(sys.modules)
import numpy
numpys = set(sys.modules)
import gdfast
roots = {name.partition(".")[0] for name in set(sys.modules) - numpys}
print(sorted(roots - set(sys.stdlib_module_names) - {"numpy", "gdfast", "cython_runtime", "_cython_3_1"}))
"""
    result = python(code)
    assert result.returncode == 0, result.stderr
    found = [name for name in eval(result.stdout) if not name.startswith("_cython")]
    assert found == []


def test_a_level_that_was_not_built_is_left_out(monkeypatch):
    monkeypatch.setattr(isa, "LEVELS", {"baseline": 0, "v0": 0})
    assert isa.available_levels() == ["baseline"]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_can_be_forced(level):
    result = python("import gdfast; gdfast.show_config()", GDFAST_ISA=level)
    assert result.returncode == 0, result.stderr
    assert any(line.split() == ["in", "use", level] for line in result.stdout.splitlines())


def test_a_level_that_is_not_there_is_an_error():
    result = python("import gdfast", GDFAST_ISA="v9")
    assert result.returncode != 0
    assert (
        f"ImportError: GDFAST_ISA=v9 cannot be used: this machine and build have {', '.join(LEVELS)}" in result.stderr
    )


def test_best_level_is_chosen_by_features(monkeypatch):
    monkeypatch.setattr(_plan, "cpu_level", lambda: 3)
    assert isa.available_levels() == [level for level in LEVELS if level != "v4"]
    monkeypatch.setattr(_plan, "cpu_level", lambda: 0)
    assert isa.available_levels() == ["baseline"]
    assert isa.level_name(isa.choose(None)) == "baseline"
    with pytest.raises(ImportError, match="GDFAST_ISA=v4 cannot be used"):
        isa.choose("v4")


# An editable install would find its own native modules for the copy.
UNBUILT = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "ditable" not in repr(finder)]
sys.path.insert(0, ".")
import gdfast
"""


def test_source_tree_without_built_modules_says_what_to_run(tmp_path):
    source = Path(gdfast.__file__).parent
    target = tmp_path / "gdfast"
    for path in source.rglob("*.py"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    result = subprocess.run(
        [sys.executable, "-c", UNBUILT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: gdfast's native modules are not built here")
    assert "pip install ." in last


SUBINTERPRETER = """
import sys
import {module} as interpreters
import gdfast
other = interpreters.create()
interpreters.run_string(other, '''
import sys
sys.path[:] = {path!r}
try:
    import gdfast
except ImportError as error:
    message = str(error)
else:
    message = "imported"
print(message)
''')
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module for it has another interface there")
def test_in_a_subinterpreter_the_error_says_so():
    code = SUBINTERPRETER.format(module="_xxsubinterpreters", path=sys.path)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "They do not support subinterpreters" in result.stdout
    assert "What Python says: " in result.stdout
    assert "not built" not in result.stdout


def test_a_missing_dependency_is_not_taken_for_a_missing_build():
    code = "import sys; sys.modules['numpy'] = None; import gdfast"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: import of numpy halted")
