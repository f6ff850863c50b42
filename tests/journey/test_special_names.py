"""Names that no upstream is ever asked for (RFC 6761, RFC 6303), and those that look like them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.rcode
import pytest

from .support.client import ask, data
from .support.commands import cache, names
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.stock import entry, fill

Start = Callable[..., Fastdns]
HERE = [
    ("localhost.", "A", ["127.0.0.1"]),
    ("www.LOCALHOST.", "AAAA", ["::1"]),
    ("localhost.", "MX", []),
    ("1.0.0.127.in-addr.arpa.", "PTR", ["localhost."]),
    ("1." + "0." * 31 + "ip6.arpa.", "PTR", ["localhost."]),
    ("7.1.168.192.in-addr.arpa.", "PTR", None),
    ("10.in-addr.arpa.", "DS", []),
    ("1.d.f.ip6.arpa.", "ANY", None),
    ("nothing.invalid.", "A", None),
    ("hidden.onion.", "HTTPS", None),
    ("x1.test.", "A", None),
    ("test.", "NS", None),
    ("printer.local.", "A", None),
    ("nas.home.arpa.", "A", None),
    ("home.arpa.", "MX", []),
    ("_dns.resolver.arpa.", "SVCB", []),
]


@pytest.mark.parametrize(("name", "rdtype", "wanted"), HERE)
def test_special_name_is_answered_here_the_same_by_every_way(
    forwarder: Fastdns,
    upstream: FalseUpstream,
    name: str,
    rdtype: str,
    wanted: list[str] | None,
) -> None:
    before, hits = len(upstream.asked()), forwarder.counter("cache_hits_total")
    for _ in range(2):
        for tcp in (False, True):
            for knobs in ({"edns": False}, {}, {"do": True}, {"cd": True}, {"rd": False}):
                answer = ask(forwarder, name, rdtype, tcp=tcp, **knobs)
                assert answer.rcode() == (dns.rcode.NXDOMAIN if wanted is None else 0)
                assert data(answer) == (wanted or [])
                assert answer.flags & dns.flags.AA
                assert len(answer.authority) == (0 if wanted else 1)
                assert (answer.edns == 0) == knobs.get("edns", True)
    assert len(upstream.asked()) == before
    assert forwarder.counter("cache_hits_total") > hits + 10
    assert names(forwarder.state_dir) == []


@pytest.mark.parametrize(
    "name", ["x1.demo.", "nas.lan.", "printer.localhosts.", "arpa.", "8.8.8.8.in-addr.arpa."]
)
def test_name_that_a_network_may_have_is_forwarded(
    start_fastdns: Start, upstream: FalseUpstream, name: str
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert upstream.asked(name)


def test_what_an_earlier_upstream_said_of_localhost_does_not_count(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    daemon = start_fastdns(upstream=[upstream])
    fill(state, [entry("localhost", "A", "192.0.2.99")])
    lines = cache(state, "export", "-").stdout
    cache(daemon.state_dir, "import", "-", text_in=lines)
    for _ in range(2):
        assert data(ask(daemon, "localhost.")) == ["127.0.0.1"]
    daemon.reload()
    assert data(ask(daemon, "localhost.")) == ["127.0.0.1"]
