"""The keeper's socket: a line a request, a line an answer. cache/nudge.py has the protocol."""

from __future__ import annotations

import logging
import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..cache.nudge import ERROR, LINE_MAX, short_path

log = logging.getLogger(__name__)

VISITORS_MAX = 16
SEND_SECONDS = 0.2
BACKLOG = 64


class Desk:
    """Answers those who may connect: processes of the user whose daemon it is."""

    def __init__(self, path: Path, poll: select.poll, answer: Callable[[str], str]) -> None:
        self._path = path
        self._poll = poll
        self._answer = answer
        self._listener: socket.socket | None = None
        self._visitors: dict[int, tuple[socket.socket, bytes]] = {}
        self._has_complained = False

    def open(self) -> None:
        """Listen, if it does not yet, or if its socket has been removed."""
        if self._listener is not None:
            if self._path.is_socket():
                return
            self.close()
        try:
            self._listener = listen_at(self._path)
        except OSError as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning("%s: %s; commands cannot reach the keeper", self._path, error.strerror)
            return
        self._poll.register(self._listener, select.POLLIN)

    def close(self) -> None:
        """Hang up; the name goes, too, so that nobody knocks at a door without a house."""
        for descriptor in list(self._visitors):
            self._dismiss(descriptor)
        if self._listener is not None:
            self._poll.unregister(self._listener)
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                self._path.unlink()

    def serve(self, descriptor: int) -> bool:
        """Do what a readable descriptor asks for; False: it is none of ours."""
        if descriptor in self._visitors:
            self._hear(descriptor)
        elif self._listener is not None and descriptor == self._listener.fileno():
            self._admit()
        else:
            return False
        return True

    def _admit(self) -> None:
        assert self._listener is not None
        try:
            visitor, _ = self._listener.accept()
        except OSError:
            return
        if len(self._visitors) >= VISITORS_MAX:
            self._dismiss(next(iter(self._visitors)))  # who has been silent for longest
        visitor.settimeout(SEND_SECONDS)
        self._visitors[visitor.fileno()] = (visitor, b"")
        self._poll.register(visitor, select.POLLIN)

    def _hear(self, descriptor: int) -> None:
        visitor, heard = self._visitors.pop(descriptor)
        try:
            piece = visitor.recv(LINE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            piece = None
        except OSError:
            piece = b""
        heard += piece or b""
        line, newline, _ = heard.partition(b"\n")
        self._visitors[descriptor] = (visitor, b"")
        if newline:
            self._reply(visitor, line)
        elif piece != b"" and len(heard) < LINE_MAX:
            self._visitors[descriptor] = (visitor, heard)
            return
        self._dismiss(descriptor)

    def _reply(self, visitor: socket.socket, line: bytes) -> None:
        try:
            answer = self._answer(line.decode("ascii"))
        except UnicodeDecodeError:
            answer = f"{ERROR} not a request"
        with suppress(OSError):  # nobody waits for it any more
            visitor.sendall(f"{answer}\n".encode())

    def _dismiss(self, descriptor: int) -> None:
        visitor, _ = self._visitors.pop(descriptor)
        self._poll.unregister(visitor)
        visitor.close()


def listen_at(path: Path) -> socket.socket:
    """Return a socket that listens there for processes of our user (OSError: it cannot be)."""
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
