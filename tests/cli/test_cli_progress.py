"""A training shows where it is: on stderr, if that is a terminal."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import gdfast

fcntl = pytest.importorskip("fcntl")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")

WITHOUT_TQDM = "import sys; sys.modules['tqdm'] = None; from gdfast.__main__ import main; sys.exit(main(sys.argv[1:]))"


def in_terminal(*arguments, folder):
    """Run this Python with a terminal as stderr; return the exit code, stdout, and what the terminal got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(Path(gdfast.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=theirs, env=environment, cwd=folder
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other side is closed
            part = b""
        if not part:
            break
        shown += part
    os.close(ours)
    out = process.communicate()[0].decode()
    return process.returncode, out, shown.decode()


def left_on(shown):
    """Return the lines that a terminal shows in the end; each time that a bar is drawn again, it begins with a return.

    A machine under load draws a full bar twice: at its last epoch, and when it is closed.
    """
    return [line.split("\r")[-1] for line in shown.replace("\r\n", "\n").split("\n")]


@pytest.mark.parametrize(
    ("options", "bars"),
    [([], 1), (["--quiet"], 0), (["--folds", "2"], 3)],
)
def test_bars_in_a_terminal(options, bars, tmp_path):
    command = ["-m", "gdfast", "train", "iris", "--epochs", "20", *options]
    code, out, shown = in_terminal(*command, folder=tmp_path)
    assert code == 0
    assert "epoch" not in out.replace("20 epochs", "")
    assert sum("20/20" in line for line in left_on(shown)) == bars
    assert (shown == "") == (bars == 0)


def test_no_lines_instead_of_a_bar(tmp_path):
    code, out, shown = in_terminal("-c", WITHOUT_TQDM, "train", "iris", "--epochs", "20", folder=tmp_path)
    assert (code, shown) == (0, "")
    assert "epoch " not in out
