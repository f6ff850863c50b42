"""Who may ask by default: machines with real interfaces, and clients on the other ends."""

from __future__ import annotations

import contextlib
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from fastdns.machine.netlink import Changes

from .support.client import eventually, extended_errors, make_query
from .support.daemon import Fastdns
from .support.namespaces import Namespace, need_namespaces
from .support.sources import ask_from, connected

SERVED, REFUSED = "NOERROR", "REFUSED, 18"
LISTEN = ("0.0.0.0:53", "[::]:53")
Serve = Callable[..., Fastdns]
New = Callable[[], Namespace]


@pytest.fixture
def new_machine() -> Iterator[New]:
    need_namespaces()
    with contextlib.ExitStack() as machines:
        yield lambda: machines.enter_context(Namespace())


@pytest.fixture
def box(new_machine: New) -> Namespace:
    return new_machine()


@pytest.fixture
def neighbour(new_machine: New) -> Namespace:
    return new_machine()


@pytest.fixture
def serve(start_fastdns: Callable[..., Fastdns]) -> Serve:
    """Start fastdns on all addresses of a machine; its upstream does not matter."""

    def start(machine: Namespace, config: str = "", **options: object) -> Fastdns:
        with machine.inside():
            return start_fastdns(listen=LISTEN, upstream=["192.0.2.53"], config=config, **options)

    return start


def outcome(machine: Namespace, source: str, asked: str, *, tcp: bool = False) -> str:
    """What a client there is told when it asks from this address: RCODE and Extended Errors."""
    query = make_query("version.bind", "TXT", "CH")
    with machine.inside():
        answer = ask_from(source, asked, query.to_wire(), tcp=tcp)
    if answer is None:
        return "nothing"
    message = dns.message.from_wire(answer)
    rcode = dns.rcode.to_text(message.rcode())
    return ", ".join([rcode, *map(str, extended_errors(message))])


def outcomes(machine: Namespace, paths: dict[str, str]) -> dict[str, str]:
    """By source what it is told over UDP; over TCP it is the same."""
    told = {source: outcome(machine, source, asked) for source, asked in paths.items()}
    over_tcp = {source: outcome(machine, source, paths[source], tcp=True) for source in paths}
    assert over_tcp == told
    return told


def test_router_serves_its_lan_and_nobody_outside(
    box: Namespace, new_machine: New, serve: Serve
) -> None:
    outside, inside = new_machine(), new_machine()
    box.connect("wan", outside, "203.0.113.5/24", "2001:db8:a::5/64")
    box.connect("lan", inside, "192.168.1.1/24", "2001:db8:b::1/64")
    outside.ip(
        *("addr add 203.0.113.1/24 dev eth0", "addr add 198.51.100.7/32 dev eth0"),
        *("addr add 2001:db8:a::1/64 dev eth0", "addr add 2001:db8:f::7/128 dev eth0"),
    )
    box.ip("route add default via 203.0.113.1", "-6 route add default via 2001:db8:a::1 dev wan")
    inside.ip("addr add 192.168.1.9/24 dev eth0", "addr add 2001:db8:b::9/64 dev eth0")
    daemon = serve(box)
    near, far = inside.link_local("eth0"), outside.link_local("eth0")
    clients = {
        "192.168.1.9": "192.168.1.1",
        "2001:db8:b::9": "2001:db8:b::1",
        f"{near}%eth0": f"{box.link_local('lan')}%eth0",
    }
    strangers = {
        "203.0.113.1": "203.0.113.5",
        "198.51.100.7": "203.0.113.5",
        "2001:db8:a::1": "2001:db8:a::5",
        "2001:db8:f::7": "2001:db8:a::5",
        f"{far}%eth0": f"{box.link_local('wan')}%eth0",
    }
    assert outcomes(inside, clients) == dict.fromkeys(clients, SERVED)
    assert outcomes(outside, strangers) == dict.fromkeys(strangers, REFUSED)
    assert daemon.counter("queries_refused_total") == 2 * len(strangers)
    assert daemon.counter("tcp_refused_total") == len(strangers)


