"""What may go wrong at the lab's server: ports that are none, numbers of thousands of digits, pages that talk much."""

import asyncio
import contextlib
import json
import logging
import socket
import time
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("websockets")
from websockets.sync.client import connect

import gdfast
from gdfast.lab import server, session, surfaces, watch, watching
from gdfast.lab.errors import LabError
from gdfast.lab.session import serve_lab

HUGE = int("9" * 4000)


@pytest.fixture(scope="module")
def door():
    with server.in_thread(serve_lab, "lab.html") as opened:
        yield opened


@contextlib.contextmanager
def page(address):
    host = urlsplit(address).netloc
    with connect(f"ws://{address.partition('//')[2]}socket", origin=f"http://{host}", compression=None) as link:
        yield link


def hear(link, kind):
    """Return the next message of this kind; others are passed over."""
    for message in iter(lambda: link.recv(10), None):
        if isinstance(message, str) and (found := json.loads(message))["kind"] == kind:
            return found
    raise AssertionError


def is_open(door):
    with page(door.address) as link:
        return hear(link, "hello")["kind"] == "hello"


@pytest.mark.parametrize("port", [70_000, -1, 2**70])
def test_a_port_out_of_range_is_an_error_and_no_wait_without_end(port):
    with pytest.raises(ValueError, match=f"port must be a whole number from 0 to 65535; got {port}"):
        watch(port=port, browser=False).__enter__()


@pytest.mark.parametrize("port", ["80", 1.5, None, True])
def test_a_port_of_another_type(port):
    with pytest.raises(TypeError, match="port must be a whole number from 0 to 65535; got "):
        watch(port=port, browser=False).__enter__()


@pytest.mark.parametrize("view", [[-HUGE, HUGE, -1, 1], [-1, 1, HUGE, 0], [float("nan"), 1, -1, 1], [True, 2, 0, 1]])
def test_a_view_beyond_all_numbers(view):
    with pytest.raises(LabError, match="view must be four numbers"):
        surfaces.of_formula("x*y", view)


def test_a_page_that_sends_a_huge_number_stays_open(door):
    race = {"surface": {"formula": "x*y", "view": [-HUGE, 1, -1, 1]}, "racers": []}
    with page(door.address) as link:
        link.send(json.dumps({"do": "start", "race": race}))
        text = hear(link, "error")["text"]
        assert text.startswith("view must be four numbers")
        assert len(text) == session.MOST_WORDS
        link.send('{"do": "pause"}')
        assert hear(link, "paused")["step"] == 0


def test_requests_in_a_row_leave_no_traceback(door, caplog):
    """One connection is one request; what comes behind it is not read, and not told of."""
    request = f"GET {urlsplit(door.address).path} HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as link:
        link.sendall(request.encode() * 3)
        with contextlib.suppress(ConnectionError):
            while link.recv(1 << 16):
                pass
    assert is_open(door)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    ("said", "error", "is_news"),
    [
        ("opening handshake failed", None, False),
        ("connection handler failed", AssertionError, False),
        ("connection handler failed", ValueError, True),
        ("server listening", None, True),
    ],
)
def test_what_the_server_logs(said, error, is_news):
    found = (error, error(), None) if error else None
    record = logging.LogRecord("gdfast.lab", logging.ERROR, __file__, 1, said, (), found)
    assert bool(server._log.filter(record)) is is_news


def test_others_go_on_while_a_race_is_exported(monkeypatch):
    """It takes half a second for a long race."""
    monkeypatch.setattr(session, "recording", lambda race: time.sleep(0.5) or "page")

    async def seen():
        said, turns = [], 0
        one = session.Session(lambda text: asyncio.sleep(0, said.append(text)))
        exporting = asyncio.create_task(one.take({"do": "export"}))
        while not exporting.done():
            await asyncio.sleep(0.01)
            turns += 1
        return said, turns

    said, turns = asyncio.run(seen())
    assert json.loads(said[0])["text"] == "page"
    assert turns > 5


def test_news_of_a_watched_training_are_bounded(monkeypatch):
    """A page that asks for nonsense all the time is told so; what it is told does not pile up."""
    monkeypatch.setattr(watching, "MOST_NEWS", 3)
    w = np.ones(2)
    opt = gdfast.SGD(w, lr=0.1)
    with watch(opt, control=True, browser=False) as shown, page(shown.address) as link:
        hear(link, "watch")
        for group in ("x" * 100_000, [0], 0.0, HUGE, None):
            link.send(json.dumps({"do": "set", "name": "lr", "value": 0.5, "group": group}))
            deadline = time.monotonic() + 10
            while shown._requests.empty() and time.monotonic() < deadline:
                time.sleep(0.01)
            shown.due = True
            shown.log(1.0)
            text = hear(link, "news")["text"]
            assert text.startswith("group must be one of the 1, counted from 0; got ")
            assert len(text) <= watching.MOST_WORDS
        assert [number for number, _, _ in shown._news] == [3, 4, 5]
        link.send(json.dumps({"do": "x" * 100_000}))
        assert len(hear(link, "error")["text"]) == watching.MOST_WORDS
        with page(shown.address) as later:
            assert "None" not in hear(later, "news")["text"]
    assert opt.param_groups[0]["lr"] == 0.1
