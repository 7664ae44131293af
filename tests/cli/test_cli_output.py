"""Output that cannot be written."""

import os
import subprocess
import sys

import pytest

GDFAST = [sys.executable, "-m", "gdfast"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_sentence(unbuffered):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*GDFAST, "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (1, "gdfast: not all could be written: no space is left\n")


@pytest.mark.skipif(os.name != "posix", reason="needs pipes that can be closed early")
def test_a_pipe_that_nobody_reads_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*GDFAST, "info"], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("number", [5, 28, 32])
def test_only_what_concerns_the_output_is_caught(number, monkeypatch, capfd):
    from gdfast import cli

    def fail(**options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(os, "dup2", lambda *fds: None)
    if number == 5:
        with pytest.raises(OSError, match="Input/output error"):
            cli.run([])
        return
    assert cli.run([]) == 1
    assert capfd.readouterr().err == ("" if number == 32 else "gdfast: not all could be written: no space is left\n")