def test_server_on_the_internet_serves_itself_only(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, "203.0.113.5/24", "2001:db8:a::5/64")
    box.ip("route add default via 203.0.113.1", "-6 route add default via 2001:db8:a::1 dev eth0")
    neighbour.ip("addr add 203.0.113.1/24 dev eth0", "addr add 2001:db8:a::1/64 dev eth0")
    serve(box)
    strangers = {"203.0.113.1": "203.0.113.5", "2001:db8:a::1": "2001:db8:a::5"}
    assert outcomes(neighbour, strangers) == dict.fromkeys(strangers, REFUSED)
    hosts = ("203.0.113.5", "2001:db8:a::5", "127.0.0.1", "127.9.9.9", "::1")
    ourselves = {host: host for host in hosts}
    assert outcomes(box, ourselves) == dict.fromkeys(ourselves, SERVED)


def test_box_at_home_with_one_interface_serves_its_ipv6_neighbours(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, "192.168.1.5/24", "2001:db8:a::5/64")
    neighbour.ip(
        *("addr add 192.168.1.1/24 dev eth0", "addr add 2001:db8:a::1/64 dev eth0"),
        *("addr add 198.51.100.7/32 dev eth0", "addr add 2001:db8:f::7/128 dev eth0"),
    )
    box.ip("route add default via 192.168.1.1", "-6 route add default via 2001:db8:a::1 dev eth0")
    serve(box)
    near = f"{neighbour.link_local('eth0')}%eth0"
    paths = {
        "192.168.1.1": "192.168.1.5",
        "2001:db8:a::1": "2001:db8:a::5",
        near: f"{box.link_local('eth0')}%eth0",
        "198.51.100.7": "192.168.1.5",
        "2001:db8:f::7": "2001:db8:a::5",
    }
    told = outcomes(neighbour, paths)
    assert list(told.values()) == [SERVED, SERVED, SERVED, REFUSED, REFUSED]


def test_network_that_comes_and_goes_is_served_within_a_second(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, "198.51.100.5/32")
    box.ip("route add 10.1.0.0/16 dev eth0")
    neighbour.ip("addr add 10.1.0.9/16 dev eth0", "route add 198.51.100.5 dev eth0")
    daemon = serve(box, workers=2)

    def told() -> set[str]:
        """What clients of both workers are told."""
        return {outcome(neighbour, "10.1.0.9", "198.51.100.5") for _ in range(8)}

    assert told() == {REFUSED}
    for command, expected in (
        ("addr add 10.1.0.1/16 dev eth0", SERVED),
        ("addr del 10.1.0.1/16 dev eth0", REFUSED),
        ("addr add 10.1.0.1/16 dev eth0", SERVED),
    ):
        box.ip(command)
        eventually(told, {expected}.__eq__, 1.0)
    box.ip("link set eth0 down")
    daemon.wait_for_log("lan is now 10.1.0.1/32, 198.51.100.5/32", 10)


def test_network_that_becomes_the_lan_has_no_limit_any_more(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, "198.51.100.5/32")
    box.ip("route add 10.1.0.0/16 dev eth0")
    neighbour.ip("addr add 10.1.0.9/16 dev eth0", "route add 198.51.100.5 dev eth0")
    serve(box, '[access]\nallow = ["0.0.0.0/0"]\nrate_limit = 1\n')

    def answers() -> int:
        """How many of six queries at once are answered well."""
        query = make_query("version.bind", "TXT", "CH").to_wire()
        count = 0
        with neighbour.inside(), connected("10.1.0.9", "198.51.100.5", 53, tcp=False) as sock:
            for _ in range(6):
                sock.send(query)
            for _ in range(6):
                with contextlib.suppress(TimeoutError):
                    count += not sock.recv(512)[2] & 2
                    sock.settimeout(0.3)
        return count

    assert answers() <= 2
    box.ip("addr add 10.1.0.1/16 dev eth0")
    eventually(answers, (6).__eq__)


