"""A service manager in small: it plays systemd's part for one service, a start after the other.

    with ServiceManager(directory) as manager:
        process = manager.start([sys.executable, "-m", "fastdns", "serve", …])
        manager.wait_for("READY=1")
        manager.stop()                  # SIGTERM, and its end
        manager.start([…])              # gets the sockets that the first one has stored

It listens on NOTIFY_SOCKET, keeps what comes with FDSTORE=1, and hands it to the next start as
LISTEN_FDS, after the sockets that it has opened itself (`opened`: socket activation).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MESSAGE_MAX = 64 * 1024
DESCRIPTORS_MAX = 253
WAIT_SECONDS = 20.0

# The descriptors have to be 3, 4, …, and LISTEN_PID has to be the pid of who gets them: so this
# runs between fork and exec, in a process of one thread.
LAUNCH = """
import fcntl, os, sys
given, command = [int(one) for one in sys.argv[1].split(",") if one], sys.argv[2:]
above = 3 + len(given) + max(given, default=0)
apart = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, above) for one in given]
for number, one in enumerate(apart, 3):
    os.dup2(one, number)
for one in set(given) - set(range(3, 3 + len(given))):
    os.close(one)
if given:
    os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execvp(command[0], command)
"""

Message = dict[str, str]


class ServiceManager:
    """The manager of one service; `stored` has the descriptors that it keeps, by their names.

    `opened` are sockets of its own, by the names that the service gets to see. With `watchdog`, a
    number of seconds, it wants to hear WATCHDOG=1 in each. An `abstract` address has no file.
    """

    def __init__(
        self,
        place: Path,
        *,
        opened: Sequence[tuple[str, socket.socket]] = (),
        watchdog: float = 0.0,
        abstract: bool = False,
    ) -> None:
        self.opened = list(opened)
        self.watchdog = watchdog
        self.stored: dict[str, list[socket.socket]] = {}
        self.messages: list[Message] = []  # in the order of their arrival, all starts together
        self.main_pid = 0
        self._grew = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if abstract:
            self._listener.bind(f"\0fastdns-test-{os.getpid()}-{id(self)}")
            self.address = "@" + self._listener.getsockname()[1:].decode()
        else:
            self.address = str(place / "notify")
            self._listener.bind(self.address)
            os.chmod(self.address, 0o777)  # as systemd's is
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def launch(self, command: Sequence[str]) -> tuple[list[str], dict[str, str], list[int]]:
        """Return what to start in the place of a command: the command, environment, pass_fds."""
        given = [*self.opened, *((name, one) for name, all_ in self.stored.items() for one in all_)]
        numbers = [one.fileno() for _, one in given]
        environment = dict(os.environ, NOTIFY_SOCKET=self.address)
        if given:
            environment["LISTEN_FDS"] = str(len(given))
            environment["LISTEN_FDNAMES"] = ":".join(name for name, _ in given)
        if self.watchdog:
            environment["WATCHDOG_USEC"] = str(round(self.watchdog * 1e6))
        stub = [sys.executable, "-I", "-S", "-c", LAUNCH, ",".join(map(str, numbers))]
        return [*stub, *command], environment, numbers

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen[Any]:
        """Start the service; `options` are Popen's."""
        launched, environment, numbers = self.launch(command)
        self.process: subprocess.Popen[Any] = subprocess.Popen(
            launched, env=environment, pass_fds=numbers, **options
        )
        self.main_pid = self.process.pid
        return self.process

    def stop(self, timeout: float = 10.0) -> int:
        """SIGTERM; return the exit status. What is stored stays, as for `systemctl restart`."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def wait_for(self, line: str, *, after: int = 0, timeout: float = WAIT_SECONDS) -> Message:
        """The first message with this line (without "=": this key), at index `after` or later."""
        return self.wait_until(lambda message: _has(message, line), line, after, timeout)

    def wait_until(
        self,
        fits: Callable[[Message], bool],
        what: str,
        after: int = 0,
        timeout: float = WAIT_SECONDS,
    ) -> Message:
        found: list[Message] = []

        def came() -> bool:
            found[:] = [message for message in self.messages[after:] if fits(message)]
            return bool(found)

        with self._grew:
            assert self._grew.wait_for(came, timeout), f"no {what} in {self.messages[after:]}"
        return found[0]

    def count(self, line: str) -> int:
        with self._grew:
            return sum(_has(message, line) for message in self.messages)

    def _read(self) -> None:
        while True:
            try:
                text, descriptors, _, _ = socket.recv_fds(
                    self._listener, MESSAGE_MAX, DESCRIPTORS_MAX
                )
            except OSError:
                return
            if not text:
                return
            lines = text.decode().splitlines()
            message = dict(line.partition("=")[::2] for line in lines)
            with self._grew:
                self._obey(message, descriptors)
                self.messages.append(message)
                self._grew.notify_all()

    def _obey(self, message: Mapping[str, str], descriptors: Sequence[int]) -> None:
        name = message.get("FDNAME", "stored")
        sockets = [socket.socket(fileno=one) for one in descriptors]
        if message.get("FDSTORE") == "1":
            held = {_identity(one) for all_ in self.stored.values() for one in all_}
            fresh = [one for one in sockets if _identity(one) not in held]
            self.stored.setdefault(name, []).extend(fresh)
        if message.get("FDSTOREREMOVE") == "1":
            for one in self.stored.pop(name, []):
                one.close()
        if "MAINPID" in message:
            self.main_pid = int(message["MAINPID"])

    def close(self) -> None:
        """Let go of everything; a service that runs is not touched."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._reader.join(WAIT_SECONDS)
        self._listener.close()
        for all_ in self.stored.values():
            for one in all_:
                one.close()

    def __enter__(self) -> ServiceManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _has(message: Message, line: str) -> bool:
    key, is_pair, value = line.partition("=")
    return key in message and (not is_pair or message[key] == value)


def _identity(one: socket.socket) -> int:
    return os.fstat(one.fileno()).st_ino
