"""The native callers of the tests, built in a folder: tests/helpers/native, and whatever else is given."""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import gdfast

SOURCES = Path(__file__).parent / "native"
SETUP = """
from setuptools import Extension, setup
from Cython.Build import cythonize
import gdfast
exact = ["-ffp-contract=off"]  # no fused multiply-add: NumPy rounds twice
setup(ext_modules=cythonize([Extension({name!r}, [{source!r}], include_dirs=[gdfast.get_include()],
                                       extra_compile_args=exact)]))
"""


def build_cython(source, folder):
    """Build an extension module with setuptools, and import it."""
    shutil.copy(source, folder)
    name = Path(source).stem
    (folder / "setup.py").write_text(SETUP.format(name=name, source=Path(source).name))
    root = Path(gdfast.__file__).parents[1]
    run = f"import sys; sys.path.append({str(root)!r}); exec(open('setup.py').read())"
    done = subprocess.run(
        [sys.executable, "-c", run, "build_ext", "--inplace"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    spec = importlib.util.spec_from_file_location(name, folder / (name + sysconfig.get_config_var("EXT_SUFFIX")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_c(source, folder):
    """Compile a C file as a shared library, warnings being errors, and return its path."""
    library = folder / (Path(source).stem + ".so")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wno-unused-function", "-Werror", "-shared", "-fPIC"]
    command = ["cc", *flags, f"-I{gdfast.get_include()}", str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library