def test_interface_is_no_lan_any_more_when_a_default_route_leads_to_it(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, "203.0.113.5/24")
    neighbour.ip("addr add 203.0.113.1/24 dev eth0")
    serve(box)

    def told() -> str:
        return outcome(neighbour, "203.0.113.1", "203.0.113.5")

    assert told() == SERVED
    for command, expected in (
        ("route add default via 203.0.113.1", REFUSED),
        ("route del default", SERVED),
        ("route add default via 203.0.113.1 table 100", REFUSED),
    ):
        box.ip(command)
        eventually(told, expected.__eq__, 1.0)


def test_many_changes_are_told_in_few_lines(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour)
    daemon = serve(box)
    began = time.monotonic()
    for number in range(6):
        box.ip(f"addr add 10.{number}.0.1/16 dev eth0")
        neighbour.ip(f"addr add 10.{number}.0.9/16 dev eth0")
        path = f"10.{number}.0.9", f"10.{number}.0.1"
        eventually(lambda path=path: outcome(neighbour, *path), SERVED.__eq__)
    daemon.wait_for_log(r"lan is now .*10\.5\.0\.0/16", 15)
    told = [line for line in daemon.log if re.search("INFO: lan is ", line)]
    assert len(told) <= 2 + (time.monotonic() - began) / 5


def test_line_about_a_large_lan_is_bounded(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, *(f"10.{number}.0.1/16" for number in range(30)))
    line = serve(box).wait_for_log("INFO: lan is (.*)")[1]
    assert line.startswith("10.0.0.0/16, 10.1.0.0/16, ")
    assert line.endswith(" and 11 more")


def test_more_news_than_the_socket_holds_is_news(box: Namespace, neighbour: Namespace) -> None:
    box.connect("eth0", neighbour)
    with box.inside():
        changes = Changes()
        routes = "".join(
            f"route add 10.{number >> 8}.{number & 255}.0/24 dev eth0\n" for number in range(2000)
        )
        # None of these would be, as far as it is heard of.
        subprocess.run(["ip", "-batch", "-"], input=routes, text=True, check=True, timeout=20)
    assert changes.take()
    while changes.take():
        pass
    box.ip("route add 10.200.0.0/24 dev eth0")
    assert not changes.take()
    changes.close()


def test_check_says_what_the_lan_is_now_in_a_comment(
    box: Namespace, neighbour: Namespace, tmp_path: Path
) -> None:
    box.connect("eth0", neighbour, "192.168.1.5/24")
    with box.inside():
        checked = subprocess.run(
            [sys.executable, "-m", "fastdns", "check", "--state", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert "# lan now: 192.168.1.0/24, fe80::/10\n" in checked.stdout


def test_configuration_without_lan_does_not_look_for_it(serve: Serve, box: Namespace) -> None:
    daemon = serve(box, 'access.allow = ["loopback"]\n')
    assert outcome(box, "127.0.0.1", "127.0.0.1") == SERVED
    assert not any("lan is" in line for line in daemon.log)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="no number of socket() for this machine"
)
def test_where_the_kernel_says_nothing_lan_is_nothing_and_one_line_says_so(
    box: Namespace, neighbour: Namespace, serve: Serve
) -> None:
    box.connect("eth0", neighbour, "192.168.1.5/24")
    neighbour.ip("addr add 192.168.1.9/24 dev eth0")
    sandbox = [sys.executable, str(Path(__file__).parent / "support" / "without_netlink.py")]
    daemon = serve(box, prefix=sandbox, workers=2)
    daemon.wait_for_log('WARNING: "lan" in access is nothing: netlink cannot be read')
    assert outcome(neighbour, "192.168.1.9", "192.168.1.5") == REFUSED
    assert outcome(box, "127.0.0.1", "127.0.0.1") == SERVED
    assert len([line for line in daemon.log if "netlink" in line]) == 1
