"""How this instance takes over from another: sockets and lock go along, no query is lost.

The successor asks over the control socket of the instance that runs; a line a step.

| the successor | the instance that runs |
|---|---|
| takeover | `ok JSON`, then descriptors: the lock on state_dir, the sockets. It serves on |
| stop: all that may fail is done | `stopped`: its keeper and workers have ended, all is on disk |
| ready: workers serve | `bye`, and it ends |

Queries that come meanwhile wait in the sockets, which both have open. Should the successor end, or
be silent for too long after `stopped`, the other one (handover.py) starts keeper and workers
again. All processes of the successor hold the connection: when it ends, none of them is left.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Mapping

import attrs

from ..config.places import Places
from ..errors import StartError
from ..machine.control_socket import OK, short_path
from .socket_activation import Handed, handed

log = logging.getLogger(__name__)

TAKEOVER = "takeover"
STOP = "stop"
STOPPED = "stopped"
READY = "ready"
BYE = "bye"

GIVE_SECONDS = 5.0
STOP_SECONDS = 30.0  # keeper and workers have 6 each
BYE_SECONDS = 1.0
LINE_MAX = 256 * 1024
DESCRIPTORS_AT_ONCE = 200  # the kernel's limit is 253 a message: unix(7)
PEER = struct.Struct("@iII")  # pid, uid, gid: SO_PEERCRED, unix(7)


@attrs.define(eq=False)
class Predecessor:
    """The running instance, at the other end of a connection, and what it has given us."""

    pid: int
    lock: int  # the lock on state_dir, which is ours as soon as that instance ends
    handed: list[Handed]
    environment: Mapping[str, str]  # the environment that its service manager gave it
    _connection: socket.socket

    def stop(self) -> bool:
        """Make it stop keeper and workers; False: it does not confirm that, and may be gone."""
        self._connection.settimeout(STOP_SECONDS)
        return _ask(self._connection, STOP) == STOPPED

    def forget(self) -> None:
        """Close the connection, which it takes for our end."""
        self._connection.close()

    def dismiss(self) -> None:
        """Tell it that we serve, so that it ends."""
        self._connection.settimeout(BYE_SECONDS)
        if _ask(self._connection, READY) != BYE:
            log.warning("pid %d ended before it learned that this process serves", self.pid)
        self._connection.close()


def find(places: Places) -> Predecessor | None:
    """Return the running instance, which has given us its sockets; None: there is none.

    Also None if it hangs or ends meanwhile: taking the lock then shows which. StartError: it
    refuses to hand over.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(GIVE_SECONDS)
    try:
        with short_path(places.supervisor) as name:
            connection.connect(name)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        raise StartError(
            f"{places.supervisor}: {error.strerror}; take over as the same user, or as root"
        ) from error
    pid, _, _ = _peer(connection)
    answer = _ask(connection, TAKEOVER)
    if not answer:
        log.warning("fastdns (pid %d) does not answer; if it hangs, end it with kill -9", pid)
        connection.close()
        return None
    word, _, text = answer.partition(" ")
    if word != OK:
        raise StartError(
            f"the running fastdns (pid {pid}) does not hand over ({text}); "
            f"stop it, then start without --takeover"
        )
    return _accept(places, pid, text, connection)


def _accept(places: Places, pid: int, text: str, connection: socket.socket) -> Predecessor:
    """Return it with what it gives; it may be another version, or another program."""
    try:
        told = json.loads(text)
        names = [str(name) for name in told["names"]]
        environment = {str(key): str(value) for key, value in told["environment"].items()}
        lock, *descriptors = _receive_descriptors(connection, 1 + len(names))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"cannot understand what fastdns (pid {pid}) hands over") from error
    if not _is_file(lock, places):
        raise StartError(
            f"{places.supervisor} belongs to a fastdns (pid {pid}) with another state_dir; "
            f"choose another directory with --state DIR"
        )
    given = [handed(name, one) for name, one in zip(names, descriptors, strict=True)]
    log.info("taking over from pid %d", pid)
    found = [one for one in given if one is not None]
    return Predecessor(pid, lock, found, environment, connection)


def _is_file(lock: int, places: Places) -> bool:
    os.set_inheritable(lock, False)
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(places.lock))
    except OSError:
        return False


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, user and group of the other side, as they were when it connected or listened."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
    pid, uid, gid = PEER.unpack(raw)
    return int(pid), int(uid), int(gid)


def _ask(connection: socket.socket, request: str) -> str:
    """Return the answer, a line; "" if there is none."""
    try:
        connection.sendall(f"{request}\n".encode())
        return _read_line(connection)
    except OSError:
        return ""


def _read_line(connection: socket.socket) -> str:
    """Read a line and no more: a plain read of their byte would lose the descriptors."""
    heard = b""
    while not heard.endswith(b"\n"):
        seen = connection.recv(LINE_MAX, socket.MSG_PEEK)
        if not seen or len(heard) > LINE_MAX:
            return ""
        heard += connection.recv(seen.find(b"\n") + 1 or len(seen))
    return heard.decode("utf-8", "replace").rstrip("\n")


def _receive_descriptors(connection: socket.socket, count: int) -> list[int]:
    """Return so many descriptors. OSError: they do not come; none is left open."""
    received: list[int] = []
    while len(received) < count:
        octet, descriptors, flags, _ = socket.recv_fds(connection, 1, DESCRIPTORS_AT_ONCE)
        received += descriptors
        # MSG_CTRUNC: this process may not have that many.
        if not octet or not descriptors or flags & socket.MSG_CTRUNC:
            for one in received:
                os.close(one)
            raise OSError("some descriptors are missing")
    return received
