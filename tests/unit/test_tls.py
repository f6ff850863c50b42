"""TLS without a socket: handshakes, octets both ways, what hostile clients get."""

from __future__ import annotations

import gc
import random
import resource
import ssl
from collections.abc import Iterator

import pytest
from tls_peers import (
    CHAIN,
    KEY,
    TLS12,
    TLS13,
    Client,
    RawClient,
    client_context,
    left_error,
    server_context,
)

from fastdns._certificate import make_self_signed
from fastdns._ticket_keys import TicketKeys
from fastdns._tls import ServerContext, ServerTls, failure_text

BOTH = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
QUERY = b"\0\x1d" + b"q" * 29


def records(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the content of each record."""
    while octets:
        end = 5 + int.from_bytes(octets[3:5], "big")
        yield octets[0], octets[5:end]
        octets = octets[end:]


def hello(version: ssl.TLSVersion = TLS13) -> bytes:
    client = Client(server_context(), client_context(version))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    return client.to_send.read()


# ---- handshake and octets


@BOTH
def test_octets_arrive_in_both_directions(version: ssl.TLSVersion) -> None:
    client = Client(server_context(), client_context(version)).connect()
    long = random.Random(1).randbytes(100_000)

    assert client.ask(QUERY) == QUERY
    assert client.answer(QUERY) == QUERY
    assert client.ask(long) == long
    assert client.answer(long) == long
    assert client.tls.version() == ("TLSv1.2" if version is TLS12 else "TLSv1.3")


@BOTH
def test_what_arrives_octet_by_octet_is_the_same(version: ssl.TLSVersion) -> None:
    client = Client(server_context(), client_context(version)).connect(at_once=1)
    client.tls.write(QUERY)
    got = b""
    for octet in client.to_send.read():
        client.server.feed(bytes([octet]))
        got += client.server.read() or b""
    assert got == QUERY


def test_many_records_are_read_at_once_and_a_record_in_parts() -> None:
    client = Client(server_context()).connect()
    for number in range(50):
        client.tls.write(bytes([number]) * 100)
    client.server.feed(client.to_send.read())

    assert client.server.read(250) == b"\0" * 100 + b"\1" * 100 + b"\2" * 50
    assert client.server.read(3) == b"\2" * 3
    assert client.server.read() == b"\2" * 47 + b"".join(bytes([n]) * 100 for n in range(3, 50))
    assert client.server.read() == b""


def test_query_behind_the_handshake_is_read_without_new_input() -> None:
    client = Client(server_context())
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.send_on()
    client.received.write(client.server.take_output())
    client.tls.do_handshake()
    client.tls.write(QUERY)
    client.server.feed(client.to_send.read())  # the client's Finished and its query

    assert client.server.handshake()
    assert client.server.read() == QUERY


def test_records_hold_16_kib_at_most_and_small_answers_are_one() -> None:
    client = Client(server_context()).connect()
    client.server.write(bytes(100_000))
    lengths = [len(content) for _, content in records(client.server.take_output())]
    assert len(lengths) == 7
    assert max(lengths) <= 16_384 + 256

    client.server.write(bytes(500))
    assert len(list(records(client.server.take_output()))) == 1


@pytest.mark.parametrize(
    ("kind", "offers", "chosen"),
    [
        ("dot", [], ""),
        ("dot", ["dot"], "dot"),
        ("dot", ["h2"], ""),
        ("dot", ["h2", "dot"], "dot"),
        ("https", [], ""),
        ("https", ["http/1.1", "h2"], "h2"),
        ("https", ["http/1.1"], "http/1.1"),
        ("https", ["http/1.0", "dot", "h3"], ""),
    ],
)
@BOTH
def test_protocol_is_chosen_by_the_kind_of_listener(
    kind: str, offers: list[str], chosen: str, version: ssl.TLSVersion
) -> None:
    client = Client(server_context(kind), client_context(version, offers)).connect()
    assert client.server.protocol == chosen
    assert (client.tls.selected_alpn_protocol() or "") == chosen
    assert client.ask(QUERY) == QUERY


@BOTH
def test_name_that_the_client_asks_for_is_known(version: ssl.TLSVersion) -> None:
    server, context = server_context(), client_context(version)
    client = Client(server, context, name="kids.dns.demo").connect()
    assert client.server.server_name == "kids.dns.demo"

    again = Client(server, context, name="kids.dns.demo", session=client.session()).connect()
    assert again.server.is_resumed
    assert again.server.server_name == "kids.dns.demo"

    context.check_hostname = False
    assert Client(server, context, name=None).connect().server.server_name == ""


# ---- the end


@BOTH
def test_both_sides_close(version: ssl.TLSVersion) -> None:
    client = Client(server_context(), client_context(version)).connect()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.server.feed(client.to_send.read())
    assert client.server.read() is None
    client.server.shut()
    client.received.write(client.server.take_output())
    client.tls.unwrap()


def test_client_that_has_closed_its_side_still_gets_answers() -> None:
    client = Client(server_context()).connect()
    client.tls.write(QUERY)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.server.feed(client.to_send.read())
    assert client.server.read() == QUERY
    assert client.server.read() is None

    client.server.write(b"answer")
    (record,) = records(client.server.take_output())
    assert record[0] == 23


def test_connection_outlives_its_context() -> None:
    context = server_context()
    client = Client(context).connect()
    del context
    gc.collect()

    assert client.ask(QUERY) == QUERY
    assert client.answer(QUERY) == QUERY


def test_nothing_can_be_written_before_the_handshake_is_over() -> None:
    server = ServerTls(server_context())
    with pytest.raises(ConnectionError, match="not open"):
        server.write(b"early")
    server.shut()
    assert server.take_output() == b""


# ---- resumption


@BOTH
def test_client_comes_back_again_and_again(version: ssl.TLSVersion) -> None:
    server, context = server_context(), client_context(version)
    client = Client(server, context).connect()
    assert not client.server.is_resumed
    for _ in range(4):
        session = client.session()
        client = Client(server, context, session=session).connect()
        assert client.server.is_resumed
        assert client.ask(QUERY) == QUERY
        # A ticket of TLS 1.3 is used once, so each connection brings the next one.
        assert (client.session().id != session.id) is (version is TLS13)


@BOTH
def test_ticket_is_good_for_another_certificate_and_another_listener(
    version: ssl.TLSVersion,
) -> None:
    tickets, context = TicketKeys(), client_context(version)
    client = Client(server_context("dot", tickets), context).connect()
    renewed = ServerContext(*make_self_signed(["dns.demo"], 30), tickets, "https")
    assert Client(renewed, context, session=client.session()).connect().server.is_resumed


@BOTH
def test_ticket_outlives_two_rotations_and_then_the_handshake_is_a_full_one(
    version: ssl.TLSVersion,
) -> None:
    tickets, context = TicketKeys(), client_context(version)
    server = server_context("dot", tickets)
    old = Client(server, context).connect().session()
    tickets.rotate()
    tickets.rotate()
    # By the old ticket the client gets one of the newest key.
    client = Client(server, context, session=old).connect()
    assert client.server.is_resumed
    fresh = client.session()
    tickets.rotate()
    assert Client(server, context, session=fresh).connect().server.is_resumed
    late = Client(server, context, session=old).connect()
    assert not late.server.is_resumed
    assert late.ask(QUERY) == QUERY


@BOTH
def test_without_ticket_keys_there_are_no_tickets_and_no_failures(
    version: ssl.TLSVersion,
) -> None:
    tickets = TicketKeys(memoryview(bytearray(1024)))  # that nobody has filled yet
    client = Client(server_context("dot", tickets), client_context(version)).connect()
    assert client.ask(QUERY) == QUERY
    assert client.answer(QUERY) == QUERY


# ---- what is no TLS, or no good one


@pytest.mark.parametrize(
    ("octets", "failure"),
    [
        (b"\0\x1d\x12\x34\1\0\0\1" + bytes(40), "wrong version number"),
        (b"GET /dns-query HTTP/1.1\r\nHost: dns.demo\r\n\r\n", "http request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "wrong version number|http request"),
        (b"\x16\3\1\xff\xff" + bytes(200), "."),
        (b"\x16\3\1\0\4\1\xff\xff\xff", "excessive message size"),
        (b"\x15\3\1\0\2\2\x30", "."),
    ],
    ids=["DNS", "HTTP/1.1", "HTTP/2", "long record", "long message", "alert"],
)
def test_what_is_no_handshake_fails_at_once_and_stays_failed(octets: bytes, failure: str) -> None:
    server = ServerTls(server_context())
    server.feed(octets)
    for _ in range(2):
        with pytest.raises(ConnectionError, match=failure):
            server.handshake()
        with pytest.raises(ConnectionError, match=failure):
            server.read()
    assert len(server.take_output()) <= 7  # an alert, once


def test_old_versions_are_refused_with_an_alert_that_says_so() -> None:
    octets = bytearray(hello(TLS12))
    at = octets.index(b"\3\3", 5)
    octets[at : at + 2] = b"\3\2"  # TLS 1.1 at most
    server = ServerTls(server_context())
    server.feed(bytes(octets))
    with pytest.raises(ConnectionError, match="unsupported protocol"):
        server.handshake()
    assert list(records(server.take_output())) == [(21, b"\2\x46")]


def test_alert_of_the_client_is_the_failure() -> None:
    stranger = client_context(chain=make_self_signed(["other.demo"], 30)[0])
    client = Client(server_context(), stranger)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.send_on()
    client.received.write(client.server.take_output())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.tls.do_handshake()
    with pytest.raises(ConnectionError, match="unknown ca"):
        client.send_on()


def test_record_that_was_changed_on_its_way_ends_the_connection() -> None:
    client = Client(server_context()).connect()
    client.tls.write(QUERY)
    client.tls.write(b"forged")
    octets = bytearray(client.to_send.read())
    octets[-1] ^= 1
    client.server.feed(bytes(octets))

    assert client.server.read() == QUERY  # what was right before it
    with pytest.raises(ConnectionError, match="bad record mac"):
        client.server.read()
    with pytest.raises(ConnectionError):
        client.server.write(b"answer")
    (alert,) = records(client.server.take_output())
    assert alert[0] in (21, 23)  # TLS 1.3 encrypts it
    client.server.shut()
    assert client.server.take_output() == b""


@pytest.mark.parametrize("and_servers", [False, True], ids=["its own", "both"])
def test_client_may_renew_keys_but_not_in_a_flood(and_servers: bool) -> None:
    client = RawClient(server_context())
    try:
        assert client.server.is_open
        for _ in range(10):
            client.update_key(and_servers=and_servers)
        client.server.feed(client.take())
        assert client.server.read() == b""
        client.give(client.server.take_output())

        for _ in range(500):
            client.update_key(and_servers=and_servers)
        client.server.feed(client.take())
        with pytest.raises(ConnectionError):
            client.server.read()
        assert len(client.server.take_output()) < 40 * 32
    finally:
        client.close()


def test_renegotiation_is_refused() -> None:
    client = RawClient(server_context(), 0x303)
    try:
        assert client.server.is_open
        assert client.ssl.SSL_renegotiate(client.at) == 1
        client.handshake()
        client.server.feed(client.take())
        assert client.server.read() == b""
        (answer,) = records(client.server.take_output())
        assert answer[0] == 21  # no_renegotiation
    finally:
        client.close()


@BOTH
def test_damaged_handshakes_fail_and_harm_nobody_else(version: ssl.TLSVersion) -> None:
    chance = random.Random(7)
    server, good = server_context(), hello(version)
    for _ in range(400):
        octets = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            what, at = chance.randrange(3), chance.randrange(len(octets))
            if what == 0:
                octets[at] = chance.randrange(256)
            elif what == 1:
                del octets[at : at + chance.randint(1, 40)]
            else:
                octets[at:at] = chance.randbytes(chance.randint(1, 40))
        tls = ServerTls(server)
        tls.feed(bytes(octets))
        try:
            assert not tls.handshake()  # it waits for the rest
            tls.feed(chance.randbytes(500))
            tls.handshake()
        except ConnectionError:
            pass
    assert Client(server, client_context(version)).connect().ask(QUERY) == QUERY


# ---- one process with Python's ssl


def test_failures_leave_nothing_for_the_ssl_of_python() -> None:
    fine = Client(server_context()).connect()
    broken = ServerTls(server_context())
    broken.feed(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionError):
        broken.handshake()
    assert left_error() == 0
    for chain, key in ((CHAIN, b""), (CHAIN, CHAIN), (b"", KEY)):
        with pytest.raises(ValueError, match="cannot be read"):
            ServerContext(chain, key, TicketKeys(), "dot")
        assert left_error() == 0
    with pytest.raises(ssl.SSLWantReadError):
        fine.tls.read(10)
    assert fine.ask(QUERY) == QUERY


def test_failures_of_the_ssl_of_python_are_not_ours() -> None:
    server = ServerTls(server_context())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError):
        context.load_verify_locations(cadata="-----BEGIN CERTIFICATE-----\nx\n")
    assert server.handshake() is False


# ---- contexts


@pytest.mark.parametrize(
    ("chain", "key", "kind", "line"),
    [
        (b"", KEY, "dot", "the certificate cannot be read"),
        (KEY, KEY, "dot", "the certificate cannot be read"),
        (CHAIN, b"", "dot", "the key cannot be read"),
        (CHAIN, make_self_signed(["a.demo"], 1)[1], "dot", "with this certificate: key values"),
        (CHAIN, KEY, "h3", "there is no kind 'h3'"),
    ],
    # The pairs are made anew in each process.
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_pair_is_told_in_a_line(chain: bytes, key: bytes, kind: str, line: str) -> None:
    with pytest.raises(ValueError, match=line) as told:
        ServerContext(chain, key, TicketKeys(), kind)
    assert "\n" not in str(told.value)


def test_issuers_behind_the_certificate_are_sent_along() -> None:
    issuer = make_self_signed(["issuer.demo"], 30)[0]
    alone = Client(server_context())
    both = Client(ServerContext(CHAIN + issuer, KEY, TicketKeys(), "dot"))
    sent = []
    for client in (alone, both):
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        client.send_on()
        sent.append(len(client.server.take_output()))
    assert sent[1] - sent[0] > 300


def test_failure_has_a_text_or_none() -> None:
    assert failure_text(20, 267) == "wrong version number"
    assert failure_text(0, 0) == ""
    assert failure_text(0, 0, 80) == "alert 80"


def test_memory_of_ended_connections_is_used_again() -> None:
    server, context = server_context(), client_context()

    def many(count: int) -> int:
        for number in range(count):
            client = Client(server, context)
            if number % 3:
                client.connect().ask(QUERY)
            else:
                client.server.feed(QUERY)
                with pytest.raises(ConnectionError):
                    client.server.handshake()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = many(300)
    assert many(300) - before < 1500  # KiB; a connection takes about 15, a handshake more
