"""The local server: the page's own files, and a session for each page that is open.

Design: it listens on 127.0.0.1 only. Every address begins with a token that nobody can guess, and every request is
asked for it. A request must also name this server as its host, so that a page elsewhere whose name was made to point
here (DNS rebinding) gets nothing, and a WebSocket must come from a page of this server. The page may load nothing from
elsewhere: its Content-Security-Policy says so to the browser.
"""

import asyncio
import contextlib
import hmac
import importlib.resources
import json
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from numbers import Integral
from typing import Any, TypeAlias

try:
    from websockets.asyncio.server import Server, ServerConnection, serve
except ImportError as error:
    raise ImportError('the lab needs websockets, which is not installed: pip install "gdfast[lab]"') from error
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

__all__ = ["Budget", "Door", "Page", "in_thread", "messages", "open_server", "together"]

#: What a page that is open is served by, until it is closed.
Page: TypeAlias = Callable[[ServerConnection], Awaitable[None]]

HOST = "127.0.0.1"
MOST_PAGES = 16
MOST_BYTES = 1 << 17  # of a message from a page
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 150.0, 300.0
KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_log = logging.getLogger("gdfast.lab")


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether something is to be logged: a wrong request is answered, or not, and no news.

    websockets asserts that nothing comes behind a request that is answered with a file.
    """
    asserted = record.exc_info is not None and record.exc_info[0] is AssertionError
    return not asserted and "handshake" not in record.getMessage()


_log.addFilter(_is_news)


class Door:
    """Who may come in: the token, the host and the files.

    Parameters
    ----------
    first : str
        The file that the address itself shows.
    """

    def __init__(self, first: str) -> None:
        self.token = secrets.token_urlsafe(24)
        self.port = 0
        self._first = first
        self._files = files()

    @property
    def address(self) -> str:
        """Where the page is, with the token."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return the answer to a request, or None for a WebSocket that may be opened."""
        hosts = f"{HOST}:{self.port}", f"localhost:{self.port}"
        if request.headers.get_all("Host") not in ([hosts[0]], [hosts[1]]):
            return self._refuse(HTTPStatus.FORBIDDEN, "This is not the host that you asked for.")
        token, _, name = request.path.partition("?")[0].lstrip("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return self._refuse(HTTPStatus.FORBIDDEN, "The token in the address is wrong: use the one printed last.")
        if name == "socket":
            if request.headers.get_all("Origin") in ([f"http://{hosts[0]}"], [f"http://{hosts[1]}"]):
                return None
            return self._refuse(HTTPStatus.FORBIDDEN, "A socket may be opened by the lab's own page only.")
        name = name or self._first
        if name not in self._files:
            return self._refuse(HTTPStatus.NOT_FOUND, "There is no such file.")
        return self._response(HTTPStatus.OK, KINDS[name.rpartition(".")[2]], self._files[name])

    def _refuse(self, status: HTTPStatus, words: str) -> Response:
        return self._response(status, "text/plain", f"gdfast lab: {words}\n".encode())

    def _response(self, status: HTTPStatus, kind: str, body: bytes) -> Response:
        headers = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY.format(host=f"{HOST}:{self.port}"),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        return Response(status.value, status.phrase, Headers(headers), body)


class Budget:
    """How many messages a page may send: a steady rate, and some at once."""

    def __init__(self, rate: float = MESSAGES_A_SECOND, most: float = MESSAGES_AT_ONCE) -> None:
        self._rate, self._most, self._left = rate, most, most
        self._then = time.monotonic()

    def spend(self) -> bool:
        """Take one message out; return whether it was there."""
        now = time.monotonic()
        self._left = min(self._most, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


def files() -> Mapping[str, bytes]:
    """Return the files of the page by name; all of them come with the package."""
    folder = importlib.resources.files("gdfast.lab") / "page"
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.name.rpartition(".")[2] in KINDS}


async def messages(connection: ServerConnection) -> AsyncIterator[dict[str, Any]]:
    """Give a page's messages, each an object; a page that floods is sent away, and one that errs is told so."""
    budget = Budget()
    async for message in connection:
        if not budget.spend():
            await connection.close(1008, "too many messages at once")
            return
        try:
            data = json.loads(message)
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict):
            yield data
        else:
            await connection.send(json.dumps({"kind": "error", "text": "a message must be a JSON object"}))


async def together(clock: Coroutine[Any, Any, None], reader: Coroutine[Any, Any, None]) -> None:
    """Run what sends beside what reads, until the page is closed; an error in either ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(clock)
            await reader
            sending.cancel()
    except* ConnectionClosed:
        pass


def check_port(port: Any) -> None:
    """Check where to listen.

    Raises
    ------
    TypeError, ValueError
        If it is no whole number from 0 to 65535.
    """
    if isinstance(port, bool) or not isinstance(port, Integral):
        raise TypeError(f"port must be a whole number from 0 to 65535; got {port!r}")
    if not 0 <= int(port) <= 65535:
        raise ValueError(f"port must be a whole number from 0 to 65535; got {port}")


@contextlib.asynccontextmanager
async def open_server(page: Page, first: str, port: int = 0) -> AsyncIterator[Door]:
    """Serve pages for the length of an ``async with`` block.

    Raises
    ------
    TypeError, ValueError
        If the port is none.
    OSError
        If it cannot be had.
    """
    check_port(port)
    door, pages = Door(first), set[ServerConnection]()

    async def handle(connection: ServerConnection) -> None:
        if len(pages) >= MOST_PAGES:
            await connection.close(1013, f"{MOST_PAGES} pages are open; close one")
            return
        pages.add(connection)
        try:
            with contextlib.suppress(ConnectionClosed):
                await page(connection)
        finally:
            pages.discard(connection)

    server: Server
    async with serve(
        handle,
        HOST,
        port,
        process_request=door.answer,
        compression=None,
        max_size=MOST_BYTES,
        server_header=None,
        logger=_log,
        close_timeout=1,
    ) as server:
        door.port = server.sockets[0].getsockname()[1]
        yield door


@contextlib.contextmanager
def in_thread(page: Page, first: str, port: int = 0) -> Any:
    """Serve pages from a thread of its own for the length of a ``with`` block; gives the `Door`.

    Raises
    ------
    TypeError, ValueError, OSError
        If the port is none, or cannot be had.
    """
    started: list[Any] = []
    ready = threading.Event()

    async def main() -> None:
        try:
            async with open_server(page, first, port) as door:
                stop = asyncio.Event()
                started.extend((door, asyncio.get_running_loop(), stop))
                ready.set()
                await stop.wait()
        except Exception as error:  # whatever it is, `ready` is waited for
            started.append(error)
            ready.set()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="gdfast lab", daemon=True)
    thread.start()
    ready.wait()
    if isinstance(started[0], Exception):
        thread.join()
        raise started[0]
    door, loop, stop = started
    try:
        yield door
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
