"""Sockets that we were given: which belongs to which listen address."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from fastdns.config.listen import Listen
from fastdns.config.values import Address, TlsAddress
from fastdns.server.socket_activation import Handed, Pool, handed, store_name, where_to_listen

UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
Give = Callable[..., Handed]


@pytest.fixture
def give() -> Iterator[Give]:
    """Bind a free port of loopback and hand it over, under a name of ours unless told another."""
    given: list[Handed] = []

    def make(
        kind: socket.SocketKind = UDP, host: str = "127.0.0.1", *, name: str = "", number: int = 0
    ) -> Handed:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as bound:
            bound.bind((host, 0))
            if kind is TCP:
                bound.listen()
            address = Address(host, bound.getsockname()[1])
            one = handed(name or store_name(address, kind, number), os.dup(bound.fileno()))
        assert one is not None
        given.append(one)
        return one

    yield make
    for one in given:
        one.bound.close()


def test_a_socket_is_taken_by_its_address_and_kind_whatever_its_name(give: Give) -> None:
    udp, tcp = give(name="fastdns/tcp/192.0.2.1/53/0"), give(TCP)
    pool = Pool([udp, tcp])
    assert pool.take(udp.address, TCP) == []
    assert pool.take(udp.address, UDP) == [udp]
    assert pool.take(tcp.address, TCP) == [tcp]


def test_a_socket_is_taken_once(give: Give) -> None:
    udp = give()
    pool = Pool([udp])
    pool.take(udp.address, UDP)
    assert pool.take(udp.address, UDP) == []


def test_sockets_of_an_address_come_in_the_order_of_their_numbers(give: Give) -> None:
    first = give()
    again = [
        handed(store_name(first.address, UDP, number), os.dup(first.bound.fileno()))
        for number in (10, 2)
    ]
    foreign = handed("dns.socket", os.dup(first.bound.fileno()))
    taken = Pool([foreign, *again, first]).take(first.address, UDP)
    assert [one.name.rpartition("/")[2] for one in taken] == ["0", "2", "10", "dns.socket"]
    for one in (foreign, *again):
        one.bound.close()


def test_what_is_not_taken_is_closed_and_said(give: Give, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    udp = give()
    Pool([udp]).close()
    assert udp.bound.fileno() == -1
    assert str(udp.address) in caplog.text


def test_one_spelling_of_an_address_finds_another(give: Give) -> None:
    udp = give(host="::1")
    other = Address("0:0::1", udp.address.port)
    assert Pool([udp]).take(other, UDP) == [udp]


# Where to listen


def test_without_anything_handed_over_the_configuration_says_it() -> None:
    listen = Listen(dns=(Address("127.0.0.1", 5353), Address("127.0.0.1", 0)))
    assert where_to_listen(listen, Pool().opened) == listen
    assert where_to_listen(Listen(), Pool().opened) == Listen()


def test_a_socket_of_somebody_else_stands_in_for_the_default(give: Give) -> None:
    udp, tcp = give(name="dns.socket"), give(TCP, name="dns.socket")
    opened = Pool([udp, tcp]).opened
    assert where_to_listen(Listen(), opened).dns == (udp.address, tcp.address)


def test_a_socket_of_somebody_else_is_served_beside_what_is_configured(give: Give) -> None:
    foreign = give(name="dns.socket")
    configured = Address("127.0.0.1", 5353)
    listen = where_to_listen(Listen(dns=(configured,)), Pool([foreign]).opened)
    assert listen.dns == (configured, foreign.address)


def test_a_socket_of_somebody_else_at_a_configured_address_is_that_address(give: Give) -> None:
    foreign = give(name="dns.socket")
    listen = Listen(dns=(foreign.address,))
    assert where_to_listen(listen, Pool([foreign]).opened) == listen


def test_a_configured_address_may_be_spelled_in_another_way(give: Give) -> None:
    foreign = give(host="::1", name="dns.socket")
    listen = Listen(dns=(Address("0:0::1", foreign.address.port),))
    assert where_to_listen(listen, Pool([foreign]).opened) == listen


def test_a_socket_of_ours_does_not_stand_in_for_the_default(give: Give) -> None:
    assert Pool([give()]).opened == ()


def test_port_0_is_the_port_of_last_time(give: Give) -> None:
    one, other = give(), give()
    free = Address("127.0.0.1", 0)
    listen = Listen(dns=(free, free, free))
    pool = Pool([one, other])
    assert pool.last(free, listen) == one.address
    pool.take(one.address, UDP)
    assert pool.last(free, listen) == other.address
    pool.take(other.address, UDP)
    assert pool.last(free, listen) == free


def test_port_0_leaves_a_port_alone_that_another_address_names(give: Give) -> None:
    one = give()
    free = Address("127.0.0.1", 0)
    assert Pool([one]).last(free, Listen(dns=(free, one.address))) == free


def test_port_0_of_another_host_is_another_port(give: Give) -> None:
    free = Address("127.0.0.2", 0)
    assert Pool([give()]).last(free, Listen(dns=(free,))) == free


# Services


def test_port_0_of_another_service_is_another_port(give: Give) -> None:
    tls = give(TCP, name="fastdns/tls/127.0.0.1/0/0")
    free = Address("127.0.0.1", 0)
    listen = Listen(dns=(free,), tls=(TlsAddress(free),))
    pool = Pool([tls])
    assert pool.last(free, listen) == free
    assert pool.last(free, listen, "tls") == tls.address


def test_a_socket_of_ours_tells_its_service_by_its_name() -> None:
    address = Address("127.0.0.1", 853)
    with socket.socket() as bound:
        for kind, service in ((UDP, "dns"), (TCP, "dns"), (TCP, "tls"), (TCP, "https")):
            name = store_name(address, kind, 0, service)
            assert Handed(name, bound, address).service == service
        assert Handed("dns.socket", bound, address).service == ""


def test_a_socket_of_somebody_else_at_an_address_for_tls_is_not_for_plain_dns(give: Give) -> None:
    foreign = give(TCP, name="tls.socket")
    listen = Listen(tls=(TlsAddress(foreign.address),))
    assert where_to_listen(listen, Pool([foreign]).opened) == listen


def test_addresses_for_tls_do_not_keep_a_socket_from_standing_in_for_the_default(
    give: Give,
) -> None:
    foreign, encrypted = give(name="dns.socket"), (TlsAddress(Address("127.0.0.1", 1)),)
    listen = where_to_listen(Listen(tls=encrypted), Pool([foreign]).opened)
    assert (listen.dns, listen.tls) == ((foreign.address,), encrypted)
