"""The scripts of `make wheels` and `make oldest`, as far as they need no build."""

import importlib.util
import io
import re
import tarfile
import tomllib
from pathlib import Path

import pytest

from gdfast.__main__ import EXTRAS

TOOLS = Path(__file__).parents[2] / "tools"
pytestmark = pytest.mark.skipif(not TOOLS.exists(), reason="the tests run away from the source tree")


def tool(name):
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archive(names, when, owner):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.mtime, member.uname, member.uid, member.size = when, owner, int(when), len(name)
            made.addfile(member, io.BytesIO(name.encode()))
    return packed.getvalue()


def test_an_sdist_does_not_depend_on_who_made_it_when():
    normalized = tool("wheels").normalized
    one = normalized(archive(["a/b", "a/c"], 1, "me"), 1_700_000_000)
    assert one == normalized(archive(["a/c", "a/b"], 2.5, "you"), 1_700_000_000)
    assert one != normalized(archive(["a/b", "a/d"], 1, "me"), 1_700_000_000)
    with tarfile.open(fileobj=io.BytesIO(one)) as made:
        assert made.getnames() == ["a/b", "a/c"]
        assert made.extractfile("a/c").read() == b"a/c"
        assert {member.mtime for member in made} == {1_700_000_000}


def test_the_oldest_versions_are_the_bounds():
    oldest = tool("oldest")
    extras = {"one": ["x>=1", "gdfast[two,three]"], "two": ["y>=2.5"], "three": ["gdfast[two]", "z>=3"]}
    found = oldest.requirements({"optional-dependencies": extras}, "one")
    assert [oldest.oldest(r) for r in found] == ["x==1", "y==2.5", "y==2.5", "z==3"]


@pytest.mark.parametrize("extra", ["sklearn", "train"])
def test_a_wheel_is_tried_with_what_its_extra_brings(extra):
    project = tomllib.loads((TOOLS.parent / "pyproject.toml").read_text())["project"]
    brought = {re.match(r"[\w-]+", r)[0] for r in tool("oldest").requirements(project, extra)}
    needed = tool("wheels").needed(extra, None)
    assert needed.split(",") == [
        name for name in ("sklearn", "pyarrow") if {"sklearn": "scikit-learn"}.get(name, name) in brought
    ]
    assert tool("wheels").needed(extra, "/somewhere") == f"{needed},torch"


@pytest.mark.parametrize("extras", sorted({*EXTRAS.values(), "train"}))
def test_what_a_command_says_to_install_brings_the_command(extras):
    project = tomllib.loads((TOOLS.parent / "pyproject.toml").read_text())["project"]
    requirements = tool("oldest").requirements
    brought = {re.match(r"[\w-]+", r)[0] for extra in extras.split(",") for r in requirements(project, extra)}
    needed = {
        "lab": {"websockets", "ml_dtypes"},
        "plot": {"matplotlib", "pillow"},
        "train": {"scikit-learn", "scipy", "threadpoolctl", "matplotlib", "safetensors", "pandas", "pyarrow"},
    }
    assert brought >= {"typer"} | needed.get(extras.rpartition(",")[2], set())


@pytest.mark.parametrize(
    ("use", "code", "stderr", "extras"),
    [
        ("a step", 0, "", ""),
        ("gdfast plot", 2, 'gdfast: this needs typer: pip install "gdfast[cli,plot]"\n', "cli,plot"),
        ("L-BFGS", 1, 'Traceback\nImportError: pip install "gdfast[scipy]", or give None\n', "scipy"),
        ("a step", 1, 'ImportError: pip install "gdfast[cli]"\n', None),  # which has to work without
        ("a fit", 0, "", None),  # which cannot work without: so something else was tried
        ("a fit", 1, "ImportError: no scipy\n", None),
        ("a fit", 1, 'pip install "gdfast[sklearn]"\nImportError: no scipy\n', None),
        ("gdfast info", 2, 'Traceback\nImportError: pip install "gdfast[cli]"\n', None),
    ],
)
def test_an_error_has_to_name_the_extras(use, code, stderr, extras, monkeypatch):
    advice = tool("advice")
    monkeypatch.setattr(advice, "run", lambda *_: advice.subprocess.CompletedProcess([], code, "", stderr))
    if extras is None:
        with pytest.raises(SystemExit, match=f"^advice: {use} "):
            advice.advice(use, (TOOLS, {}))
    else:
        assert advice.advice(use, (TOOLS, {})) == extras


WAIT = "import threading\nthreading.Event().wait()"
SPIN, SLOW = "while True: pass", "import time\nfor _ in range(8): time.sleep(0.3); sum(range(2_000_000))"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import threading\nthreading.Event().wait()",
            r"a part hangs: it has used no CPU time for 1 s\n(.|\n)*in wait",
        ),
        (SPIN, r"a part hangs: it has used 0\.5 s of CPU time\n(.|\n)*<string>"),
        ("print('why'); exit(3)", r"a part failed \(3\)\nwhy"),
        (SLOW, None),  # which takes longer than each limit
    ],
)
def test_a_part_of_the_trial_that_hangs_is_ended(code, said, monkeypatch, tmp_path, capsys):
    smoke = tool("smoke")
    monkeypatch.setattr(smoke, "MOST_CPU", 5 if said is None else 0.5)
    monkeypatch.setattr(smoke, "MOST_IDLE", 1)
    if said is None:
        smoke.run("a part", ["-c", code], tmp_path)
        assert capsys.readouterr().out == "smoke: ok: a part\n"
    else:
        with pytest.raises(SystemExit, match=f"^smoke: {said}"):
            smoke.run("a part", ["-c", code], tmp_path)
