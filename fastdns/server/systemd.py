"""The service manager that started us, if any: what it passes to us and what we tell it.

See sd_notify(3), sd_listen_fds(3) and, about the sockets that it keeps for us over a restart,
FileDescriptorStoreMax= in systemd.service(5). Without NOTIFY_SOCKET there is no one to tell.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress

from .socket_activation import Handed, handed
from .watchdog import Silence

log = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
SEND_SECONDS = 1.0  # a manager that does not read must not delay answers for longer
SILENT_SECONDS = 5.0  # workers publish the state of the upstreams each second
FORGOTTEN = -1


class Manager:
    """The service manager of this process."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        """Take its variables out of the environment, because our children must not use them."""
        environment = os.environ if environment is None else environment
        self.handed: Sequence[Handed] = _take_handed(environment)
        self.watchdog_seconds = _take_watchdog(environment)  # how often it wants to hear from us
        self._address = _take_address(environment)
        self._socket: socket.socket | None = None
        self._is_unreachable = False  # it did not receive the last message
        self._kept: dict[str, int] = {}  # the sockets that it keeps, by name
        self.remember(self.handed)
        if self._address:
            with suppress(OSError):  # sent with the first message
                self._connect()  # now, because a user without root's rights may not reach it

    @property
    def is_there(self) -> bool:
        """Whether it wants messages."""
        return bool(self._address)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that let another process talk to it as we do."""
        if not self._address:
            return {}
        told = {"NOTIFY_SOCKET": self._address.replace("\0", "@", 1)}
        if self.watchdog_seconds < math.inf:
            told["WATCHDOG_USEC"] = str(round(self.watchdog_seconds * 1e6))
        return told

    def remember(self, handed_over: Sequence[Handed]) -> None:
        """Note that it keeps those of ours among these."""
        for one in handed_over:
            if one.is_ours:  # of two with one name only the name is known: both must go
                is_first = one.name not in self._kept
                self._kept[one.name] = _identity(one.bound) if is_first else FORGOTTEN

    def ready(self, status: str) -> None:
        """We serve, or serve again after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._tell(f"STATUS={text}")

    def reloading(self) -> None:
        """We change to another configuration; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """We are stopping."""
        self._tell("STOPPING=1", "STATUS=stopping: sending the last answers")

    def alive(self) -> None:
        """For the watchdog: we still serve."""
        self._tell("WATCHDOG=1")

    def succeeded_by(self, pid: int) -> None:
        """That process is the daemon from now on."""
        self._tell(f"MAINPID={pid}")

    def keep(self, sockets: Mapping[str, socket.socket]) -> None:
        """Let it keep these by name, and no others of ours: the next start gets them back."""
        wanted = {name: _identity(one) for name, one in sockets.items()}
        for name, identity in list(self._kept.items()):
            if wanted.get(name) != identity and self._tell("FDSTOREREMOVE=1", f"FDNAME={name}"):
                del self._kept[name]
        for name, identity in wanted.items():
            # It would drop a socket with an error pending, as a UDP socket may have.
            store = ("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0")
            if name not in self._kept and self._tell(*store, descriptor=sockets[name].fileno()):
                self._kept[name] = identity

    def _tell(self, *lines: str, descriptor: int | None = None) -> bool:
        """Return whether it received the message, or wants none."""
        if not self._address:
            return True
        message = ["\n".join(lines).encode("utf-8", "replace")]
        descriptors = [] if descriptor is None else [descriptor]
        try:
            try:
                socket.send_fds(self._connect(), message, descriptors)
            except (ConnectionRefusedError, ConnectionResetError):  # it has opened its socket again
                self._forget()
                socket.send_fds(self._connect(), message, descriptors)
        except OSError as error:
            if not self._is_unreachable:
                log.warning("cannot notify the service manager: %s", error.strerror or error)
            self._is_unreachable = True
            return False
        self._is_unreachable = False
        return True

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.connect(self._address)
        self._socket.settimeout(0.0 if self._is_unreachable else SEND_SECONDS)
        return self._socket

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class ServiceWatchdog:
    """Notifies the watchdog at half its interval, as long as every worker responds.

    A hung worker keeps answers from some clients for ever; the manager then restarts us.
    """

    def __init__(self, manager: Manager, signs: Callable[[], Mapping[str, float]]) -> None:
        """`signs`: when each serving worker last responded, by time.monotonic."""
        self._manager = manager
        self._signs = signs
        self._half = manager.watchdog_seconds / 2
        self._silence = Silence(SILENT_SECONDS)
        self._is_waiting = False
        self.due = -math.inf if manager.is_there and self._half < math.inf else math.inf

    def look(self) -> None:
        """Notify the manager if that is due, and if we serve."""
        now = time.monotonic()
        if now < self.due:
            return
        signs = self._signs()
        silent = self._silence.of(signs, now)
        if signs and not silent:
            self._manager.alive()
            self.due = now + self._half
        else:  # look again soon: the worker may have been very busy
            self.due = now + min(self._half, 1.0)
        if silent and not self._is_waiting:
            log.error(
                "the %s has not responded for %d s; unless it is replaced soon, systemd "
                "restarts fastdns",
                *(silent[0], SILENT_SECONDS),
            )
        self._is_waiting = bool(silent)


def _take_address(environment: MutableMapping[str, str]) -> str:
    given = environment.pop("NOTIFY_SOCKET", "")
    if given.startswith("@"):
        return f"\0{given[1:]}"  # unix(7): the abstract namespace
    if given and not given.startswith("/"):
        log.warning("NOTIFY_SOCKET=%s: is neither a path nor an abstract name; not used", given)
        return ""
    return given


def _take_watchdog(environment: MutableMapping[str, str]) -> float:
    """Return how often it wants to hear from us, in seconds; infinity: never."""
    microseconds = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
    if pid != str(os.getpid()) or not microseconds.isdecimal() or not int(microseconds):
        return math.inf
    return int(microseconds) / 1e6


def _take_handed(environment: MutableMapping[str, str]) -> list[Handed]:
    count = environment.pop("LISTEN_FDS", "")
    pid = environment.pop("LISTEN_PID", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    environment.pop("LISTEN_PIDFDID", None)  # systemd 258: the same process, named in another way
    if pid != str(os.getpid()) or not count.isdecimal():
        return []  # meant for another process, whose environment we inherited
    found = []
    for number in range(int(count)):
        name = names[number] if number < len(names) else "unknown"
        try:
            found.append(handed(name, FIRST_DESCRIPTOR + number))
        except OSError as error:
            log.warning("descriptor %d (%s): %s", FIRST_DESCRIPTOR + number, name, error.strerror)
    return [one for one in found if one is not None]


def _identity(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino
