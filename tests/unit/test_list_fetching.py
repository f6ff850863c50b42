"""Parts of fetching lists: TSIG keys, and names that are looked up without the system."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest

from fastdns.config.values import Address, Server
from fastdns.lists.errors import FetchError
from fastdns.lists.lookup import Lookup
from fastdns.lists.tsig import read_key

SECRET = "c2VjcmV0IG9mIHRoZSB0ZXN0cw=="


@pytest.mark.parametrize(
    "text",
    [
        f'key "transfer" {{\n\talgorithm hmac-sha512;\n\tsecret "{SECRET}";\n}};\n',
        f"key transfer {{ algorithm hmac-sha512; secret {SECRET}; }};",
        f'// a comment\n/* key "no" {{ */\nkey "transfer" {{ secret "{SECRET}"; '
        "algorithm HMAC-SHA512.; };",
        f"key:\n  name: transfer\n  algorithm: hmac-sha512\n  secret: {SECRET}\n",
        f'key:\n  name: "transfer" # of nsd\n  algorithm: hmac-sha512\n  secret: "{SECRET}"\n',
        f"key:\n  - id: transfer\n    algorithm: hmac-sha512\n    secret: {SECRET}\n",
    ],
    ids=["tsig-keygen", "BIND in a line", "BIND with comments", "NSD", "NSD quoted", "Knot"],
)
def test_a_key_is_read_as_others_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)

    key = read_key(tmp_path / "key")

    assert (key.name, key.algorithm, key.secret) == (
        "transfer",
        "hmac-sha512",
        b"secret of the tests",
    )
    assert "secret of" not in repr(key)


def test_a_secret_with_two_slashes_is_no_comment(tmp_path: Path) -> None:
    for text in (
        'key "a" { algorithm hmac-sha256; secret "AA//////AA=="; };',
        "key:\n name: a\n secret: AA//////AA==\n",
    ):
        (tmp_path / "key").write_text(text)
        assert read_key(tmp_path / "key").secret == b"\0\x0f\xff\xff\xff\xff\0"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "which has none (try key"),
        ('key "a" { secret "not base64!"; };', "which has none"),
        (f'key "a" {{ algorithm hmac-none; secret "{SECRET}"; }};', "hmac-none is unknown"),
    ],
)
def test_a_file_without_a_key_is_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "key").write_text(text)

    with pytest.raises(FetchError) as refused:
        read_key(tmp_path / "key")

    assert f"needs the key in {tmp_path}/key, " in str(refused.value)
    assert why in str(refused.value)


def _bound() -> tuple[socket.socket, socket.socket]:
    """Return a TCP and a UDP socket with one port, which no other process has for either."""
    while True:
        stream = socket.create_server(("127.0.0.1", 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(stream.getsockname())
        except OSError:
            stream.close()
            datagrams.close()
        else:
            return stream, datagrams


class Resolver:
    """Answers with records, over UDP and, if they are many, over TCP."""

    def __init__(self, *records: str, rcode: int = 0) -> None:
        self._records, self._rcode = records, rcode
        self._tcp, self._udp = _bound()
        self.address = Address("127.0.0.1", self._tcp.getsockname()[1])
        self.server = Server("udp", self.address)
        self.asked = 0
        for work in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=work, daemon=True).start()

    def _answer(self, wire: bytes, most: int) -> bytes:
        self.asked += 1
        query = dns.message.from_wire(wire)
        message = dns.message.make_response(query)
        message.set_rcode(self._rcode)
        (question,) = query.question
        for text in self._records:
            kind, data = text.split()
            if question.rdtype == {"A": 1, "AAAA": 28}[kind]:
                message.answer.append(dns.rrset.from_text(question.name, 9, "IN", kind, data))
        whole = message.to_wire(max_size=65535)
        if len(whole) > most:
            message.answer.clear()
            message.flags |= dns.flags.TC
            return message.to_wire()
        return whole

    def _serve_udp(self) -> None:
        while True:
            wire, client = self._udp.recvfrom(512)
            self._udp.sendto(self._answer(wire, 512), client)

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection:
                wire = connection.recv(512)[2:]
                answer = self._answer(wire, 65535)
                connection.sendall(len(answer).to_bytes(2, "big") + answer)


@pytest.fixture
def good() -> Resolver:
    return Resolver("A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1")


def test_addresses_of_both_families_come_in_turns(good: Resolver) -> None:
    found = Lookup(servers=lambda name: [good.server]).addresses("lists.example")

    assert found == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


def test_the_daemon_is_asked_first(good: Resolver) -> None:
    upstream = Resolver("A 192.0.2.9")
    lookup = Lookup([Address("0.0.0.0", good.address.port)], lambda name: [upstream.server])

    assert lookup.addresses("lists.example")[0] == "192.0.2.1"
    assert upstream.asked == 0


@pytest.mark.parametrize(
    ("records", "rcode"),
    [((), 3), ((), 5), (("A 0.0.0.0", "AAAA ::"), 0), ((), 0)],
    ids=["NXDOMAIN", "REFUSED", "blocked", "NODATA"],
)
def test_an_upstream_is_asked_if_the_daemon_does_not_know_the_name(
    records: tuple[str, ...], rcode: int, good: Resolver
) -> None:
    daemon = Resolver(*records, rcode=rcode)
    lookup = Lookup([daemon.address], lambda name: [good.server])

    assert lookup.addresses("lists.example")[0] == "192.0.2.1"


def test_a_dead_upstream_does_not_matter_beside_a_good_one(good: Resolver) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        dead = Server("tcp", Address("127.0.0.1", held.getsockname()[1]))
        found = Lookup(servers=lambda name: [dead, good.server]).addresses("lists.example")

    assert found[0] == "192.0.2.1"


def test_an_answer_that_is_too_large_for_udp_comes_over_tcp() -> None:
    many = Resolver(*(f"A 192.0.2.{number}" for number in range(1, 100)))

    assert len(Lookup(servers=lambda name: [many.server]).addresses("lists.example")) == 99


def test_an_address_and_localhost_are_not_asked_for() -> None:
    lookup = Lookup()

    assert lookup.addresses("192.0.2.1") == ["192.0.2.1"]
    assert lookup.addresses("2001:db8::1") == ["2001:db8::1"]
    assert lookup.addresses("localhost") == ["127.0.0.1", "::1"]
    with pytest.raises(FetchError, match="there is no upstream"):
        lookup.addresses("lists.example")
