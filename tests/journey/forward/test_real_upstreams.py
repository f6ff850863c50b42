"""Groups in front of real servers: what each of them was asked, by its query log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from ..support.client import ask, data, eventually, exchange_tcp, exchange_udp
from ..support.daemon import Fastdns, address_of
from ..support.false_upstream import Asked, FalseUpstream
from ..support.nsd import Nsd
from ..support.unbound import Unbound

HEAD = """\
$ORIGIN {origin}
$TTL 300
@ IN SOA ns.{origin} hostmaster.{origin} 1 7200 3600 1209600 300
@ IN NS ns
"""
PUBLIC = (
    HEAD.format(origin="public.demo.")
    + "ns IN A 192.0.2.53\nwww IN A 192.0.2.1\nintra IN CNAME www.corp.demo.\n"
)
CORP = (
    HEAD.format(origin="corp.demo.")
    + "ns IN A 10.0.0.53\nwww IN A 10.0.0.1\nout IN CNAME www.public.demo.\n"
    + "lab IN CNAME www.lab.demo.\nsub IN NS ns\nsub IN DS 7 13 2 "
    + "ab" * 32
    + "\n"
)
REVERSE = (
    HEAD.format(origin="10.in-addr.arpa.") + "ns IN A 10.0.0.53\n1.0.0 IN PTR www.corp.demo.\n"
)
LAB = HEAD.format(origin="lab.demo.") + "ns IN A 10.9.0.53\nwww IN A 10.9.0.1\n"
BRANCH = """\
  log-queries: yes
  local-zone: "branch.demo." static
  local-data: "branch.demo. 300 IN SOA ns.branch.demo. root.branch.demo. 1 7200 3600 9600 300"
  local-data: "nas.branch.demo. 300 IN A 10.8.0.1"
"""


def with_query_log(server: Nsd) -> FalseUpstream:
    """Return a relay in front of nsd, which itself cannot log queries; `asked` has them all."""

    def relay(asked: Asked) -> None:
        exchange = exchange_tcp if asked.tcp else exchange_udp
        asked.send(exchange(server, asked.wire))

    return FalseUpstream(relay)


class Network:
    """Three servers of zones, each with its query log, and a resolver with a private zone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Network:
        self._servers = [
            Nsd(self.directory / name, zones).__enter__()
            for name, zones in (
                ("public", {"public.demo.": PUBLIC}),
                ("corp", {"corp.demo.": CORP, "10.in-addr.arpa.": REVERSE}),
                ("lab", {"lab.demo.": LAB}),
            )
        ]
        self.public, self.corp, self.lab = (
            with_query_log(one).__enter__() for one in self._servers
        )
        self.branch = Unbound(self.directory / "branch", self.public, BRANCH).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self.branch, self.public, self.corp, self.lab, *self._servers):
            one.__exit__(None, None, None)

    @property
    def config(self) -> str:
        groups = (
            ("corp", self.corp, '["corp.demo", "10.in-addr.arpa"]'),
            ("lab", self.lab, '["lab.demo"]'),
            ("branch", self.branch, '["branch.demo"]'),
        )
        return "".join(
            f"""[[forward]]
name = "{name}"
domains = {domains}
servers = ["{address_of(server)}"]
"""
            for name, server, domains in groups
        )

    def asked(self) -> dict[str, set[tuple[str, str]]]:
        """Return which names and types each server was asked for."""
        logs = {
            name: {
                (str(one.name).lower(), dns.rdatatype.to_text(one.rdtype)) for one in server.asked()
            }
            for name, server in (("public", self.public), ("corp", self.corp), ("lab", self.lab))
        }
        logs["branch"] = {(name.lower(), rdtype) for name, rdtype in self.branch.queries()}
        return logs


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path / "network") as network:
        yield network


OF_CORP = [
    ("corp.demo.", "SOA", 1),
    ("corp.demo.", "DS", 0),
    ("www.corp.demo.", "A", 1),
    ("WWW.corp.demo.", "AAAA", 0),
    ("sub.corp.demo.", "DS", 1),
    ("no.such.corp.demo.", "A", 0),
    ("1.0.0.10.in-addr.arpa.", "PTR", 1),
    ("10.in-addr.arpa.", "DS", 0),
    ("9.9.9.10.in-addr.arpa.", "PTR", 0),
]
UNDER = {
    "corp": ("corp.demo.", "10.in-addr.arpa."),
    "lab": ("lab.demo.",),
    "branch": ("branch.demo.",),
}


def leaked(asked: dict[str, set[tuple[str, str]]]) -> list[tuple[str, str]]:
    """Return each server that was asked for a name of another group, with the name."""
    found = []
    for server, questions in asked.items():
        for name, _ in questions:
            homes = [
                group
                for group, ends in UNDER.items()
                if f".{name}".endswith(tuple(f".{end}" for end in ends))
            ]
            if homes != ([server] if server in UNDER else []):
                found.append((server, name))
    return found


def test_nothing_of_a_group_reaches_another_server(
    start_fastdns: Callable[..., Fastdns], network: Network
) -> None:
    daemon = start_fastdns(upstream=[network.public], config=network.config)
    for name, rdtype, count in OF_CORP:
        answer = ask(daemon, name, rdtype)
        assert answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN), name
        assert len(answer.answer) == count, name
    assert data(ask(daemon, "www.public.demo")) == ["192.0.2.1"]
    assert data(ask(daemon, "nas.branch.demo")) == ["10.8.0.1"]
    assert ask(daemon, "no.branch.demo").rcode() == dns.rcode.NXDOMAIN
    assert data(ask(daemon, "intra.public.demo")) == ["www.corp.demo.", "10.0.0.1"]
    assert data(ask(daemon, "out.corp.demo")) == ["www.public.demo.", "192.0.2.1"]
    assert data(ask(daemon, "lab.corp.demo")) == ["www.lab.demo.", "10.9.0.1"]

    asked = network.asked()
    assert leaked(asked) == []
    assert {(name.lower(), rdtype) for name, rdtype, _ in OF_CORP} <= asked["corp"]
    assert {("nas.branch.demo.", "A"), ("no.branch.demo.", "A")} <= asked["branch"]
    assert ("www.lab.demo.", "A") in asked["lab"]


def test_groups_answer_while_the_default_upstream_is_dead(
    start_fastdns: Callable[..., Fastdns], network: Network
) -> None:
    network.public.__exit__()
    daemon = start_fastdns(upstream=[network.public], config=network.config)
    assert eventually(lambda: ask(daemon, "www.public.demo").rcode(), lambda rcode: rcode == 2)
    for name, rdtype, count in OF_CORP:
        assert len(ask(daemon, name, rdtype).answer) == count, name
    assert data(ask(daemon, "nas.branch.demo")) == ["10.8.0.1"]
    assert leaked(network.asked()) == []
