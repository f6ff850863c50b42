"""Clients of the encrypted services that are slow, broken, greedy or hostile: they harm nobody."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import dns.flags
import h2.errors
import h2.exceptions
import pytest
from hyperframe.frame import HeadersFrame, RstStreamFrame

from fastdns._stream import CONNECTIONS_A_CLIENT, CONNECTIONS_MAX, FRAME_SECONDS

from ..support.client import ask, data, eventually, make_query, read_answer
from ..support.daemon import Fastdns
from ..support.encrypted import (
    NAME,
    CertificateFiles,
    HandMadeTls,
    Http2Client,
    Service,
    TlsClient,
    connect,
    path_of,
    service,
)
from ..support.false_upstream import Asked, FalseUpstream, held

QUERY = make_query("localhost").to_wire()
FRAMED = struct.pack("!H", len(QUERY)) + QUERY
WHOLE = ("END_HEADERS", "END_STREAM")
ALERT = 0x15  # the type of a TLS record


def big(asked: Asked) -> None:
    """Twenty kilobytes of TXT."""
    if asked.tcp:
        strings = " ".join(f'"{"x" * 250}"' for _ in range(80))
        asked.answer(f"@ 300 IN TXT {strings}")
    else:
        asked.answer(flags=dns.flags.TC)


def plain(place: Service) -> socket.socket:
    return socket.create_connection((place.host, place.port), 8)


# What is not TLS


@pytest.mark.parametrize("of", ["dot", "doh"])
@pytest.mark.parametrize(
    "octets",
    [
        FRAMED,
        b"GET / HTTP/1.1\r\nHost: dns.demo\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01\x02\x00" + os.urandom(512),
        b"\x80\x2e\x01\x03\x01" + bytes(64),
        os.urandom(64),
    ],
    ids=["dns", "http", "http2", "handshake", "ssl2", "garbage"],
)
def test_what_is_not_tls_is_closed_with_an_alert_at_most(
    request: pytest.FixtureRequest, of: str, octets: bytes
) -> None:
    start = time.monotonic()
    with plain(request.getfixturevalue(of)) as sock:
        sock.sendall(octets)
        got = b""
        with suppress(ConnectionResetError):
            while piece := sock.recv(4096):
                got += piece
    assert not got or (got[0] == ALERT and len(got) < 16)
    # Octets that could be the beginning of a record are waited for.
    assert time.monotonic() - start < FRAME_SECONDS + 1.5


def test_handshake_may_come_octet_by_octet(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream
) -> None:
    wire = make_query(origin.new_name()).to_wire()
    framed = struct.pack("!H", len(wire)) + wire
    with HandMadeTls(dot, tls) as client:
        client.do(client.tls.do_handshake, size=1)
        client.do(client.tls.write, framed, size=1)
        read_answer(wire, client.do(client.tls.read, 65535)[2:])


def test_query_may_come_in_records_of_one_octet(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream
) -> None:
    wire = make_query(origin.new_name()).to_wire()
    with TlsClient(dot, tls) as client:
        for octet in struct.pack("!H", len(wire)) + wire:
            client.sock.sendall(bytes([octet]))
        read_answer(wire, client.receive())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_hundreds_of_queries_may_come_at_once(
    dot: Service,
    tls: ssl.SSLContext,
    served: Fastdns,
    origin: FalseUpstream,
    version: ssl.TLSVersion,
) -> None:
    tls.minimum_version = tls.maximum_version = version
    name = origin.new_name()
    ask(served, name)
    wire = make_query(name).to_wire()
    with TlsClient(dot, tls) as client:
        client.sock.sendall((struct.pack("!H", len(wire)) + wire) * 1000)
        for _ in range(1000):
            read_answer(wire, client.receive())


def test_frame_of_length_zero_ends_the_connection_orderly(
    dot: Service, tls: ssl.SSLContext
) -> None:
    with TlsClient(dot, tls) as client:
        client.sock.sendall(bytes(2))
        assert client.receive() is None


# Clients that never finish


def nothing(place: Service, _: CertificateFiles, __: str) -> socket.socket:
    return plain(place)


def half_a_handshake(place: Service, files: CertificateFiles, _: str) -> socket.socket:
    client = HandMadeTls(place, files.context())
    with suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.sock.sendall(client.outgoing.read()[:100])
    return client.sock


def hello_and_no_more(place: Service, files: CertificateFiles, _: str) -> socket.socket:
    client = HandMadeTls(place, files.context())
    with suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.send_records()
    assert client.sock.recv(65536)  # the server's part
    return client.sock


def half_a_message(place: Service, files: CertificateFiles, _: str) -> socket.socket:
    sock = connect(place, files.context("dot"))
    sock.sendall(FRAMED[:20])
    return sock


def post_without_its_body(place: Service, files: CertificateFiles, _: str) -> socket.socket:
    client = Http2Client(place, files.context("h2"))
    client.post(QUERY[:20], is_whole=False)
    return client.sock


def half_a_request(place: Service, files: CertificateFiles, _: str) -> socket.socket:
    sock = connect(place, files.context("http/1.1"))
    sock.sendall(f"GET {path_of(QUERY)} HTTP/1.1\r\nHost:".encode())
    return sock


def deaf(place: Service, files: CertificateFiles, big_name: str) -> socket.socket:
    """Asks for megabytes, and reads none of it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((place.host, place.port))
    sock = files.context("dot").wrap_socket(raw, server_hostname=NAME)
    wire = make_query(big_name, "TXT").to_wire()
    sock.sendall((struct.pack("!H", len(wire)) + wire) * 300)
    return sock


