"""Without configured upstreams: the nameservers of /etc/resolv.conf, followed as it changes.

The journeys run the daemon in a mount namespace with an /etc of the test's, and their nameservers
on port 53 of loopback addresses that nobody else uses, another run of these tests neither. Both
take root. What another user can still see is the choice itself, `system_servers`, below them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dns.rcode
import pytest

from fastdns.config.values import Address, Server
from fastdns.upstream.system import system_servers

from .support import false_upstream
from .support.client import ask, data, eventually
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream

OURS = f"127.{64 + os.getpid() // 250 % 128}.{1 + os.getpid() % 250}"  # runs beside each other
NEAR, FAR, OURSELVES = f"{OURS}.1", f"{OURS}.2", f"{OURS}.5"
NEEDED_OF_ETC = ["passwd", "group", "nsswitch.conf", "hosts", "ld.so.cache", "localtime"]
ENTER = """
mount --bind "$0/etc" /etc && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/resolve &&
mount --bind "$0/stub" /run/systemd/resolve && exec "$@"
"""

journey = pytest.mark.skipif(
    os.geteuid() != 0, reason="a mount namespace and port 53 take root; see the module's docstring"
)


class Machine:
    """The /etc and /run/systemd/resolve that the daemons of a test see."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.resolv_conf = place / "etc" / "resolv.conf"
        self.stub_resolv_conf = place / "stub" / "resolv.conf"
        self.resolv_conf.parent.mkdir()
        self.stub_resolv_conf.parent.mkdir()
        for name in NEEDED_OF_ETC:
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(Path("/etc") / name, self.resolv_conf.parent)

    def daemon(self, listen: str) -> Fastdns:
        """A daemon without upstreams, not started yet."""
        daemon = Fastdns(self.place / "state", listen=[listen])
        daemon.command = ["unshare", "-m", "sh", "-c", ENTER, str(self.place), *daemon.command]
        return daemon


def write(file: Path, *nameservers: str) -> None:
    """Write a new file and rename it over the old one, as resolvconf and its kind do."""
    fresh = file.with_suffix(".new")
    lines = ["# made by a test", "search false.demo", *(f"nameserver {one}" for one in nameservers)]
    fresh.write_text("".join(f"{line}\n" for line in lines))
    os.replace(fresh, file)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    tried = subprocess.run(
        ["unshare", "-m", "true"], capture_output=True, text=True, timeout=10, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"this test needs a mount namespace of its own: {tried.stderr.strip()}")
    return Machine(tmp_path)


