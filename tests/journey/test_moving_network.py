"""A network whose routes change under a daemon with sockets bound to the former ones."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import dns.message
import pytest

from .support.client import make_query
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.namespaces import Namespace, need_namespaces

SHARED_FROM = 256  # queries at once, beyond which some share the ports of a pool


@pytest.fixture
def machines() -> Iterator[tuple[Namespace, Namespace]]:
    """A box, and a machine on its only cable where the upstream is."""
    need_namespaces()
    with contextlib.ExitStack() as stack:
        box, far = (stack.enter_context(Namespace()) for _ in range(2))
        box.connect("wan", far, "10.9.0.1/24")
        far.ip("addr add 10.9.0.2/24 dev eth0", "addr add 10.9.1.2/24 dev eth0")
        yield box, far


def outcomes(daemon: Fastdns, box: Namespace, names: list[str]) -> dict[str, int]:
    """Ask for all at once; how often each RCODE came, and how often none did in time."""
    found: dict[str, int] = {}
    with box.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.connect((daemon.host, daemon.port))
        client.settimeout(1)
        for name in names:
            client.send(make_query(name).to_wire())
        for _ in names:
            try:
                rcode = dns.message.from_wire(client.recv(4096)).rcode().name
            except TimeoutError:
                rcode = "nothing"
            found[rcode] = found.get(rcode, 0) + 1
    return found


def test_ports_of_a_way_that_leads_nowhere_any_more_are_given_up_at_once(
    machines: tuple[Namespace, Namespace], start_fastdns: Callable[..., Fastdns]
) -> None:
    box, far = machines
    with far.inside():
        upstream = FalseUpstream(host="10.9.0.2")
        upstream.__enter__()
    try:
        with box.inside():
            daemon = start_fastdns(upstream=[upstream])
        # Enough at once, so that ports stay open for others.
        first = [upstream.new_name() for _ in range(2 * SHARED_FROM)]
        assert outcomes(daemon, box, first) == {"NOERROR": len(first)}
        # The former address stays, and nothing that is sent from it is answered.
        far.ip("route add blackhole 10.9.0.1/32")
        box.ip("addr add 10.9.1.1/24 dev wan", "route add 10.9.0.2/32 dev wan src 10.9.1.1")
        then = [upstream.new_name() for _ in range(2 * SHARED_FROM)]
        assert outcomes(daemon, box, then) == {"NOERROR": len(then)}
    finally:
        upstream.__exit__(None, None, None)
