"""Native plans stepped by Cython, C and numba: built here if there is a compiler, with the bits of NumPy programs."""

import ctypes
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import gdfast
import gdfast.native

sys.path.append(str(Path(__file__).parents[1] / "helpers" / "native"))
import factorize_numpy
from native_build import SOURCES, build_c, build_cython

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
PAGE = Path(__file__).parents[2] / "docs" / "native-callers.md"
HEADER = Path(gdfast.get_include(), "gdfast.h").read_text()


@pytest.fixture(scope="module")
def factorize(tmp_path_factory):
    return build_cython(SOURCES / "factorize.pyx", tmp_path_factory.mktemp("factorize"))


def ratings(n=400, n_users=30, n_items=20, width=8):
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(k, width), scale=0.3).astype(np.float32) for k in (n_users, n_items))
    return users, items, rng.integers(0, n_users, n), rng.integers(0, n_items, n), rng.normal(size=n).astype(np.float32)


@needs_compiler
def test_matrix_factorisation_in_cython_has_the_bits_of_numpy(factorize):
    (users, items, *data), (theirs, others, *_) = ratings(), ratings()
    opt, other = (gdfast.Adam({"users": u, "items": i}, lr=0.01) for u, i in ((users, items), (theirs, others)))
    with gdfast.native.Plan(opt) as plan:
        losses = [factorize.epoch(plan, users, items, *data, 0.02) for _ in range(3)]
    expected = [factorize_numpy.epoch(other, theirs, others, *data, np.float32(0.02)) for _ in range(3)]
    assert losses == expected
    assert losses[-1] < losses[0]
    assert (users.tobytes(), items.tobytes()) == (theirs.tobytes(), others.tobytes())
    assert opt.step_count == other.step_count == 1200
    for name, arrays in opt.state.items():
        for state, array in arrays.items():
            assert array.tobytes() == other.state[name][state].tobytes()


def code_of_page(language):
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code


def test_the_page_has_the_module_that_is_tested():
    assert code_of_page("cython") in (SOURCES / "factorize.pyx").read_text()


@needs_compiler
def test_cython_gets_the_meaning_of_a_code(factorize):
    users, items, *data = ratings()
    opt = gdfast.Adam({"users": users, "items": items}, lr=lambda step: 0.1)
    with (
        gdfast.native.Plan(opt, steps=10) as plan,
        pytest.raises(RuntimeError, match="steps that were prepared are used"),
    ):
        factorize.epoch(plan, users, items, *data, 0.02)
    assert opt.step_count == 10
    with pytest.raises(RuntimeError, match="no plan has this handle"):
        factorize.epoch(plan, users, items, *data, 0.02)


@needs_compiler
def test_a_loop_alone(factorize):
    param, theirs, grad = (np.linspace(k, 1, 100).astype(np.float32) for k in (0, 0, -3))
    buffer = np.zeros(100, np.float32)
    opt = gdfast.SGD(theirs, lr=0.1, momentum=0.9)
    for _ in range(3):
        assert factorize.momentum_by_loop(param, grad, buffer, 0.1, 0.9) == (-1, True)
        opt.step(grad)
    assert param.tobytes() == theirs.tobytes()
    assert buffer.tobytes() == opt.state["0"]["momentum_buffer"].tobytes()