def deaf_to_http(place: Service, files: CertificateFiles, big_name: str) -> socket.socket:
    """Asks for megabytes, and never makes room for it."""
    client = Http2Client(place, files.context("h2"))
    wire = make_query(big_name, "TXT").to_wire()
    for _ in range(90):
        client.post(wire)
    return client.sock


UNFINISHED = {
    nothing: "dot",
    half_a_handshake: "dot",
    hello_and_no_more: "doh",
    half_a_message: "dot",
    post_without_its_body: "doh",
    half_a_request: "doh",
    deaf: "dot",
    deaf_to_http: "doh",
}
Kind = Callable[[Service, CertificateFiles, str], socket.socket]


@pytest.fixture(scope="module")
def closed_after(
    shared: Fastdns, pair: CertificateFiles, origin: FalseUpstream
) -> dict[Kind, float]:
    """Seconds until each kind of client was disconnected, all at once; others are served."""
    places = {"dot": service(shared, "tls"), "doh": service(shared, "https")}
    name = origin.new_name(big)
    ask(shared, name, "TXT", tcp=True)
    seconds: dict[Kind, float] = {}
    before = shared.memory()
    with ExitStack() as stack:
        start = time.monotonic()
        waiting: dict[Kind, socket.socket] = {}
        for kind, of in UNFINISHED.items():
            waiting[kind] = stack.enter_context(kind(places[of], pair, name))
        table = {sock.getsockname(): kind for kind, sock in waiting.items()}
        good = stack.enter_context(TlsClient(places["dot"], pair.context("dot")))
        while table and (now := time.monotonic() - start) < 2 * FRAME_SECONDS:
            asked = time.monotonic()
            good.ask(make_query(origin.new_name()))
            assert time.monotonic() - asked < 2
            assert shared.memory() < before + (24 << 20)
            still = established()
            for address in [address for address in table if address not in still]:
                seconds[table.pop(address)] = now
            time.sleep(0.1)
    return seconds


def established() -> set[tuple[str, int]]:
    """The addresses to which there are connections, as their servers see it."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, remote, state = line.split()[1:4]
        host, port = remote.split(":")
        if state == "01":
            found.add((socket.inet_ntoa(struct.pack("<I", int(host, 16))), int(port, 16)))
    return found


@pytest.mark.parametrize("kind", UNFINISHED, ids=lambda kind: kind.__name__)
def test_client_that_never_finishes_is_disconnected_in_bounded_time(
    closed_after: dict[Kind, float], kind: Kind, served: Fastdns
) -> None:
    assert FRAME_SECONDS / 2 < closed_after[kind] < FRAME_SECONDS + 2.5


# Clients that leave


def reset(sock: socket.socket) -> None:
    """Close it so that what comes meets a dead connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_clients_that_leave_before_their_answers_harm_nobody(
    dot: Service, doh: Service, pair: CertificateFiles, origin: FalseUpstream
) -> None:
    release = threading.Event()
    names = [origin.new_name(held(release)) for _ in range(16)]
    leaving = []
    for number, name in enumerate(names):
        if number % 2:
            client = TlsClient(dot, pair.context("dot"))
            client.send(make_query(name).to_wire())
        else:
            client = Http2Client(doh, pair.context("h2"))
            client.post(make_query(name).to_wire())
        leaving.append(client)
    for name in names:
        origin.wait_for(name)
    for client in leaving:
        reset(client.sock)
    # Their slots are used again before the answers come.
    with ExitStack() as stack:
        others = [
            stack.enter_context(TlsClient(dot, pair.context("dot"))) for _ in range(len(names))
        ]
        queries = [make_query(origin.new_name()).to_wire() for _ in others]
        release.set()
        for client, wire in zip(others, queries, strict=True):
            client.send(wire)
        for client, wire in zip(others, queries, strict=True):
            read_answer(wire, client.receive())


