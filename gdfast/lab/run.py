"""The lab as a program: the server, the browser, and an end by Ctrl-C."""

import asyncio
import sys
import webbrowser

from gdfast.lab.server import open_server
from gdfast.lab.session import serve_lab

__all__ = ["run"]


def run(port: int = 0, browser: bool = True, link: str = "") -> None:
    """Serve the lab until Ctrl-C.

    Parameters
    ----------
    port : int
        Where to listen on 127.0.0.1; 0 for any free one.
    browser : bool
        Whether to open the page.
    link : str
        An address that the page gave, or its part after ``#``: the race to begin with.

    Raises
    ------
    OSError
        If the port cannot be had.
    """
    asyncio.run(_serve(port, browser, link.rpartition("#")[2]))


async def _serve(port: int, browser: bool, fragment: str) -> None:
    async with open_server(serve_lab, "lab.html", port) as door:
        address = door.address + (f"#{fragment}" if fragment else "")
        sys.stdout.write(f"The lab is open at\n{address}\nIt ends with Ctrl-C.\n")
        sys.stdout.flush()
        if browser:
            await asyncio.to_thread(webbrowser.open, address)
        await asyncio.get_running_loop().create_future()
