"""Clients told apart over connections: behind proxies, by the server's name and by a path."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import closing

import dns.message
import dns.rcode
import pytest

from ..support.client import TIMEOUT, TcpClient, make_query, read_answer
from ..support.daemon import Fastdns
from ..support.encrypted import (
    KIDS,
    NAME,
    CertificateFiles,
    Http1Client,
    Http2Client,
    Service,
    TlsClient,
    path_of,
)
from .conftest import FAR, PROXY, STRANGER

BLOCKED = make_query("blocked.demo")
WIRE = BLOCKED.to_wire()
NXDOMAIN, NOERROR, REFUSED = dns.rcode.NXDOMAIN, dns.rcode.NOERROR, dns.rcode.REFUSED
HOME = "127.0.0.1"


def over_tls(client: TlsClient) -> dns.rcode.Rcode:
    with client:
        return client.ask(BLOCKED).rcode()


def over_http2(client: Http2Client, path: str = "/dns-query", **headers: str) -> dns.rcode.Rcode:
    with client:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        response = client.fetch(client.request(path_of(WIRE, path), headers=fields))
        assert response.status == 200
        return read_answer(WIRE, response.body).rcode()


def over_http1(client: Http1Client, path: str = "/dns-query", **headers: str) -> dns.rcode.Rcode:
    with closing(client):
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        client.request("GET", path_of(WIRE, path), headers=fields)
        response = client.getresponse()
        assert response.status == 200
        return read_answer(WIRE, response.read()).rcode()


@pytest.fixture
def http1(pair: CertificateFiles) -> ssl.SSLContext:
    return pair.context("http/1.1")


# By name and path


@pytest.mark.parametrize(("name", "expected"), [(KIDS, NXDOMAIN), (NAME, NOERROR)])
def test_server_name_of_the_handshake_chooses_the_view(
    *,
    dot: Service,
    doh: Service,
    tls: ssl.SSLContext,
    http2: ssl.SSLContext,
    http1: ssl.SSLContext,
    name: str,
    expected: dns.rcode.Rcode,
) -> None:
    assert over_tls(TlsClient(dot, tls, name=name)) == expected
    assert over_http2(Http2Client(doh, http2, name=name)) == expected
    assert over_http1(Http1Client(doh, http1, name=name)) == expected


@pytest.mark.parametrize(("client", "expected"), [("kids", NXDOMAIN), ("tv", NOERROR)])
def test_path_chooses_the_view(
    doh: Service,
    http2: ssl.SSLContext,
    http1: ssl.SSLContext,
    client: str,
    expected: dns.rcode.Rcode,
) -> None:
    assert over_http2(Http2Client(doh, http2), f"/dns-query/{client}") == expected
    assert over_http1(Http1Client(doh, http1), f"/dns-query/{client}") == expected


# Behind a proxy


@pytest.mark.parametrize(
    ("source", "told", "expected"),
    [
        (PROXY, FAR, NXDOMAIN),
        (PROXY, f"{STRANGER}, {FAR}", NXDOMAIN),
        (PROXY, STRANGER, REFUSED),
        (HOME, FAR, NOERROR),
        (HOME, STRANGER, NOERROR),
    ],
)
def test_only_a_proxy_is_believed_when_it_says_who_its_client_is(
    *,
    doh: Service,
    http2: ssl.SSLContext,
    http1: ssl.SSLContext,
    source: str,
    told: str,
    expected: dns.rcode.Rcode,
) -> None:
    new = Http2Client(doh, http2, source=source)
    assert over_http2(new, x_forwarded_for=told) == expected
    old = Http1Client(doh, http1, source=source)
    assert over_http1(old, x_forwarded_for=told) == expected


def test_what_a_proxy_says_holds_for_one_request(doh: Service, http2: ssl.SSLContext) -> None:
    with Http2Client(doh, http2, source=PROXY) as client:
        for told, expected in ((FAR, NXDOMAIN), (None, NOERROR), (FAR, NXDOMAIN)):
            headers = [("x-forwarded-for", told)] if told else []
            response = client.fetch(client.get(WIRE, headers=headers))
            assert read_answer(WIRE, response.body).rcode() == expected


def raw(place: Service, source: str) -> socket.socket:
    return socket.create_connection((place.host, place.port), TIMEOUT, source_address=(source, 0))


def test_proxy_may_end_tls_itself(doh: Service) -> None:
    old = Http1Client(doh, None, source=PROXY)
    assert over_http1(old, x_forwarded_for=FAR) == NXDOMAIN
    new = Http2Client(doh, None, source=PROXY)
    assert over_http2(new, x_forwarded_for=FAR) == NXDOMAIN


@pytest.mark.parametrize("told", [None, "", "unknown", "nobody, "])
def test_proxy_that_has_ended_tls_and_names_no_client_is_refused_and_told_of(
    served: Fastdns, doh: Service, told: str | None
) -> None:
    headers = {} if told is None else {"x-forwarded-for": told}
    with closing(Http1Client(doh, None, source=PROXY)) as client:
        client.request("GET", path_of(WIRE), headers=headers)
        assert client.getresponse().status == 403
    with Http2Client(doh, None, source=PROXY) as new:
        assert new.fetch(new.get(WIRE, headers=list(headers.items()))).status == 403
    served.wait_for_log("did not name their client")


def header_of_proxy(client: str) -> bytes:
    """PROXY protocol, version 2: client:4711 asks 192.0.2.1:853 over TCP."""
    addresses = socket.inet_aton(client) + socket.inet_aton("192.0.2.1")
    rest = addresses + struct.pack("!HH", 4711, 853)
    return b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(rest)) + rest


@pytest.mark.parametrize(("client", "expected"), [(FAR, NXDOMAIN), (STRANGER, REFUSED)])
@pytest.mark.parametrize("size", [65536, 1], ids=["whole", "octet_by_octet"])
def test_proxy_may_name_the_client_of_a_connection(
    dot: Service, tls: ssl.SSLContext, client: str, expected: dns.rcode.Rcode, size: int
) -> None:
    header = header_of_proxy(client)
    sock = raw(dot, PROXY)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(header), size):
        sock.sendall(header[start : start + size])
    assert over_tls(TlsClient.over(tls.wrap_socket(sock, server_hostname=NAME))) == expected


def test_who_is_no_proxy_cannot_name_a_client(dot: Service, served: Fastdns) -> None:
    with raw(dot, HOME) as sock:
        sock.sendall(header_of_proxy(FAR))
        received = b""
        try:
            while piece := sock.recv(4096):
                received += piece
        except ConnectionResetError:
            pass
        assert len(received) < 16  # an alert at most
    with TcpClient(served) as client:
        client.sock.sendall(header_of_proxy(FAR) + struct.pack("!H", len(WIRE)) + WIRE)
        client.sock.shutdown(socket.SHUT_WR)
        answer = client.receive()
        assert answer is None or read_answer(WIRE, answer).rcode() == NOERROR