# Clients that want too much


def test_flood_of_requests_given_up_ends_its_connection_and_no_other(
    doh: Service, http2: ssl.SSLContext, served: Fastdns, origin: FalseUpstream
) -> None:
    name = origin.new_name()
    ask(served, name)
    fields = {":method": "GET", ":scheme": "https", ":authority": NAME}
    fields[":path"] = path_of(make_query(name).to_wire())
    with Http2Client(doh, http2) as other, Http2Client(doh, http2) as hostile:
        hostile.request("/", headers=())
        flood = bytearray()
        encoder = hostile.h2.encoder
        for stream in range(3, 20_003, 2):
            block = encoder.encode(fields.items())
            for part in (HeadersFrame(stream, block, flags=WHOLE), RstStreamFrame(stream, 8)):
                flood += part.serialize()
        with suppress(OSError):
            hostile.sock.sendall(flood)
        with suppress(OSError, h2.exceptions.ProtocolError):
            while hostile.read():
                pass
        (goaway,) = hostile.goaways
        assert goaway.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        assert data(other.ask(make_query(name))) == ["192.0.2.1"]


def test_clients_that_begin_handshakes_and_leave_them_keep_nobody_out(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream
) -> None:
    with ExitStack() as stack:
        for number in range(4 * CONNECTIONS_A_CLIENT):
            source = (f"127.0.0.{20 + number // CONNECTIONS_A_CLIENT}", 0)
            idle = socket.create_connection((dot.host, dot.port), 8, source_address=source)
            stack.enter_context(idle)
        start = time.monotonic()
        with TlsClient(dot, tls) as client:
            assert data(client.ask(make_query(origin.new_name()))) == ["192.0.2.1"]
        assert time.monotonic() - start < 4  # 8 if each may take all of its time


def test_connections_that_are_idle_longest_make_room_for_others(
    start_fastdns: Callable[..., Fastdns], origin: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[origin])
    with ExitStack() as stack:

        def connect_and_ask(number: int) -> socket.socket:
            source = (f"127.0.{1 + number // 4096}.{1 + number % 4096 // CONNECTIONS_A_CLIENT}", 0)
            sock = socket.create_connection((daemon.host, daemon.port), 8, source_address=source)
            stack.enter_context(sock)
            sock.sendall(FRAMED)
            assert sock.recv(512)
            return sock

        first = [connect_and_ask(number) for number in range(CONNECTIONS_MAX)][:200]
        for number in range(150):
            connect_and_ask(CONNECTIONS_MAX + number)
        assert {sock.recv(1) for sock in first[:150]} == {b""}
        first[150].sendall(FRAMED)
        assert first[150].recv(512)


def test_connections_of_one_client_are_bounded(
    dot: Service, pair: CertificateFiles, served: Fastdns
) -> None:
    context = pair.context("dot")
    with ExitStack() as stack:

        def connections() -> int:
            count = 0
            for _ in range(50):
                try:
                    sock = connect(dot, context, source="127.0.0.5")
                except OSError:
                    continue
                stack.enter_context(sock)
                count += 1
            return count

        assert connections() <= CONNECTIONS_A_CLIENT
        with TlsClient(dot, context) as other:
            other.send(QUERY)
            assert other.receive()
    # A place that was given up is free for the next one.
    eventually(lambda: can_connect(dot, context), bool)


def can_connect(place: Service, context: ssl.SSLContext) -> bool:
    try:
        connect(place, context, source="127.0.0.5").close()
    except OSError:
        return False
    return True
