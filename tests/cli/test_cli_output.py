"""Output that cannot be written."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time

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


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_streams_that_were_closed_before(closed, tmp_path):
    command = f"{' '.join(map(shlex.quote, GDFAST))} train iris --epochs 1 --out run {closed}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_training_that_is_told_to_end_leaves_nothing_half(number, tmp_path):
    arguments = ["train", "digits", "--model", "mlp", "--hidden", "400", "--epochs", "100000", "--out", "a/run"]
    unheard = signal.signal(number, signal.default_int_handler)  # a child ignores what its parent ignores
    try:
        started = subprocess.Popen([*GDFAST, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(number, unheard)
    with started as running:
        while not list(tmp_path.glob("a/run/.gdfast-*/log.csv")):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        _, err = running.communicate()
    assert (running.returncode, err) == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_signals_are_answered_in_the_command_alone(monkeypatch):
    from gdfast import cli

    seen = []

    def end(**options):
        seen.append(signal.getsignal(signal.SIGTERM))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(cli, "app", end)
    assert cli.run([]) == 128 + signal.SIGTERM
    assert seen != [signal.SIG_DFL]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    monkeypatch.setattr(cli, "app", lambda **options: seen.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=cli.run, args=([],))
    thread.start()
    thread.join()
    assert seen[1:] == [signal.SIG_DFL]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # somebody else's answer stays
    try:
        assert cli.run([]) == 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert seen[2:] == [signal.SIG_IGN]


def test_no_output_at_all(monkeypatch):
    from gdfast import cli

    monkeypatch.setattr(cli, "app", lambda **options: 0)
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.run([]) == 0
