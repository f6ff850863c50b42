"""The supervisor's control socket, run_dir/supervisor: it receives requests and answers them.

No client can make it wait: a client that is silent or does not read is disconnected.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..machine.control_socket import ERROR, LINE_MAX, listen_at
from .loop import Loop

log = logging.getLogger(__name__)

CALLERS_MAX = 8
DESCRIPTORS_MAX = 2  # of one caller
SILENT_SECONDS = 2.0
LOOK_SECONDS = 30.0  # between checks whether the socket's file was removed
_CREDENTIALS = struct.Struct("@iII")  # pid, uid, gid


class Caller:
    """A connected client. The function that handles its request closes it."""

    def __init__(self, connection: socket.socket, loop: Loop) -> None:
        self.socket = connection
        self._loop = loop
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, self.uid, _ = _CREDENTIALS.unpack(packed)
        self.heard = b""
        self.descriptors: list[int] = []  # that it has sent along
        self.until = time.monotonic() + SILENT_SECONDS
        loop.keep(connection.fileno())

    def say(self, word: str, text: str = "") -> None:
        """Send a line, or as much of it as the client takes at once."""
        with suppress(OSError):  # the client has gone
            self.socket.send(f"{word} {text}".rstrip().encode() + b"\n", socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Close the connection."""
        self._loop.forget(self.socket.fileno())
        self.socket.close()
        while self.descriptors:
            one = self.descriptors.pop()
            self._loop.forget(one)
            os.close(one)

    def hear(self) -> bytes:
        """Return what it has sent, b"" at its end. BlockingIOError: nothing yet; OSError: gone."""
        room = DESCRIPTORS_MAX - len(self.descriptors)
        piece, received, _, _ = socket.recv_fds(
            self.socket, LINE_MAX, max(room, 1), socket.MSG_DONTWAIT
        )
        for one in received:
            os.set_inheritable(one, False)
            self._loop.keep(one)
        self.descriptors += received
        return b"" if len(self.descriptors) > DESCRIPTORS_MAX else piece

    def __del__(self) -> None:
        # If its function raised: forget the number, which another socket may get.
        self.close()


class ControlSocket:
    """Admits root and the daemon's user, and passes each request to its function."""

    def __init__(
        self, path: Path, loop: Loop, requests: Mapping[str, Callable[[Caller], None]]
    ) -> None:
        """A request's function may answer later, but it always answers and closes."""
        self._path = path
        self._loop = loop
        self._requests = requests
        self._listener: socket.socket | None = None
        self._callers: list[Caller] = []  # clients that have not sent a request yet
        self._look_at = math.inf
        self._has_complained = False

    def open(self) -> None:
        """Listen, if it does not yet, or if its socket was removed.

        Without a socket the daemon still serves, and tries again later.
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
        """Close everything and remove the name, so that no client connects to a socket without a
        reader.
        """
        self._look_at = math.inf
        for caller in list(self._callers):
            self._dismiss(caller)
        if self._listener is not None:
            self._close_listener()
            with suppress(OSError):
                self._path.unlink()

    @property
    def due(self) -> float:
        """When `look` must be called."""
        return min((self._look_at, *(caller.until for caller in self._callers)))

    def look(self) -> None:
        """Disconnect clients that were silent for too long, and check the socket."""
        now = time.monotonic()
        for caller in list(self._callers):
            if caller.until <= now:
                self._dismiss(caller)
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
        caller = Caller(connection, self._loop)
        if caller.uid not in (0, os.geteuid()):
            caller.close()
            return
        if len(self._callers) >= CALLERS_MAX:
            self._dismiss(self._callers[0])
        self._callers.append(caller)
        self._loop.watch(connection.fileno(), lambda: self._hear(caller))

    def _hear(self, caller: Caller) -> None:
        try:
            piece = caller.hear()
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        caller.heard += piece
        line, newline, _ = caller.heard.partition(b"\n")
        if newline:
            self._hand_over(caller, line.decode("ascii", "replace").strip())
        elif not piece or len(caller.heard) >= LINE_MAX:
            self._dismiss(caller)

    def _hand_over(self, caller: Caller, request: str) -> None:
        self._callers.remove(caller)
        descriptor = caller.socket.fileno()
        self._loop.forget(descriptor)
        self._loop.keep(descriptor)
        answer = self._requests.get(request)
        if answer is not None:
            answer(caller)
            return
        caller.say(ERROR, "not a request")
        caller.close()

    def _dismiss(self, caller: Caller) -> None:
        self._callers.remove(caller)
        caller.close()
