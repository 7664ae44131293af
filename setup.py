"""The native build: which modules there are, and with which flags each compiler makes them; and the README's links.

Everything else stands in pyproject.toml.
"""

import os
import platform
import re
import runpy
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:  # the toolchain's own errors, wherever this setuptools keeps them
    from setuptools.errors import CompileError, ExecError, LinkError, PlatformError
except ImportError:  # pragma: no cover
    from distutils.errors import CompileError, LinkError
    from distutils.errors import DistutilsExecError as ExecError
    from distutils.errors import DistutilsPlatformError as PlatformError

TOOL_ERRORS = (CompileError, LinkError, ExecError, PlatformError, OSError)

# Never -ffast-math, -Ofast or -funsafe-math-optimizations, at compile or link: exactness is the product. The two
# -fno-... flags change no result: nobody reads errno or the exception flags after a loop.
EXACT = {
    "unix": ["-O3", "-fno-fast-math", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"],
    "msvc": ["/O2", "/fp:precise"],
}
# With GDFAST_SANITIZE=address,undefined (`make sanitize`) every access and undefined operation is checked; with =thread
# (`make sanitize-threads`), whether two threads access the same without an order.
SANITIZE = ["-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
# For the rules' loops, where the compiler knows the flag. gcc: threading jumps turns a select that stores zero into
# branches and masked stores, twice as slow; the loop without l1 is worth having for long loops too. With three state
# arrays (clang) or four (gcc) it would give up on the number of run-time checks that no two overlap, and not vectorise.
SELECTS = {
    "unix": [
        ["-fno-thread-jumps", "--param=max-unswitch-insns=400", "--param=vect-max-version-for-alias-checks=64"],
        ["-mllvm", "-runtime-memory-check-threshold=64"],
    ],
    "msvc": [],
}
LEVELS = {
    "unix": {
        "baseline": [],
        "v3": ["-march=x86-64-v3"],
        "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    },
    "msvc": {"baseline": [], "v3": ["/arch:AVX2"], "v4": ["/arch:AVX512"]},
}
# Module -> its source, below src. The second kind are pure loops, built once an instruction-set level.
ONCE = {
    "arrays._bound": "arrays/bound.pyx",
    "engine._team": "engine/team.pyx",
    "engine._plan": "engine/plan.pyx",
    "engine._reduce": "engine/reduce.pyx",
    "engine._rows": "engine/rows.pyx",
    "engine._tensors": "engine/tensors.pyx",
    "engine._columns": "tables/columns.pyx",
    "engine._linear": "linear/linear.pyx",
    "engine._mlp": "mlp/mlp.pyx",
}
PER_LEVEL = {"engine._rules": "rules/rules.pyx", "engine._linear_loops": "linear/linear_loops.pyx"}
# Compile flags, link flags. macOS's own clang has no -fopenmp driver flag, and its libomp lives with Homebrew.
LIBOMP = [os.environ.get("LIBOMP_PREFIX", ""), "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"]
OPENMP = {
    "unix": [(["-fopenmp"], ["-fopenmp"])],
    "darwin": [
        (["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"], [f"-L{prefix}/lib", "-lomp"])
        for prefix in filter(None, LIBOMP)
    ],
    "msvc": [(["/openmp"], [])],
}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "freethreading_compatible": True,
}


def levels() -> tuple[str, ...]:
    """The instruction-set levels of the machine built for (macOS says arm64 or x86_64 in ARCHFLAGS too)."""
    machine = os.environ.get("ARCHFLAGS", "") or platform.machine()
    is_x86_64 = any(name in machine for name in ("x86_64", "AMD64")) and "arm64" not in machine
    return ("baseline", "v3", "v4") if is_x86_64 else ("baseline",)


def extensions() -> list[Extension]:
    """The engine, and one copy of the rules a level."""
    sources = ONCE | {f"{name}_{level}": source for name, source in PER_LEVEL.items() for level in levels()}
    depends = [str(path) for pattern in ("*.px*", "*.h") for path in Path("src").rglob(pattern)]
    depends.append("gdfast/include/gdfast.h")
    return [
        Extension(
            f"gdfast.{name}",
            [f"src/{source}"],
            include_dirs=["src", "gdfast/include", numpy.get_include()],
            depends=depends,
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        )
        for name, source in sources.items()
    ]


def translate(modules: list[Extension]) -> None:
    """Make C of their sources, below build/native. Only a build needs it: an sdist and its metadata do not."""
    generated = Path("build", "native")
    generated.mkdir(parents=True, exist_ok=True)
    for module in modules:
        if module.name.rpartition("_")[2] in LEVELS["unix"]:
            copy = generated / f"{module.name.rpartition('.')[2]}.pyx"
            shutil.copy2(module.sources[0], copy)  # with its time, or it would be translated again in every build
            module.sources = [str(copy)]
    options = {"include_path": ["src", "."], "build_dir": str(generated), "compiler_directives": DIRECTIVES}
    made = {module.name: module.sources for module in cythonize(modules, **options)}
    for module in modules:
        module.sources = made[module.name]


class Build(build_ext):
    """Adds the flags that fit the compiler found, after seeing that there is one."""

    def build_extensions(self) -> None:
        kind = self.compiler.compiler_type if self.compiler.compiler_type in EXACT else "unix"
        self.check_toolchain()
        selects = next((flags for flags in SELECTS[kind] if self.builds("int main(void) { return 0; }", flags)), [])
        openmp = self.find_openmp("darwin" if sys.platform == "darwin" else kind)
        translate(self.extensions)
        for extension in self.extensions:
            level = extension.name.rpartition("_")[2]
            if level in LEVELS[kind]:
                extension.extra_compile_args = EXACT[kind] + selects + LEVELS[kind][level]
            else:
                extension.extra_compile_args = list(EXACT[kind])
            if extension.name == "gdfast.engine._team":  # the only one that knows threads
                extension.extra_compile_args += openmp[0]
                extension.extra_link_args = list(openmp[1])
            if sanitizers := os.environ.get("GDFAST_SANITIZE"):
                extension.extra_compile_args = [*extension.extra_compile_args, f"-fsanitize={sanitizers}", *SANITIZE]
                extension.extra_link_args = [*(extension.extra_link_args or []), f"-fsanitize={sanitizers}"]
        self.parallel = self.parallel or os.cpu_count()
        super().build_extensions()

    def check_toolchain(self) -> None:
        if not self.builds("int main(void) { return 0; }"):
            raise SystemExit(
                "gdfast is built from source and found no working C compiler: install one (Debian and Ubuntu: "
                "apt install gcc; macOS: xcode-select --install; Windows: Visual Studio Build Tools) and try again."
            )
        if not self.builds("#include <Python.h>\nint main(void) { return 0; }", link=False):
            raise SystemExit(
                "gdfast is built from source and found no Python headers (Python.h): install them (Debian and Ubuntu: "
                "apt install python3-dev; Fedora: dnf install python3-devel) and try again."
            )

    def find_openmp(self, system: str) -> tuple[list[str], list[str]]:
        program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() == 0; }"
        if not os.environ.get("GDFAST_NO_OPENMP"):
            for compile_flags, link_flags in OPENMP[system]:
                if self.builds(program, compile_flags, link_flags):
                    return compile_flags, link_flags
        print("gdfast: built without OpenMP, every step will run on one thread", file=sys.stderr)
        return [], []

    def builds(self, program: str, compile_flags=(), link_flags=(), link: bool = True) -> bool:
        """Whether a small program compiles (and links) with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile(
                    [str(source)],
                    output_dir=folder,
                    include_dirs=self.compiler.include_dirs,
                    extra_postargs=list(compile_flags),
                )
                if link:
                    self.compiler.link_executable(objects, "probe", output_dir=folder, extra_postargs=list(link_flags))
            except TOOL_ERRORS:
                return False
        return True


def long_description(readme: str, source: str | None, version: str) -> str:
    """The README for a package index, where a link within the repository leads nowhere.

    Such links get the address of this version in the repository `source`; without one they become plain text.
    """

    def replaced(link: re.Match[str]) -> str:
        picture, text, path = link.groups()
        if source is None:
            return "" if picture else text
        return f"{picture}[{text}]({source}/{'raw' if picture else 'blob'}/v{version}/{path})"

    return re.sub(r"(!?)\[([^\]]+)\]\((?!https?:|#)([^)]+)\)", replaced, readme)


def metadata() -> dict[str, str]:
    """What the metadata has beyond pyproject.toml."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = runpy.run_path("gdfast/_version.py")["__version__"]
    readme = Path("README.md").read_text(encoding="utf-8")
    text = long_description(readme, project.get("urls", {}).get("Source"), version)
    return {"long_description": text, "long_description_content_type": "text/markdown"}


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": Build}, **metadata())
