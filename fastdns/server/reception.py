"""The supervisor's socket, run_dir/supervisor: a line asks for something, lines are the answer.

Each line of an answer begins with a word: `ok`, `wrong` (a line about the configuration) or
`error`. Then the supervisor hangs up. It is never kept waiting: who says nothing for a while, or
takes no answer, is hung up on.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ..cache.nudge import short_path
from .desk import listen_at
from .loop import Loop

log = logging.getLogger(__name__)

OK = "ok"
WRONG = "wrong"
ERROR = "error"
LINE_MAX = 256  # octets of a request
ANSWER_MAX = 1024 * 1024
VISITORS_MAX = 8
SILENT_SECONDS = 2.0
LOOK_SECONDS = 30.0  # at the socket's file, which somebody may have removed
_CREDENTIALS = struct.Struct("@iII")  # pid, uid, gid


class Visitor:
    """Somebody who has connected. Closing is up to whoever got the request."""

    def __init__(self, connection: socket.socket, loop: Loop) -> None:
        self.socket = connection
        self._loop = loop
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, self.uid, _ = _CREDENTIALS.unpack(packed)
        self.heard = b""
        self.until = time.monotonic() + SILENT_SECONDS
        loop.keep(connection.fileno())

    def say(self, word: str, text: str = "") -> None:
        """Send a line, or as much of it as the visitor takes at once."""
        with suppress(OSError):  # nobody waits for it any more
            self.socket.send(f"{word} {text}".rstrip().encode() + b"\n", socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Hang up."""
        self._loop.forget(self.socket.fileno())
        self.socket.close()

    def __del__(self) -> None:
        # Whoever has it may fail: its number must not stay known as ours when another one has it.
        self.close()


class Reception:
    """Admits root and the user whose daemon it is, and hands each request to whom it is for."""

    def __init__(
        self, path: Path, loop: Loop, requests: Mapping[str, Callable[[Visitor], None]]
    ) -> None:
        """A request's function may answer later, but answers and closes in the end."""
        self._path = path
        self._loop = loop
        self._requests = requests
        self._listener: socket.socket | None = None
        self._visitors: list[Visitor] = []  # who have not yet said what they want
        self._look_at = math.inf
        self._has_complained = False

    def open(self) -> None:
        """Listen, if it does not yet, or if its socket has been removed.

        Without one the daemon serves all the same, and tries again now and then.
        """
        self._look_at = time.monotonic() + LOOK_SECONDS
        if self._listener is not None and self._path.is_socket():
            return
        self._close_listener()
        try:
            self._listener = listen_at(self._path)
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning("%s: %s; SIGHUP still reloads", self._path, error.strerror)
            return
        self._loop.watch(self._listener.fileno(), self._admit)

    def close(self) -> None:
        """Hang up; the name goes, too, so that nobody knocks at a door without a house."""
        self._look_at = math.inf
        for visitor in list(self._visitors):
            self._dismiss(visitor)
        if self._listener is not None:
            self._close_listener()
            with suppress(OSError):
                self._path.unlink()

    @property
    def due(self) -> float:
        """When `look` has to be called."""
        return min((self._look_at, *(visitor.until for visitor in self._visitors)))

    def look(self) -> None:
        """Hang up on who has been silent for too long, and see to the socket."""
        now = time.monotonic()
        for visitor in list(self._visitors):
            if visitor.until <= now:
                self._dismiss(visitor)
        if self._look_at <= now:
            self.open()

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def _admit(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        visitor = Visitor(connection, self._loop)
        if visitor.uid not in (0, os.geteuid()):
            visitor.close()
            return
        if len(self._visitors) >= VISITORS_MAX:
            self._dismiss(self._visitors[0])
        self._visitors.append(visitor)
        self._loop.watch(connection.fileno(), lambda: self._hear(visitor))

    def _hear(self, visitor: Visitor) -> None:
        try:
            piece = visitor.socket.recv(LINE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        visitor.heard += piece
        line, newline, _ = visitor.heard.partition(b"\n")
        if newline:
            self._hand_over(visitor, line.decode("ascii", "replace").strip())
        elif not piece or len(visitor.heard) >= LINE_MAX:
            self._dismiss(visitor)

    def _hand_over(self, visitor: Visitor, request: str) -> None:
        self._visitors.remove(visitor)
        descriptor = visitor.socket.fileno()
        self._loop.forget(descriptor)
        self._loop.keep(descriptor)
        answer = self._requests.get(request)
        if answer is not None:
            answer(visitor)
            return
        visitor.say(ERROR, "not a request")
        visitor.close()

    def _dismiss(self, visitor: Visitor) -> None:
        self._visitors.remove(visitor)
        visitor.close()


@contextmanager
def visit(path: Path, request: str, seconds: float) -> Iterator[socket.socket]:
    """Ask the supervisor whose socket lies there (OSError: nobody is there)."""
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(seconds)
        with short_path(path) as name:
            connection.connect(name)
        connection.sendall(f"{request}\n".encode())
        yield connection


def ask(path: Path, request: str, seconds: float) -> list[tuple[str, str]]:
    """Return the lines of the answer, each as its word and its text.

    OSError: nobody is there, or it hung up or was silent for so long before it had answered.
    """
    answer = b""
    with visit(path, request, seconds) as connection:
        while len(answer) < ANSWER_MAX and (piece := connection.recv(65536)):
            answer += piece
    lines = answer.decode("utf-8", "replace").splitlines()
    if not lines:
        raise ConnectionError("it hung up")
    return [(word, text) for word, _, text in (line.partition(" ") for line in lines)]
