"""The command line: a file a command, its options and its errors; the work is done in the other files.

`settings` are the choices of a training, `preparing` makes a task of a file, `training` trains, `report` and `picture`
show how good it is, `model` is the file that is left. Files are read and encoded by `gdfast.tables`.
Importing this imports typer and NumPy; the commands import what they need.

It uses every room but `gdfast.torch`.
"""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import typer

from gdfast.cli import bench, find, info, lab, plot, predict, show, train
from gdfast.cli.app import app
from gdfast.cli.errors import UserError
from gdfast.tables.errors import TableError

# What every error of the parser derives from; typer itself exports only the one.
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])


#: what ends a program from outside, where the system has it
ENDING = ("SIGTERM", "SIGHUP")


class Ended(BaseException):
    """The program was told to end, by a signal."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; what is wrong is one sentence on stderr, and exit code 2.

    1 if the output cannot be written; without a sentence if nobody reads it any more. 128 and a signal's number if that
    ended it, after what was half written has been removed.
    """
    try:
        with _unwinding():
            code = app(args=arguments, prog_name="gdfast", standalone_mode=False)
        if sys.stdout is not None:  # as where it was closed before
            sys.stdout.flush()
    except Ended as ended:
        return 128 + int(ended.args[0])
    except UsageError as error:
        print(f"gdfast: {error.format_message()}", file=sys.stderr)
        return 2
    except (UserError, TableError) as error:
        print(f"gdfast: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        if error.errno == errno.ENOSPC:
            print("gdfast: not all could be written: no space is left", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where Python tries again at its end
        return 1
    return code or 0


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let signals that would end the program at once end it as Ctrl-C does, unless somebody else has an answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = [number for name in ENDING if (number := getattr(signal, name, None)) is not None]
    ours = [number for number in found if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise Ended(number)
