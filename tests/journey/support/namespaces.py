"""Networks that are the test's own: machines in network namespaces, with cables between them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def need_namespaces() -> None:
    """Skip the test, with the reason, where they cannot be made."""
    if shutil.which("ip") is None:
        pytest.skip("this test needs the command ip, of iproute2")
    try:
        Namespace().close()
    except OSError as error:
        pytest.skip(f"this test needs network namespaces of its own: {error.strerror}")


class Namespace:
    """A machine as far as its network goes; it is there for as long as it is open."""

    def __init__(self) -> None:
        """Make one, with a loopback that is up. OSError: that is not allowed here."""
        home = _current()
        try:
            _check(_LIBC.unshare(CLONE_NEWNET))
            self._descriptor = _current()
            _run("link set lo up")
            for family in ("all", "default"):  # else a new address cannot be used for a second
                Path(f"/proc/sys/net/ipv6/conf/{family}/accept_dad").write_text("0")
        finally:
            _check(_LIBC.setns(home, CLONE_NEWNET))
            os.close(home)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread's sockets and processes be there."""
        home = _current()
        _check(_LIBC.setns(self._descriptor, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_LIBC.setns(home, CLONE_NEWNET))
            os.close(home)

    def ip(self, *commands: str) -> None:
        """Run commands of ip there."""
        with self.inside():
            _run(*commands)

    def connect(self, device: str, other: Namespace, *addresses: str) -> None:
        """Lay a cable from a new device to eth0 of the other; give the device these addresses."""
        where = f"/proc/{os.getpid()}/fd/{other._descriptor}"
        self.ip(f"link add {device} type veth peer name eth0 netns {where}")
        for one, name in ((self, device), (other, "eth0")):
            one.ip(f"link set {name} up")
        for address in addresses:
            self.ip(f"addr add {address} dev {device}")

    def link_local(self, device: str) -> str:
        """The device's link-local address."""
        with self.inside():
            for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
                address, _, _, _, _, name = line.split()
                if name == device and address.startswith("fe80"):
                    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))
        raise AssertionError(f"{device} has no link-local address")

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Namespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _run(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, timeout=10)


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
