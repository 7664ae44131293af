"""The lab's server: who may come in, what it says to those who may not, and what a page may do to it."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("websockets")
from typer.testing import CliRunner
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import gdfast
from gdfast import cli
from gdfast.__main__ import main
from gdfast.lab import run as lab_run
from gdfast.lab import server, settings
from gdfast.lab.race import FIELDS, Race
from gdfast.lab.session import Session, serve_lab

RACE = {
    "surface": "ravine",
    "racers": [{"rule": "Adam", "values": {"lr": 0.1}}, {"rule": "SGD", "values": {}}],
    "steps": 50,
}


@pytest.fixture(scope="module")
def door():
    with server.in_thread(serve_lab, "lab.html") as opened:
        yield opened


def ask(door, path, method="GET", **headers):
    link = http.client.HTTPConnection("127.0.0.1", door.port, timeout=10)
    with contextlib.closing(link):
        link.request(method, path, headers=headers)
        answer = link.getresponse()
        return answer.status, answer.read().decode(), answer.headers


def page(door, **options):
    address = f"ws://127.0.0.1:{door.port}/{door.token}/socket"
    return connect(address, origin=f"http://127.0.0.1:{door.port}", compression=None, **options)


def hear(link, kind):
    """Return the next message of this kind; what is binary on the way is passed over."""
    for message in iter(lambda: link.recv(10), None):
        if isinstance(message, str) and (found := json.loads(message))["kind"] == kind:
            return found
    raise AssertionError


def numbers(link):
    while isinstance(message := link.recv(10), str):
        pass
    return np.frombuffer(message, "<f4")


def say(link, what, **data):
    link.send(json.dumps({"do": what, **data}))


# Who may come in


def test_the_page_and_its_files(door):
    status, text, headers = ask(door, f"/{door.token}/")
    assert status == 200
    assert "<title>gdfast lab</title>" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    for name, body in server.files().items():
        status, text, headers = ask(door, f"/{door.token}/{name}?again")
        assert (status, text.encode()) == (200, body)
        assert headers["Content-Type"].startswith("text/")


def test_the_page_asks_for_nothing_elsewhere():
    for name, body in server.files().items():
        text = body.decode()
        assert "http://" not in text.replace("http://www.w3.org", ""), name
        assert "https://" not in text, name
        assert "//cdn" not in text, name
    modules = {"lab.js", "canvas.js", "chart.js", "picture.js", "controls.js", "take.js", "toast.js", "gif.js"}
    found = ["lab.js"]
    for name in found:  # it grows on the way
        imported = re.findall(r'from "./(\w+\.js)"', server.files()[name].decode())
        found += [other for other in imported if other not in found]
    assert set(found) == modules
    assert sum(len(server.files()[name]) for name in modules) < 60_000


@pytest.mark.parametrize("path", ["/", "/lab.html", "/wrong/lab.html", "//", "/%00", "/" + "x" * 3000])
def test_a_wrong_token(door, path):
    status, text, _ = ask(door, path)
    assert status == 403
    assert "token" in text


def test_a_file_that_is_not_there(door):
    for name in ("x.html", "../session.py", "..%2fsession.py", "lab.html/x"):
        status, text, _ = ask(door, f"/{door.token}/{name}")
        assert (status, text) == (404, "gdfast lab: There is no such file.\n")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_another_host(door, host):
    status, text, _ = ask(door, f"/{door.token}/", Host=host.format(port=door.port))
    assert status == 403
    assert "not the host" in text


def test_localhost_is_this_host(door):
    assert ask(door, f"/{door.token}/", Host=f"localhost:{door.port}")[0] == 200


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("{token}/socket", None),
        ("{token}/socket", "http://evil.example"),
        ("{token}/socket", "null"),
        ("{token}/socket", "https://127.0.0.1:{port}"),
        ("wrong/socket", "http://127.0.0.1:{port}"),
        ("socket", "http://127.0.0.1:{port}"),
    ],
)
def test_a_socket_from_elsewhere(door, path, origin):
    address = f"ws://127.0.0.1:{door.port}/{path.format(token=door.token)}"
    with pytest.raises(InvalidStatus) as refused, connect(address, origin=origin and origin.format(port=door.port)):
        pass
    assert refused.value.response.status_code == 403


def test_it_listens_on_this_machine_only(door):
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {
        "127.0.0.1"
    }:
        with pytest.raises(OSError, match=r"."), socket.create_connection((address, door.port), timeout=2):
            pass


def test_what_is_no_request_is_survived(door, capfd):
    for bad in (
        b"\x00\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 999,
    ):
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as link:
            link.sendall(bad)
            with contextlib.suppress(ConnectionError):
                link.recv(1000)
    assert ask(door, f"/{door.token}/")[0] == 200
    assert capfd.readouterr().err == ""


# What a page may ask for


def test_frames_are_the_optimizers_own_numbers(door):
    race = Race(settings.read(RACE))
    with page(door) as link:
        hello = hear(link, "hello")
        assert hello["fields"] == list(FIELDS)
        assert len(hello["experiments"]) == 12
        say(link, "start", race=RACE)
        assert hear(link, "race")["race"] == settings.write(race.settings)
        heights = numbers(link)
        assert heights[:2].tolist() == [0, 161]
        assert len(heights) == 2 + 161**2
        np.testing.assert_array_equal(numbers(link), [1, 0, 1, 2, *race.frame().ravel()])
        say(link, "step")
        np.testing.assert_array_equal(numbers(link), [1, 1, 1, 2, *race.advance(1).ravel()])
        say(link, "set", racer=1, name="lr", value=0.01)
        assert hear(link, "changed")["changes"] == [[1, 1, "lr", 0.01]]
        race.change(1, "lr", 0.01)
        say(link, "play", speed=3000)
        got = numbers(link)
        assert got[:4].tolist() == [1, 2, 49, 2]
        np.testing.assert_array_equal(got[4:], race.advance(49).ravel())
        assert hear(link, "over")["step"] == 50
        say(link, "play")
        say(link, "program")
        assert "import gdfast" in hear(link, "program")["text"]
        say(link, "export")
        assert hear(link, "file")["text"].startswith("<!doctype html>")
        say(link, "back")
        again = hear(link, "race")["race"]
        assert again["racers"][1]["values"] == {"lr": 0.01}
        assert again["changes"] == []


def test_playing_pausing_and_settled_hyperparameters(door):
    with page(door) as link:
        say(link, "start", race={**RACE, "steps": 20_000}, play=True)
        hear(link, "race")
        for _ in range(4):
            numbers(link)
        say(link, "pause")
        paused = hear(link, "paused")["step"]
        assert 0 < paused < 20_000
        say(link, "play", speed=0.1)  # not a step in every picture
        time.sleep(0.1)
        say(link, "pause")
        assert hear(link, "paused")["step"] <= paused + 1
        say(link, "set", racer=0, name="amsgrad", value=True)
        assert hear(link, "race")["race"]["racers"][0]["values"] == {"lr": 0.1, "amsgrad": True}
        say(link, "play", speed=100)
        for _ in range(4):
            numbers(link)
        say(link, "set", racer=0, name="amsgrad", value=False)  # begins again, and goes on playing
        hear(link, "race")
        for _ in range(4):
            numbers(link)
        assert numbers(link)[1] > 0


def test_a_pause_that_comes_just_before_a_picture():
    sent = []

    async def send(message):
        sent.append(message)

    async def play():
        session = Session(send)
        await session.take({"do": "start", "race": RACE, "play": True})
        async with session._turn:
            clock = asyncio.create_task(session.run())
            await asyncio.sleep(0.05)
            session._playing.clear()
        await asyncio.sleep(0.05)
        clock.cancel()
        return session.race.step_count

    assert asyncio.run(play()) == 0
    assert len(sent) == 3


def test_divergence_is_told_once(door):
    with page(door) as link:
        say(link, "start", race={"surface": "rosenbrock", "racers": [{"rule": "SGD", "values": {"lr": 1.0}}]})
        say(link, "play", speed=1000)
        assert hear(link, "ended")["text"].startswith("SGD diverged")
        hear(link, "over")
        say(link, "step")
        assert hear(link, "over")["step"] < 20


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "a message must be a JSON object"),
        ("[" * 50_000, "a message must be a JSON object"),
        ("[]", "a message must be a JSON object"),
        (b"\xff\xfe\x00\x01\xff", "a message must be a JSON object"),
        ("{}", "do must be one of start"),
        ('{"do": ["start"]}', "do must be one of"),
        ('{"do": "start"}', "a race must be an object"),
        ('{"do": "start", "race": {"surface": {"formula": "__import__(x)", "view": [0, 1, 0, 1]}}}', "a formula"),
        ('{"do": "set"}', "racer must be one of"),
        ('{"do": "set", "racer": 0, "name": "lr", "value": 1e999}', "racer must be one of the 0"),
        ('{"do": "play", "speed": 1e9}', "speed must be a number from 0.1 to 3000"),
        ('{"do": "play", "speed": "fast"}', "speed must be"),
        ('{"do": "play", "speed": NaN}', "speed must be"),
    ],
)
def test_wrong_messages_are_answered_in_words(door, message, words):
    with page(door) as link:
        hear(link, "hello")
        link.send(message)
        assert words in hear(link, "error")["text"]
        say(link, "start", race=RACE)  # and all goes on
        hear(link, "race")


def test_a_slider_out_of_range_changes_nothing(door):
    with page(door) as link:
        say(link, "start", race=RACE)
        say(link, "step")
        say(link, "set", racer=0, name="lr", value=-1)
        assert "Adam: lr must be in [0, inf)" in hear(link, "error")["text"]
        say(link, "set", racer=0, name="lr", value=[1] * 1000)
        told = hear(link, "error")["text"]
        assert "Adam: lr must be a number" in told
        assert len(told) <= 600
        say(link, "start", race={**RACE, "racers": [{"rule": "SGD", "values": {"nesterov": True}}]})
        assert "SGD: nesterov" in hear(link, "error")["text"]
        say(link, "step")
        race = Race(settings.read(RACE))
        race.advance(1)
        np.testing.assert_array_equal(numbers_from_step(link, 2), race.advance(1).ravel())


def numbers_from_step(link, step):
    while (got := numbers(link))[:2].tolist() != [1, step]:
        pass
    return got[4:]


def pour(link):
    for _ in range(5000):
        say(link, "pause")
    while True:
        link.recv(10)


def test_a_flood_is_sent_away_and_others_go_on(door):
    with page(door) as flood, page(door) as other:
        hear(flood, "hello")
        with pytest.raises(ConnectionClosed, match="too many messages"):
            pour(flood)
        say(other, "start", race=RACE)
        hear(other, "race")


def test_a_message_too_long(door):
    with page(door) as link:
        hear(link, "hello")
        link.send("x" * (server.MOST_BYTES + 1))
        with pytest.raises(ConnectionClosed):
            link.recv(10)


def test_two_pages_have_a_race_each(door):
    with page(door) as one, page(door) as other:
        say(one, "start", race=RACE)
        say(other, "start", race={**RACE, "surface": "bowl"})
        assert hear(one, "race")["race"]["surface"] == "ravine"
        assert hear(other, "race")["race"]["surface"] == "bowl"


def test_too_many_pages(monkeypatch):
    monkeypatch.setattr(server, "MOST_PAGES", 1)
    with server.in_thread(serve_lab, "lab.html") as opened, page(opened) as one:
        hear(one, "hello")
        with page(opened) as two, pytest.raises(ConnectionClosed, match="1 pages are open"):
            two.recv(10)
        say(one, "step")
        hear(one, "over")


def test_a_page_that_closes_while_playing(door):
    for _ in range(3):
        with page(door) as link:
            say(link, "start", race={**RACE, "steps": 20_000}, play=True)
            hear(link, "race")
            link.socket.shutdown(socket.SHUT_RDWR)
    assert ask(door, f"/{door.token}/")[0] == 200


def test_budget():
    budget = server.Budget(rate=1e-9, most=2.0)
    assert [budget.spend() for _ in range(4)] == [True, True, False, False]
    budget = server.Budget(rate=1e9, most=2.0)
    assert all(budget.spend() for _ in range(100))


def test_a_port_that_is_taken(door):
    with pytest.raises(OSError, match="address already in use"), server.in_thread(serve_lab, "lab.html", door.port):
        pass


# The command


def test_the_command_opens_the_browser(monkeypatch, capsys):
    opened = []

    def open_(address):
        opened.append(address)
        raise KeyboardInterrupt

    monkeypatch.setattr(lab_run.webbrowser, "open", open_)
    with contextlib.suppress(KeyboardInterrupt):
        lab_run.run(link="http://127.0.0.1:1/old/#race=abc")
    (address,) = opened
    assert address.endswith("/#race=abc")
    assert capsys.readouterr().out.splitlines()[:2] == ["The lab is open at", address]


def test_the_command_ends_with_ctrl_c(ctrl_c):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(gdfast.__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-m", "gdfast", "lab", "--no-browser"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as lab:
        assert lab.stdout.readline() == "The lab is open at\n"
        address = urlsplit(lab.stdout.readline().strip())
        link = http.client.HTTPConnection(address.netloc, timeout=10)
        link.request("GET", address.path)
        assert link.getresponse().status == 200
        link.close()
        lab.send_signal(signal.SIGINT)
        assert lab.wait(20) == 130
        assert lab.stderr.read() == ""


def test_the_command_waits_for_ctrl_c(capsys, ctrl_c):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        lab_run.run(browser=False)
    assert capsys.readouterr().out.endswith("/\nIt ends with Ctrl-C.\n")


def test_wrong_options(door, capsys):
    for option, words in [
        (["--port", "70000"], "from 0 to 65535; got 70000"),
        (["--port", "x"], "whole number; got 'x'"),
    ]:
        assert main(["lab", "--no-browser", *option]) == 2
        assert words in capsys.readouterr().err
    assert main(["lab", "--no-browser", "--port", str(door.port)]) == 2
    assert f"free (Address already in use); got {door.port}" in capsys.readouterr().err
    assert "--no-browser" in CliRunner().invoke(cli.app, ["lab", "--help"]).output


def test_without_websockets(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("websockets", "gdfast.lab."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets.asyncio.server", None)
    assert main(["lab", "--no-browser"]) == 2
    assert capsys.readouterr().err == 'gdfast: this needs the package websockets: pip install "gdfast[lab]"\n'
