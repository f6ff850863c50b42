"""The keeper's control socket, run_dir/keeper; machine/keeper_requests.py has the protocol."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..machine.control_socket import ERROR, LINE_MAX, listen_at

log = logging.getLogger(__name__)

CALLERS_MAX = 16
SEND_SECONDS = 0.2


class KeeperSocket:
    """Answers the processes that may connect: those of the daemon's user."""

    def __init__(self, path: Path, poll: select.poll, answer: Callable[[str], str]) -> None:
        self._path = path
        self._poll = poll
        self._answer = answer
        self._listener: socket.socket | None = None
        self._callers: dict[int, tuple[socket.socket, bytes]] = {}
        self._has_complained = False

    def open(self) -> None:
        """Listen, if it does not yet, or if its socket was removed."""
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
        """Close everything and remove the name, so that no client connects to a dead socket."""
        for descriptor in list(self._callers):
            self._dismiss(descriptor)
        if self._listener is not None:
            self._poll.unregister(self._listener)
            self._listener.close()
            self._listener = None
            with suppress(OSError):
                self._path.unlink()

    def serve(self, descriptor: int) -> bool:
        """Handle a readable descriptor; False: it is not ours."""
        if descriptor in self._callers:
            self._hear(descriptor)
        elif self._listener is not None and descriptor == self._listener.fileno():
            self._admit()
        else:
            return False
        return True

    def _admit(self) -> None:
        assert self._listener is not None
        try:
            caller, _ = self._listener.accept()
        except OSError:
            return
        if len(self._callers) >= CALLERS_MAX:
            self._dismiss(next(iter(self._callers)))  # the client that has been silent for longest
        caller.settimeout(SEND_SECONDS)
        self._callers[caller.fileno()] = (caller, b"")
        self._poll.register(caller, select.POLLIN)

    def _hear(self, descriptor: int) -> None:
        caller, heard = self._callers.pop(descriptor)
        try:
            piece = caller.recv(LINE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            piece = None
        except OSError:
            piece = b""
        heard += piece or b""
        line, newline, _ = heard.partition(b"\n")
        self._callers[descriptor] = (caller, b"")
        if newline:
            self._reply(caller, line)
        elif piece != b"" and len(heard) < LINE_MAX:
            self._callers[descriptor] = (caller, heard)
            return
        self._dismiss(descriptor)

    def _reply(self, caller: socket.socket, line: bytes) -> None:
        try:
            answer = self._answer(line.decode("ascii"))
        except UnicodeDecodeError:
            answer = f"{ERROR} not a request"
        with suppress(OSError):  # the client has gone
            caller.sendall(f"{answer}\n".encode())

    def _dismiss(self, descriptor: int) -> None:
        caller, _ = self._callers.pop(descriptor)
        self._poll.unregister(caller)
        caller.close()
