"""Discovery of Designated Resolvers: what is told of fastdns' own encrypted services (RFC 9462)."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import dns.message
import dns.rdatatype
import pytest
from messages import Front, query

from fastdns._domains import DomainSet
from fastdns._policy import Policy
from fastdns.config.names import parse_name
from fastdns.config.records import parse_record
from fastdns.config.schema import Local
from fastdns.config.values import Address
from fastdns.policy.designated import Designated, Ip
from fastdns.policy.local import LocalSources

NAME = "dns.net.demo"
OWN = ["192.0.2.1", "2001:db8::1", "10.0.0.1"]


def address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def designated(
    tls: str = "", https: str = "", plain: str = "0.0.0.0:53", name: str = NAME
) -> Designated:
    listed = [tuple(map(address, one.split())) for one in (tls, https, plain)]
    return Designated(parse_name(name), *listed)


class Machine:
    """fastdns on a machine with these addresses, which may change."""

    def __init__(self, front: Front, service: Designated, *records: str) -> None:
        self.front = front
        self.addresses = OWN
        self.names = LocalSources(
            Local(records=tuple(map(parse_record, records))),
            designated=service,
            own_addresses=self._own,
        )
        self._use()

    def move(self, *addresses: str) -> bool:
        self.addresses = list(addresses)
        has_changed = self.names.refresh()
        self._use()
        return has_changed

    def ask(self, name: str, rtype: str) -> dns.message.Message | None:
        """The answer; None: an upstream is asked."""
        wire = self.front.ask(query(name, dns.rdatatype.from_text(rtype)))
        return None if wire is None else dns.message.from_wire(wire)

    def told(self, name: str, rtype: str) -> list[str] | None:
        answer = self.ask(name, rtype)
        if answer is None:
            return None
        assert answer.rcode() == 0
        # Older versions of dnspython do not know that parameter.
        data = (str(rdata) for rrset in answer.answer for rdata in rrset)
        return [one.replace("key7=", "dohpath=") for one in data]

    def _own(self) -> list[Ip]:
        return list(map(ip_address, self.addresses))

    def _use(self) -> None:
        self.front.cache.use_policy(Policy(domains=DomainSet(), local=self.names.records))


@pytest.fixture
def front(tmp_path: Path) -> Front:
    return Front(tmp_path)


def test_client_learns_name_protocols_ports_and_addresses(front: Front) -> None:
    machine = Machine(front, designated("192.0.2.1:853 [2001:db8::1]:853", "192.0.2.1:8443"))
    services = [
        f'1 {NAME}. alpn="dot" port="853" ipv4hint="192.0.2.1" ipv6hint="2001:db8::1"',
        f'2 {NAME}. alpn="h2" port="8443" ipv4hint="192.0.2.1" dohpath="/dns-query{{?dns}}"',
    ]
    for name in ("_dns.resolver.arpa", f"_dns.{NAME}"):
        assert machine.told(name, "SVCB") == services
    assert machine.told(NAME, "A") == ["192.0.2.1"]
    assert machine.told(NAME, "AAAA") == ["2001:db8::1"]


def test_addresses_of_the_target_come_along(front: Front) -> None:
    machine = Machine(front, designated("192.0.2.1:853 [2001:db8::1]:853", "192.0.2.1:443"))
    answer = machine.ask("_DNS.resolver.ARPA", "SVCB")
    assert answer is not None
    assert [str(one) for one in answer.additional] == [
        f"{NAME}. 300 IN A 192.0.2.1",
        f"{NAME}. 300 IN AAAA 2001:db8::1",
    ]


def test_rest_of_resolver_arpa_has_no_data(front: Front) -> None:
    machine = Machine(front, designated("192.0.2.1:853"))
    for name in ("resolver.arpa", "x.resolver.arpa", "x._dns.resolver.arpa"):
        for rtype in ("SVCB", "A", "TXT"):
            assert machine.told(name, rtype) == []
    for rtype in ("A", "AAAA", "TXT", "HTTPS", "NS"):
        assert machine.told("_dns.resolver.arpa", rtype) == []


def test_other_types_of_the_name_are_asked_upstream(front: Front) -> None:
    machine = Machine(front, designated("192.0.2.1:853"))
    assert machine.told(NAME, "AAAA") == []
    for name, rtype in ((NAME, "MX"), (NAME, "TXT"), (f"_acme-challenge.{NAME}", "TXT")):
        assert machine.told(name, rtype) is None


def test_service_on_all_addresses_follows_those_of_the_machine(front: Front) -> None:
    machine = Machine(front, designated("0.0.0.0:853 [::]:853"))
    assert machine.told(NAME, "A") == ["192.0.2.1", "10.0.0.1"]
    assert machine.told(NAME, "AAAA") == ["2001:db8::1"]
    assert machine.move("192.0.2.9")
    assert machine.told(NAME, "A") == ["192.0.2.9"]
    assert machine.told(NAME, "AAAA") == []
    assert not machine.move("192.0.2.9")
    assert machine.move()
    assert machine.told("_dns.resolver.arpa", "SVCB") == []
    assert machine.told(NAME, "A") is None


def test_loopback_is_told_only_where_nothing_else_is_served(front: Front) -> None:
    machine = Machine(front, designated("127.0.0.1:853", "192.0.2.1:443 127.0.0.1:443"))
    services = machine.told("_dns.resolver.arpa", "SVCB")
    assert services is not None
    assert len(services) == 1
    assert 'ipv4hint="192.0.2.1"' in services[0]
    machine = Machine(front, designated("127.0.0.1:853", plain="127.0.0.1:53"))
    assert machine.told(NAME, "A") == ["127.0.0.1"]


def test_link_local_address_and_any_free_port_are_not_told(front: Front) -> None:
    machine = Machine(front, designated("[fe80::1%1]:853", "192.0.2.1:0"))
    assert machine.told("_dns.resolver.arpa", "SVCB") == []


def test_records_of_the_owner_come_first(front: Front) -> None:
    machine = Machine(
        front,
        designated("192.0.2.1:853"),
        f"{NAME} A 192.0.2.77",
        '_dns.resolver.arpa 60 SVCB 1 Other.Net.demo. alpn="h2" port="443"',
        "other.net.demo A 192.0.2.78",
    )
    assert machine.told(NAME, "A") == ["192.0.2.77"]
    assert machine.told(NAME, "MX") == []
    answer = machine.ask("_dns.resolver.arpa", "SVCB")
    assert answer is not None
    assert [str(rdata) for rrset in answer.answer for rdata in rrset] == [
        '1 Other.Net.demo. alpn="h2" port="443"'
    ]
    assert [str(one).lower() for one in answer.additional] == ["other.net.demo. 60 in a 192.0.2.78"]
