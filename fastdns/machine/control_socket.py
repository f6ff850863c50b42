"""A daemon's control sockets, in run_dir: a request is one line, the answer is lines.

Each line of the supervisor's answers begins with a word: `ok`, `warning` (it is done, but not all
is well), `wrong` (a line about the configuration) or `error`. Then the daemon closes the
connection. keeper_requests has the requests to the keeper.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

OK = "ok"
WARNING = "warning"
WRONG = "wrong"
ERROR = "error"
LINE_MAX = 256  # bytes of a request
ANSWER_MAX = 1024 * 1024
BACKLOG = 64


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for a socket's path that fits into an address, however long the path is."""
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def listen_at(path: Path) -> socket.socket:
    """Return a socket that listens there for processes of our user (OSError: impossible)."""
    with suppress(FileNotFoundError):
        path.unlink()  # a predecessor's
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        with short_path(path) as name:
            listener.bind(name)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


@contextmanager
def connected(
    path: Path, request: str, seconds: float, descriptors: Sequence[int] = ()
) -> Iterator[socket.socket]:
    """Send a request, with open files, to the daemon with this socket. OSError: none listens."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(seconds)
        with short_path(path) as name:
            connection.connect(name)
        socket.send_fds(connection, [f"{request}\n".encode()], descriptors)
        yield connection


def answer_to(path: Path, request: str, seconds: float, descriptors: Sequence[int] = ()) -> str:
    """Return the answer of a daemon's socket, without the end of the last line.

    OSError: no daemon listens there, or it did not finish in time.
    """
    until = time.monotonic() + seconds
    answer = b""
    with connected(path, request, seconds, descriptors) as connection:
        while len(answer) < ANSWER_MAX and (piece := connection.recv(65536)):
            answer += piece
            connection.settimeout(max(until - time.monotonic(), 0.001))
    return answer.decode("utf-8", "replace").removesuffix("\n")


def ask(
    path: Path, request: str, seconds: float, descriptors: Sequence[int] = ()
) -> list[tuple[str, str]]:
    """Return the lines of the supervisor's answer, each as its word and its text.

    OSError: no daemon listens there, or it closed the connection or was too slow to answer.
    """
    lines = answer_to(path, request, seconds, descriptors).splitlines()
    if not lines:
        raise ConnectionError("it closed the connection")
    return [(word, text) for word, _, text in (line.partition(" ") for line in lines)]
