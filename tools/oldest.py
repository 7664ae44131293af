"""`make oldest`: builds gdfast with the oldest versions that pyproject.toml allows, and tries it with them.

Every ``name>=version`` of the build, of `dependencies` and of the extra ``train`` becomes ``name==version``; so the
bounds are what is tried, and nothing else has to be kept current.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRA = "train"


def requirements(project: dict, extra: str) -> Iterator[str]:
    """Return what an extra requires, and the extras that it names."""
    for requirement in project["optional-dependencies"][extra]:
        nested = re.fullmatch(r"gdfast\[(.+)\]", requirement)
        if nested is None:
            yield requirement
            continue
        for name in nested[1].split(","):
            yield from requirements(project, name)


def oldest(requirement: str) -> str:
    """Return the requirement of the oldest version that this one allows."""
    return requirement.replace(">=", "==")


def main() -> None:
    """Build and try."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    pins = {oldest(r) for r in (*settings["build-system"]["requires"], *project["dependencies"])}
    pins |= {oldest(r) for r in requirements(project, EXTRA)}
    print("oldest:", *sorted(pins), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "venv", "bin", "python")
        venv.create(python.parents[1], with_pip=True)
        tree = Path(folder, "tree")
        ignore = shutil.ignore_patterns("*.so", "__pycache__")
        for name in ("src", "gdfast"):
            shutil.copytree(ROOT / name, tree / name, ignore=ignore)
        for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, tree)
        environment = {**os.environ, "PYTHONPATH": ""}
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in (
            [*pip, *sorted(pins)],
            [*pip, "--no-build-isolation", "--no-deps", str(tree)],
            [python, ROOT / "tools" / "smoke.py", "--need", "sklearn,pyarrow"],
        ):
            if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
                sys.exit("oldest: failed")


if __name__ == "__main__":
    main()
