"""The order of the rooms: what a module imports lies below it, or beside it in its own room, and never in a circle."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "gdfast"
#: the rooms from the ground up; those of one line know nothing of each other
ROOMS = [
    ("_version",),
    ("arrays",),
    ("reference",),
    ("engine",),
    ("schedules",),
    ("stepping",),
    ("optimizers",),
    ("checkpoint",),
    ("tables",),
    ("plot",),
    ("training",),
    ("mpi", "sklearn", "thinc", "torch"),
    ("dask",),
    ("lab",),
    ("cli",),
    ("__init__", "__main__", "_built", "callbacks", "native"),  # what users import from, and the command
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
MOST_LINES = 400


def modules():
    """The package's modules by name, compiled ones without their imports."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py*")):
        if path.suffix in (".py", ".pyi", ".pyx"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imported(name):
    """The package's modules that a module imports, wherever in its text: those for types, and within functions, too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "gdfast"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide what is imported"
            if node.module and node.module.partition(".")[0] == "gdfast":
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {full if full in MODULES else node.module for full in names}
    return found


def room_of(name):
    return name.split(".")[1] if "." in name else "__init__"


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name):
    room = room_of(name)
    up = [
        other
        for other in imported(name)
        if room_of(other) != room and not LEVEL[room_of(other)] < LEVEL[room] and room != "__init__"
    ]
    assert not up, f"{name} of {room} imports {', '.join(up)}, which are not below it"


def test_no_circle():
    below = {name: {other for other in imported(name) if other != name} for name in MODULES}
    while leaves := [name for name, others in below.items() if not others & below.keys()]:
        for name in leaves:
            del below[name]
    assert not below, f"imported in a circle, or from one: {', '.join(below)}"


def test_every_room_says_what_it_is_for_and_what_it_uses():
    for rooms in ROOMS:
        for room in rooms:
            path = PACKAGE / room / "__init__.py"
            if room != "__init__" and path.exists():
                assert "\nIt uses " in f"\n{ast.get_docstring(ast.parse(path.read_text()))}", f"{room} does not say"


def sources():
    root = PACKAGE.parent
    return [
        path
        for folder, endings in (("gdfast", {".py", ".pyi", ".pxd"}), ("src", {".pyx", ".pxi", ".pxd", ".h"}))
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in endings
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(PACKAGE.parent).as_posix())
def test_files_are_short(path):
    n_lines = len(path.read_text().splitlines())
    assert n_lines <= MOST_LINES, f"{path.name} has {n_lines} lines; cut it where it has a seam"
