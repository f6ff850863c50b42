"""How this instance hands over to another one. takeover.py describes the protocol."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..machine.control_socket import ERROR, OK
from .control_socket import Caller
from .loop import Loop
from .takeover import BYE, DESCRIPTORS_AT_ONCE, READY, STOP, STOPPED

log = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0  # from `stopped` to `ready`
GIVE_SECONDS = 5.0
ORPHANS_SECONDS = 6.0  # for which children of a dead successor take their own end
LINE_MAX = 64

Named = Sequence[tuple[str, socket.socket]]


class Successor:
    """An instance that wants to take over from this one, at the other end of a connection."""

    def __init__(self, caller: Caller) -> None:
        """It owns the connection from now on. OSError: the caller is gone."""
        self.pid = caller.pid
        self._caller = caller
        self._connection = caller.socket
        self._heard = b""
        # In the worst case a pid is another process's by now; this descriptor never is.
        self._process = os.pidfd_open(self.pid)

    def fileno(self) -> int:
        return self._connection.fileno()

    def give(self, lock: int, sockets: Named, environment: Mapping[str, str]) -> None:
        """Give it all that it needs to serve in our place. OSError: it does not take that."""
        told = {"names": [name for name, _ in sockets], "environment": dict(environment)}
        descriptors = [lock, *(one.fileno() for _, one in sockets)]
        self._connection.settimeout(GIVE_SECONDS)
        self._connection.sendall(f"{OK} {json.dumps(told)}\n".encode())
        for first in range(0, len(descriptors), DESCRIPTORS_AT_ONCE):
            batch = descriptors[first : first + DESCRIPTORS_AT_ONCE]
            socket.send_fds(self._connection, [b"+"], batch)

    def says(self) -> str | None:
        """Return what it has said, "" if it is gone, None if a line is not complete yet."""
        try:
            piece = self._connection.recv(LINE_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return ""
        self._heard += piece
        line, newline, rest = self._heard.partition(b"\n")
        if newline:
            self._heard = rest
            return line.decode("ascii", "replace")
        return None if piece and len(self._heard) < LINE_MAX else ""

    def serves(self) -> bool:
        """Tell it that this instance has stopped serving; return whether it serves soon enough.

        If not, it is killed with all its processes, as far as possible.
        """
        try:
            self._connection.sendall(f"{STOPPED}\n".encode())
        except OSError:
            return False
        said = self._wait(ANSWER_SECONDS)
        if said == READY:
            return True
        if said is None:
            log.error("pid %d did not serve within %g s and is killed", self.pid, ANSWER_SECONDS)
        with suppress(OSError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        while said != "":
            said = self._wait(ORPHANS_SECONDS)
            if said is None:
                log.error("processes of pid %d do not end", self.pid)
                break
        return False

    def dismiss(self) -> None:
        """Tell it that it is now the only one."""
        with suppress(OSError):
            self._connection.sendall(f"{BYE}\n".encode())

    def close(self) -> None:
        """Close the connection."""
        self._caller.close()
        os.close(self._process)

    def _wait(self, seconds: float) -> str | None:
        """Return what it says, "" if it is gone, None if nothing came in time."""
        until = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while poll.poll(max(until - time.monotonic(), 0.0) * 1000):
            said = self.says()
            if said is not None:
                return said
        return None


class Handover:
    """The instance that wants to take over, from its first request until it serves or fails."""

    def __init__(
        self,
        loop: Loop,
        lock: int,
        *,
        hand_over: Callable[[Successor], None],
        give_up: Callable[[], None],
    ) -> None:
        """`lock` is the one on state_dir. `hand_over` is called when the successor wants us to stop
        serving, and closes it. `give_up` is called if it ends before that.
        """
        self._loop = loop
        self._lock = lock
        self._hand_over = hand_over
        self._give_up = give_up
        self._successor: Successor | None = None

    def begin(self, caller: Caller, sockets: Named, environment: Mapping[str, str]) -> None:
        """Answer a request; an earlier caller that did not continue is forgotten."""
        self.end()
        if environment and not _is_in_our_unit(caller.pid):
            caller.say(ERROR, "its service manager would not accept it: restart the unit there")
            caller.close()
            return
        try:
            successor = Successor(caller)
        except OSError:
            caller.close()
            return
        try:
            successor.give(self._lock, sockets, environment)
        except OSError as error:
            log.warning("cannot hand the sockets over to pid %d: %s", successor.pid, error)
            caller.say(ERROR, "the sockets cannot be handed over")
            successor.close()
            return
        self._successor = successor
        self._loop.watch(successor.fileno(), self._hear)

    def _hear(self) -> None:
        successor = self._successor
        assert successor is not None
        said = successor.says()
        if said is None:
            return
        if said != STOP:
            log.warning("pid %d stopped taking over", successor.pid)
            self.end()
            self._give_up()
            return
        self._successor = None
        self._loop.forget(successor.fileno())
        self._loop.keep(successor.fileno())
        self._hand_over(successor)

    def end(self) -> None:
        """Forget a caller that has asked to take over and did not continue."""
        if self._successor is not None:
            self._successor.close()
            self._successor = None


def _is_in_our_unit(pid: int) -> bool:
    """Whether a service manager counts that process as ours: it goes by control groups."""
    try:
        theirs = Path(f"/proc/{pid}/cgroup").read_text()
        return theirs == Path("/proc/self/cgroup").read_text()
    except OSError:
        return True
