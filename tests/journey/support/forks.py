"""Commands of fastdns as processes that are forked where Python has imported all they need.

To start Python and to import takes most of a command's time. A process that has done both, this
file as a program, forks one that becomes the command, with its own arguments, environment, working
directory, standard streams and end. tests/journey/test_closed_checkout.py starts each command in
the usual way.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REQUEST_MAX = 1 << 20
TIMEOUT = 60.0
LIBC = ctypes.CDLL(None, use_errno=True)
NETWORK = "/proc/thread-self/ns/net"
HOME = os.open(NETWORK, os.O_RDONLY)  # the first command may be run inside another network

_server: socket.socket | None = None


def run(
    *arguments: str | Path, text_in: str = "", inside: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it prints, as subprocess.run does.

    `inside`: a process in whose network and mounts it is run.
    """
    (stdin, ours), (out, stdout), (err, stderr) = os.pipe(), os.pipe(), os.pipe()
    theirs = (stdin, stdout, stderr)
    control, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [os.fspath(one) for one in arguments]
    request = json.dumps([words, inside, os.getcwd(), dict(os.environ)]).encode()
    with control, ThreadPoolExecutor(3) as pool:
        socket.send_fds(_connection(), [request], [*theirs, end.fileno()])
        for descriptor in theirs:
            os.close(descriptor)
        end.close()
        typed = pool.submit(_write, ours, text_in)
        printed = [pool.submit(_read, descriptor) for descriptor in (out, err)]
        pid = int(control.recv(64))
        control.settimeout(TIMEOUT)
        try:
            status = int(control.recv(64))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(words, TIMEOUT) from None
        typed.result()
        return subprocess.CompletedProcess(words, status, *(one.result() for one in printed))


def _write(descriptor: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "w") as pipe:
        pipe.write(text)


def _read(descriptor: int) -> str:
    with open(descriptor) as pipe:
        return pipe.read()


def _connection() -> socket.socket:
    """The socket of the process that forks, which ends with this one."""
    global _server
    if _server is None:
        _server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_MAX)
        with theirs:
            subprocess.Popen(
                [sys.executable, __file__, str(HOME)],
                stdin=theirs,
                start_new_session=True,
                pass_fds=[HOME],
            )
    return _server


# ---- the process that forks


def import_all() -> None:
    """Import all commands, and what they import later."""
    package = importlib.import_module("fastdns.cli")
    for found in pkgutil.walk_packages(package.__path__, "fastdns.cli."):
        importlib.import_module(found.name)


def enter(namespace: int) -> None:
    if LIBC.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), "cannot enter a namespace")


def go_home(namespace: int) -> None:
    """Leave the network that the test process is in for the moment."""
    if not os.path.sameopenfile(namespace, HOME):
        enter(namespace)
    os.close(namespace)
    os.close(HOME)


def wait_for_commands() -> list[str]:
    """Fork for each request; return the arguments, only in the process that is the command."""
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for commands
    while True:
        message, descriptors, *_ = socket.recv_fds(requests, REQUEST_MAX, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            break
        for descriptor in descriptors:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, end = descriptors
    if command := os.fork():
        for number in (0, 1, 2, *streams):
            os.close(number)
        with socket.socket(fileno=end) as control:
            control.send(b"%d" % command)
            status = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
            control.send(b"%d" % status)
        os._exit(0)
    os.close(end)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    arguments, inside, directory, environment = json.loads(message)
    if inside is not None:
        for kind in ("net", "mnt"):
            with open(f"/proc/{inside}/ns/{kind}") as namespace:
                if LIBC.setns(namespace.fileno(), 0):
                    raise OSError(ctypes.get_errno(), f"cannot enter {namespace.name}")
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(stream.fileno(), "w", closefd=False)),
            errors=stream.errors,
            line_buffering=stream is sys.stderr,
        )
        for stream in (sys.stdout, sys.stderr)
    )
    return [*arguments]


if __name__ == "__main__":
    from fastdns.cli import main
    from fastdns.machine import priority

    priority._set_priority = lambda policy: None  # beside other tests, commands would starve
    go_home(int(sys.argv[1]))
    import_all()
    gc.freeze()  # else each process would have copies of it
    sys.argv[1:] = wait_for_commands()
    sys.exit(main())