@needs_compiler
def test_c_without_python(tmp_path):
    library = ctypes.CDLL(str(build_c(SOURCES / "caller.c", tmp_path)))
    handle, pointer = ctypes.c_size_t, ctypes.c_void_p
    library.use.argtypes, library.steps.argtypes = [pointer], [handle, pointer, ctypes.c_int]
    library.left.argtypes, library.left.restype, library.meaning.restype = [handle], ctypes.c_ssize_t, ctypes.c_char_p
    assert library.steps(0, None, 1) == library.left(0) == gdfast.native.CODES["NOT_IMPORTED"]
    assert library.meaning(0) == b"gdfast_import() was not called, or failed"
    wrong = np.array([2, 1000, *[0] * 30], np.int32)
    short = np.array([1, 8, *[0] * 30], np.int32)
    for table in (None, wrong.ctypes.data, short.ctypes.data):
        assert library.use(table) == gdfast.native.CODES["NOT_IMPORTED"]
    assert library.use(gdfast.native.table_address()) == 0
    param, theirs, grad = np.ones(9), np.ones(9), np.linspace(-1, 1, 9)
    opt, other = gdfast.Adam(param), gdfast.Adam(theirs)
    grads = np.array([grad.ctypes.data], np.uintp)
    with gdfast.native.Plan(opt) as plan:
        assert library.left(plan.address) == sys.maxsize
        assert library.steps(plan.address, grads.ctypes.data, 50) == 0
        plan.prepare(3)
        assert library.left(plan.address) == 3
        assert library.steps(plan.address, grads.ctypes.data, 50) == gdfast.native.CODES["NO_NUMBERS"]
    for _ in range(53):
        other.step(grad, grad_scale=0.5)
    assert (param.tobytes(), opt.step_count) == (theirs.tobytes(), 53)
    assert library.meaning(gdfast.native.CODES["NO_PLAN"]).decode() == gdfast.native.error(-2)
    assert library.left(plan.address) == gdfast.native.CODES["NO_PLAN"]


@needs_compiler
def test_another_version_is_refused_when_it_is_loaded(tmp_path):
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "gdfast.h").write_text(HEADER.replace("GDFAST_API_VERSION 1", "GDFAST_API_VERSION 2"))
    (tmp_path / "newer.c").write_text(
        '#include <Python.h>\n#include "include/gdfast.h"\nint load(void) { return gdfast_import(); }\n'
    )
    python = f"-I{sysconfig.get_paths()['include']}"
    library = tmp_path / "newer.so"
    subprocess.run(["cc", "-shared", "-fPIC", python, str(tmp_path / "newer.c"), "-o", str(library)], check=True)
    with pytest.raises(ImportError, match=r"compiled with version 2 .* the installed gdfast has version 1"):
        ctypes.PyDLL(str(library)).load()


def test_numba():
    numba = pytest.importorskip("numba")
    step_rows, end_step = gdfast.native.step_rows, gdfast.native.end_step

    @numba.njit
    def train(handle, table, rows, values, n):
        for i in range(n):
            values[0] = table[rows[0]] - i
            code = step_rows(handle, 0, rows.ctypes.data, 1, values.ctypes.data, 1.0)
            if code == 0:
                code = end_step(handle)
            if code != 0:
                return code
        return 0

    table, theirs = np.ones((5, 4)), np.ones((5, 4))
    opt, other = gdfast.Adam(table), gdfast.Adam(theirs)
    rows = np.array([2])
    with gdfast.native.Plan(opt) as plan:
        assert train(plan.address, table, rows, np.empty((1, 4)), 20) == 0
    assert train(plan.address, table, rows, np.empty((1, 4)), 20) == gdfast.native.CODES["NO_PLAN"]
    for i in range(20):
        other.step(gdfast.Rows(rows, theirs[rows] - i))
    assert (table.tobytes(), opt.step_count) == (theirs.tobytes(), 20)


def test_the_page_has_a_numba_program_that_runs(capsys):
    pytest.importorskip("numba")
    exec(code_of_page("python numba"), {"np": np, "gdfast": gdfast})
    assert capsys.readouterr().out == "0 [1. 2. 3.]\n"


def test_the_header_and_the_cython_declarations_have_every_code():
    codes = {name: int(value) for name, value in re.findall(r"GDFAST_([A-Z_]+) = (-?\d+)", HEADER)}
    assert codes == gdfast.native.CODES
    pxd = (Path(gdfast.__file__).parent / "__init__.pxd").read_text()
    assert set(re.findall(r'"GDFAST_([A-Z_]+)"', pxd)) == {*codes, "API_VERSION"}
    functions = set(re.findall(r"static inline .*?(gdfast_\w+)\(", HEADER))
    assert set(re.findall(r'"(gdfast_\w+)"\(', pxd)) == functions
