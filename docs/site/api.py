"""The pages of the API reference, written before Sphinx reads them: one a module, one a public name."""

import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path

import counterparts
import docstrings

import gdfast

MODULES = ["gdfast"] + [
    f"gdfast.{name}"
    for name in "schedules callbacks sklearn torch checkpoint plot tables mpi lab".split()  # noqa: SIM905
]

#: public names that are neither classes nor functions
DATA = {
    "gdfast.__version__": "The version, as text.",
    "gdfast.plot.SURFACES": "The surfaces by name: a ravine, a saddle, Rosenbrock's valley and Beale's function.",
    "gdfast.schedules.ScheduleLike": "The type of a number that may be a schedule: a float, or a function of the step.",
    "gdfast.sklearn.LOSSES": "The losses of each estimator by name; the first is its default.",
}
#: classes that have two public names
SAME = {"gdfast.CheckpointError": "gdfast.checkpoint.CheckpointError"}


def public_names(module: types.ModuleType) -> list[str]:
    """Return the public names that a module makes available, without modules and what is another library's."""
    later = [*getattr(module, "_LATER", ()), *getattr(module, "_HOME", ())]
    listed = getattr(module, "__all__", None) or [*vars(module), *later]
    names = {name for name in listed if not name.startswith("_") or name == "__version__"}
    names -= {"TYPE_CHECKING"}
    return sorted((name for name in names if is_ours(getattr(module, name))), key=str.lower)


def is_ours(thing: object) -> bool:
    home = getattr(thing, "__module__", None) or "gdfast"
    return not isinstance(thing, types.ModuleType) and home.partition(".")[0] not in ("torch", "typing")


def members(cls: type) -> Iterator[str]:
    """Name the public methods and properties of a class that gdfast defines, less those of the base of optimizers."""
    common = set(dir(gdfast.Optimizer)) if issubclass(cls, gdfast.Optimizer) and cls is not gdfast.Optimizer else set()
    seen: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "gdfast":
            for name, value in vars(base).items():
                documented = inspect.isroutine(value) or isinstance(value, property | classmethod | staticmethod)
                hidden = name.startswith("_") or name.endswith("_request")  # scikit-learn's metadata routing
                if documented and not hidden and name not in common | seen and inspect.getdoc(getattr(cls, name)):
                    seen.add(name)
                    yield name


def entry(module: types.ModuleType, name: str) -> str:
    """Return the page of one name."""
    thing, full = getattr(module, name), f"{module.__name__}.{name}"
    lines = [heading(full.removeprefix("gdfast.") if name != "__version__" else full)]
    if full in SAME:
        return f"{lines[0]}\nThe same as :class:`{SAME[full]}`.\n"
    if inspect.isclass(thing):
        lines.append(f".. autoclass:: {full}\n")
        found = list(members(thing))
        if found:
            lines += ["   .. rubric:: Methods and attributes\n"]
            lines += [f"   .. auto{kind(thing, each)}:: {full}.{each}\n" for each in found]
        if docstrings.is_optimizer(thing) and issubclass(thing, gdfast.Optimizer) and thing is not gdfast.Optimizer:
            lines.append("Its methods are those of :class:`gdfast.Optimizer`.\n")
            lines.append(f"The rule among the others: :doc:`/rules/{name.lower()}`.\n")
    elif inspect.isroutine(thing):
        lines.append(f".. autofunction:: {full}\n")
    else:
        lines.append(f".. py:data:: {full}\n\n   {DATA[full]}\n")
    elsewhere = counterparts.of(module.__name__, name)
    if elsewhere:
        links = ", ".join(f"`{title} <{address}>`__" for title, address in elsewhere.items())
        lines.append(f".. seealso:: {links}\n")
    return "\n".join(lines)


def kind(cls: type, name: str) -> str:
    return "property" if isinstance(inspect.getattr_static(cls, name), property) else "method"


def overview(module: types.ModuleType) -> str:
    """Return the page of a module: its docstring, and a table of its names."""
    full, names = module.__name__, public_names(module)
    table = "".join(f"   * - :doc:`{name} <{full}.{name}>`\n     - {about(module, name)}\n" for name in names)
    tree = "".join(f"   {full}.{name}\n" for name in names)
    return (
        f"{heading(full)}\n.. automodule:: {full}\n   :no-members:\n\n"
        f".. currentmodule:: {full}\n\n.. list-table::\n   :widths: auto\n\n{table}\n"
        f".. toctree::\n   :hidden:\n\n{tree}"
    )


def about(module: types.ModuleType, name: str) -> str:
    """Return the first sentence of a docstring, without the name; of other things, what is said of them here."""
    full = f"{module.__name__}.{name}"
    if full in DATA:
        return DATA[full]
    first = inspect.getdoc(getattr(module, name)).partition("\n\n")[0].replace("\n", " ")
    said = first.removeprefix(f"{name}: ").removesuffix("::").strip()
    return said[:1].upper() + said[1:]


def heading(title: str) -> str:
    escaped = title.replace("_", r"\_")
    return f"{escaped}\n{'=' * len(escaped)}\n"


def write(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True)
    for full in MODULES:
        module = importlib.import_module(full)
        (folder / f"{full}.rst").write_text(overview(module), encoding="utf-8")
        for name in public_names(module):
            (folder / f"{full}.{name}.rst").write_text(entry(module, name), encoding="utf-8")
    about = "Every public name. Examples run in the tests; types and shapes stand in the descriptions.\n"
    tree = "".join(f"   {full}\n" for full in MODULES)
    table = "".join(f"- :doc:`{full}`: {summary(full)}\n" for full in MODULES)
    (folder / "index.rst").write_text(
        f"{heading('API')}\n{about}\n{table}\n.. toctree::\n   :hidden:\n\n{tree}", encoding="utf-8"
    )


def summary(module: str) -> str:
    first = inspect.getdoc(importlib.import_module(module)).partition("\n")[0]
    return first.removeprefix("gdfast: ").strip()