@contextlib.contextmanager
def nameserver(host: str) -> Iterator[FalseUpstream]:
    """A false upstream on port 53, the only one resolv.conf can name; it answers its address."""

    def bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, 53))
        return udp, socket.create_server((host, 53))

    def tell_host(asked: Asked) -> None:
        asked.answer(f"@ 300 IN A {host}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(false_upstream, "bind_pair", bind_pair)
        with FalseUpstream(tell_host, host) as server:
            yield server


@pytest.fixture
def near() -> Iterator[FalseUpstream]:
    with nameserver(NEAR) as server:
        yield server


@pytest.fixture
def far() -> Iterator[FalseUpstream]:
    with nameserver(FAR) as server:
        yield server


def wait_until_asked(daemon: Fastdns, server: FalseUpstream) -> None:
    eventually(
        lambda: data(ask(daemon, server.new_name(label="w"))), lambda got: got == [server.host], 10
    )


@journey
def test_nameservers_of_resolv_conf_are_asked(machine: Machine, near: FalseUpstream) -> None:
    write(machine.resolv_conf, NEAR)
    with machine.daemon("127.0.0.1:0") as daemon:
        assert data(ask(daemon, near.new_name())) == [NEAR]


@journey
def test_stub_of_systemd_resolved_is_followed_to_the_real_nameservers(
    machine: Machine, near: FalseUpstream
) -> None:
    write(machine.resolv_conf, "127.0.0.53")
    write(machine.stub_resolv_conf, NEAR)
    with machine.daemon("127.0.0.1:0") as daemon:
        assert data(ask(daemon, near.new_name())) == [NEAR]


@journey
def test_changes_of_resolv_conf_are_followed(
    machine: Machine, near: FalseUpstream, far: FalseUpstream
) -> None:
    write(machine.resolv_conf, NEAR)
    with machine.daemon("127.0.0.1:0") as daemon:
        assert data(ask(daemon, near.new_name())) == [NEAR]
        write(machine.resolv_conf, FAR)
        wait_until_asked(daemon, far)


@journey
def test_changes_behind_the_stub_are_followed(
    machine: Machine, near: FalseUpstream, far: FalseUpstream
) -> None:
    write(machine.resolv_conf, "127.0.0.53")
    write(machine.stub_resolv_conf, NEAR)
    with machine.daemon("127.0.0.1:0") as daemon:
        assert data(ask(daemon, near.new_name())) == [NEAR]
        write(machine.stub_resolv_conf, FAR)
        wait_until_asked(daemon, far)


@journey
def test_resolv_conf_that_loses_its_nameservers_leaves_the_former_ones_in_use(
    machine: Machine, near: FalseUpstream, far: FalseUpstream
) -> None:
    write(machine.resolv_conf, NEAR)
    with machine.daemon("127.0.0.1:0") as daemon:
        lines = len(daemon.log)
        write(machine.resolv_conf)
        daemon.wait_for_log(re.escape("/etc/resolv.conf"), timeout=10, after=lines)
        assert data(ask(daemon, near.new_name())) == [NEAR]
        write(machine.resolv_conf, FAR)
        wait_until_asked(daemon, far)


@journey
def test_we_never_ask_ourselves(machine: Machine, near: FalseUpstream) -> None:
    write(machine.resolv_conf, OURSELVES, NEAR)
    with machine.daemon(f"{OURSELVES}:53") as daemon:
        for _ in range(5):
            assert data(ask(daemon, near.new_name())) == [NEAR]


@journey
@pytest.mark.parametrize("named", [[], [OURSELVES]], ids=["none", "itself"])
def test_without_a_usable_nameserver_it_serves_names_the_remedy_and_uses_the_first_that_appears(
    machine: Machine, named: list[str], near: FalseUpstream
) -> None:
    write(machine.resolv_conf, *named)
    with machine.daemon(f"{OURSELVES}:53") as daemon:
        answer = ask(daemon, near.new_name())
        assert answer.rcode() == dns.rcode.SERVFAIL
        daemon.wait_for_log("--upstream")
        assert len([line for line in daemon.log if "--upstream" in line]) == 1
        write(machine.resolv_conf, NEAR)
        daemon.wait_for_log("upstreams are now")
        assert data(ask(daemon, near.new_name())) == [NEAR]


# The choice alone


@pytest.fixture
def chosen(tmp_path: Path) -> Callable[..., list[str]]:
    """The servers chosen for the nameservers that resolv.conf and the stub's file name."""

    def choose(
        named: list[str], behind_stub: Sequence[str] = (), own: tuple[Address, ...] = ()
    ) -> list[str]:
        write(tmp_path / "resolv.conf", *named)
        write(tmp_path / "stub.conf", *behind_stub)
        servers = system_servers(tmp_path / "resolv.conf", tmp_path / "stub.conf", own)
        assert all(isinstance(server, Server) for server in servers)
        return [str(server) for server in servers]

    return choose


def test_nameservers_are_chosen_in_their_order(chosen: Callable[..., list[str]]) -> None:
    named = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    assert chosen(named) == ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]


def test_stub_is_replaced_by_what_it_stands_for(chosen: Callable[..., list[str]]) -> None:
    assert chosen(["127.0.0.53"], ["192.0.2.1", "192.0.2.2"]) == ["192.0.2.1:53", "192.0.2.2:53"]


def test_our_own_address_is_left_out(chosen: Callable[..., list[str]]) -> None:
    own = (Address("127.0.0.1", 53), Address("::1", 53))
    assert chosen(["127.0.0.1", "::1", "192.0.2.1"], own=own) == ["192.0.2.1:53"]
    assert chosen(["127.0.0.1"], own=(Address("127.0.0.1", 5353),)) == ["127.0.0.1:53"]


def test_what_is_no_nameserver_is_left_out(chosen: Callable[..., list[str]]) -> None:
    assert chosen(["rubbish", "192.0.2.1"]) == ["192.0.2.1:53"]
    assert chosen([]) == []


def test_interface_is_kept_only_where_it_belongs_as_glibc_does(
    chosen: Callable[..., list[str]],
) -> None:
    assert chosen(["2001:db8::53%eth0", "fe80::1%lo", "::1%lo", "2001:db8::54%two"]) == [
        "[2001:db8::53]:53",
        "[fe80::1%lo]:53",
        "[::1]:53",
        "[2001:db8::54]:53",
    ]


def test_missing_files_name_no_nameserver(tmp_path: Path) -> None:
    assert system_servers(tmp_path / "none", tmp_path / "neither", ()) == ()
