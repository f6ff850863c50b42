"""`fastdns serve` as processes that are forked where Python has imported what a daemon imports.

To start Python and to import takes more than half of the CPU time of a daemon's start. This file as
a program imports the same modules, and no other, and forks a daemon for each request. Whatever
changes the start (a prefix, a service manager, another main module, another network or environment)
starts Python as users do, and so does a test about memory or about a command line in /proc.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

REQUEST_MAX = 1 << 20
STREAMS = 4  # stdin, stdout, stderr, and the socket that tells of its end

NETWORK = "/proc/thread-self/ns/net"
HOME = os.readlink(NETWORK)


def environment() -> dict[str, str]:
    """All of ours but the name of the test."""
    return {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST_")}


ENVIRONMENT = environment()  # before any test has changed it
_server: socket.socket | None = None


def can_fork() -> bool:
    """Return whether network and environment here are those of the process that forks."""
    return os.readlink(NETWORK) == HOME and environment() == ENVIRONMENT


class ForkedDaemon:
    """A daemon; what tests use of subprocess.Popen, with the same meaning."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.returncode: int | None = None
        self._control, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        err, stderr = os.pipe()
        self.stderr: IO[str] = open(err, errors="replace")  # noqa: SIM115 - its reader closes it
        request = json.dumps([[*arguments], os.getcwd()]).encode()
        with end, open(os.devnull) as stdin:
            socket.send_fds(_connection(), [request], [stdin.fileno(), 1, stderr, end.fileno()])
        os.close(stderr)
        told = self._control.recv(64)
        assert told, "the process that forks daemons has ended"
        self.pid = int(told)

    def poll(self) -> int | None:
        if self.returncode is None:
            self._control.setblocking(False)
            try:
                self._end(self._control.recv(64))
            except BlockingIOError:
                return None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._control.settimeout(timeout)
            try:
                self._end(self._control.recv(64))
            except TimeoutError:
                expired = import_module("subprocess").TimeoutExpired
                raise expired(f"fastdns {self.pid}", timeout) from None
        assert self.returncode is not None
        return self.returncode

    def _end(self, status: bytes) -> None:
        """Its parent tells the status, keeps the process id until it is asked not to, and ends."""
        self.returncode = int(status)
        self._control.settimeout(None)
        self._control.shutdown(socket.SHUT_WR)
        self._control.recv(1)
        self._control.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _connection() -> socket.socket:
    """The socket of the process that forks, which ends with this one."""
    global _server
    if _server is None:
        _server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_MAX)
        with theirs:
            import_module("subprocess").Popen(
                [sys.executable, __file__], stdin=theirs, start_new_session=True, env=ENVIRONMENT
            )
    return _server


# ---- the process that forks


def wait_for_requests() -> list[str]:
    """Fork for each request; return the arguments, only in the process that is the daemon."""
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for daemons
    while True:
        # Not recv_fds, which imports a module that a daemon does not have.
        message, ancillary, *_ = requests.recvmsg(REQUEST_MAX, socket.CMSG_SPACE(4 * STREAMS))
        if not message:
            os._exit(0)
        packed = ancillary[0][2]
        places = range(0, 4 * STREAMS, 4)
        descriptors = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in places]
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    requests.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, end = descriptors
    if daemon := os.fork():
        for number in (0, 1, 2, *streams):
            os.close(number)
        wait_for_end(daemon, socket.socket(fileno=end))
    os.setsid()
    with socket.socket(fileno=end) as control:
        control.send(b"%d" % os.getpid())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(descriptors) + 1)
    arguments, directory = json.loads(message)
    os.chdir(directory)
    return list(arguments)


def wait_for_end(daemon: int, control: socket.socket) -> None:
    """Tell the exit status; keep the process id taken until the test has heard of it."""
    ended = os.waitid(os.P_PID, daemon, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    control.send(b"%d" % (ended.si_status * (1 if ended.si_code == os.CLD_EXITED else -1)))
    control.recv(1)
    os.waitpid(daemon, 0)
    os._exit(0)


if __name__ == "__main__":
    start = import_module("fastdns.__main__")
    import_module("fastdns.server.command")
    sys.argv = [str(start.__file__), *wait_for_requests()]
    sys.exit(start.main())
