"""What prevents binding an address: the kernel's tables and bind agree."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fastdns.config.values import Address
from fastdns.machine.port_owners import Port, holder_of, leader, read_process
from journey.support.ports import free_port

# Binds a port, has a child of its own inherit that, and says which port it is.
HOLDER = """
import os, socket, sys
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(("127.0.0.1", 0))
if os.fork():
    print(bound.getsockname()[1], flush=True)
sys.stdin.readline()
"""
HOSTS = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"]


def bind(host: str, port: int = 0, *, both: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family is socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        opened.bind((host, port or free_port(host)))  # a number that nobody else has anywhere
    except OSError:
        opened.close()
        raise
    return opened


def can_bind(host: str, port: int) -> bool:
    try:
        bind(host, port).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("held", [host for host in HOSTS if host != "::"])
@pytest.mark.parametrize("wanted", HOSTS)
def test_clash_is_what_bind_calls_one(held: str, wanted: str) -> None:
    with bind(held) as holder:
        number = holder.getsockname()[1]
        clashes = Port.look(number).clashing(Address(wanted, number))
        assert bool(clashes) is not can_bind(wanted, number)


@pytest.mark.parametrize("wanted", ["127.0.0.1", "::1", "::"])
def test_socket_for_all_of_ipv6_beside_one_for_ipv4_is_ipv6_alone(wanted: str) -> None:
    with bind("::") as holder:
        number = holder.getsockname()[1]
        with bind("127.0.0.9", number):
            clashes = Port.look(number).clashing(Address(wanted, number))
            assert bool(clashes) is not can_bind(wanted, number)


def test_socket_for_both_families_is_in_the_way_of_ipv4() -> None:
    with bind("::", both=True) as holder:
        number = holder.getsockname()[1]
        (found,) = Port.look(number).clashing(Address("127.0.0.1", number))
        assert found.address == Address("::", number)


def test_listener_of_tcp_is_found_and_a_connection_is_not() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        number = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", number)):
            (found,) = Port.look(number).bound
        assert found.protocol == "TCP"


def test_holder_is_the_process_that_began_it() -> None:
    beginner = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert beginner.stdout is not None
    found = holder_of(Address("127.0.0.1", int(beginner.stdout.readline())))
    name = Path(f"/proc/{beginner.pid}/comm").read_text().strip()
    beginner.communicate(b"\n")

    assert found is not None
    assert found.pid == beginner.pid
    assert found.name == name


def test_systemds_store_is_nobody_when_another_one_holds_it() -> None:
    process = leader({1, os.getpid()})
    assert process is not None
    assert process.pid == os.getpid()


def test_nobody_holds_what_is_free() -> None:
    with bind("127.0.0.1") as one:
        number = one.getsockname()[1]
    assert holder_of(Address("127.0.0.1", number)) is None


def test_process_that_has_ended_is_nobody() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert read_process(child.pid) is None


def test_whoever_asks_is_not_in_its_own_way() -> None:
    with bind("127.0.0.1") as ours:
        assert holder_of(Address("0.0.0.0", ours.getsockname()[1])) is None


@pytest.mark.parametrize("given", [["--state", "/srv/other"], ["--state=/srv/other"], []])
def test_another_fastdns_is_named_with_its_state_directory(given: list[str]) -> None:
    """Whatever the kernel calls the interpreter that runs it."""
    # Python takes all that comes after its -c as arguments of the program.
    words = ["-c", HOLDER, "/usr/bin/fastdns", "serve", *given]
    with subprocess.Popen(
        [sys.executable, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as beginner:
        assert beginner.stdout is not None
        found = holder_of(Address("127.0.0.1", int(beginner.stdout.readline())))
        beginner.communicate(b"\n")
    state = ", state in /srv/other" if given else ""
    assert str(found).startswith(f"another fastdns (pid {beginner.pid}")
    assert str(found).endswith(f"{state})")
