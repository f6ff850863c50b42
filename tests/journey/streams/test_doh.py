"""DNS over HTTPS (RFC 8484) as its clients see it, over HTTP/2 and HTTP/1.1."""

from __future__ import annotations

import base64
import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator

import dns.edns
import dns.rcode
import h2.events
import pytest

from ..support.client import data, eventually, make_query, read_answer, ttls
from ..support.daemon import Fastdns
from ..support.dig import dig
from ..support.encrypted import (
    DNS_MESSAGE,
    NAME,
    CertificateFiles,
    Http1Client,
    Http2Client,
    Service,
    connect,
    path_of,
)
from ..support.false_upstream import FalseUpstream, held

SOA = "demo. 300 IN SOA ns.demo. hostmaster.demo. 1 7200 3600 1209600 60"
PADDING, KEEPALIVE = 12, 11
PADDED = 468


@pytest.fixture
def client(doh: Service, http2: ssl.SSLContext) -> Iterator[Http2Client]:
    with Http2Client(doh, http2) as connection:
        yield connection


@pytest.fixture
def old_client(doh: Service, pair: CertificateFiles) -> Iterator[Http1Client]:
    connection = Http1Client(doh, pair.context("http/1.1"))
    yield connection
    connection.close()


# Programs that people have


@pytest.mark.parametrize("method", ["+https", "+https-get"])
def test_kdig_that_checks_the_name_gets_an_answer(
    doh: Service, pair: CertificateFiles, origin: FalseUpstream, method: str
) -> None:
    name = origin.new_name()
    trust = [f"+tls-ca={pair.certificate}", f"+tls-hostname={NAME}"]
    shown = dig(doh, "+https", method, *trust, name, program="kdig")
    assert shown.sections["ANSWER"] == [f"{name} IN A 192.0.2.1"]


def curl(pair: CertificateFiles, *arguments: str, body: bytes = b"") -> bytes:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        [program, "-sS", "--max-time", "10", "--cacert", str(pair.certificate), *arguments],
        input=body,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Page(http.server.BaseHTTPRequestHandler):
    """A web server that says which name was asked for."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["host"].encode())

    def log_message(self, *_: object) -> None:
        pass


def test_curl_finds_a_web_server_by_it(
    doh: Service, pair: CertificateFiles, origin: FalseUpstream
) -> None:
    name = origin.new_name(
        lambda asked: asked.answer(*["@ 60 IN A 127.0.0.1"] * (asked.rdtype == 1))
    ).rstrip(".")
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as web:
        threading.Thread(target=web.handle_request, daemon=True).start()
        place = f"{name}:{web.server_port}"
        found = curl(
            pair, "--doh-url", f"https://127.0.0.1:{doh.port}/dns-query", f"http://{place}/"
        )
    assert found.decode() == place


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_curl_fetches_an_answer(
    doh: Service, pair: CertificateFiles, origin: FalseUpstream, version: str, method: str
) -> None:
    wire = make_query(origin.new_name()).to_wire()
    address = f"https://127.0.0.1:{doh.port}"
    if method == "GET":
        answer = curl(pair, version, address + path_of(wire))
    else:
        kind = f"content-type: {DNS_MESSAGE}"
        post = ("-H", kind, "--data-binary", "@-")
        answer = curl(pair, version, *post, f"{address}/dns-query", body=wire)
    assert data(read_answer(wire, answer)) == ["192.0.2.1"]


# Requests and responses


def test_response_says_what_it_is_and_how_long_it_holds(
    client: Http2Client, origin: FalseUpstream
) -> None:
    name = origin.new_name(
        lambda asked: asked.answer("@ 300 IN CNAME b.demo.", "b.demo. 120 IN A 192.0.2.1")
    )
    wire = make_query(name).to_wire()
    response = client.fetch(client.get(wire))
    assert min(ttls(read_answer(wire, response.body))) == 120
    assert response.headers["content-type"] == DNS_MESSAGE
    assert response.headers["cache-control"] == "max-age=120"
    assert response.headers["content-length"] == str(len(response.body))


def test_age_of_an_answer_shortens_what_its_response_holds(
    client: Http2Client, old_client: Http1Client, origin: FalseUpstream
) -> None:
    wire = make_query(origin.new_name()).to_wire()

    def held_seconds() -> int:
        response = client.fetch(client.post(wire))
        (ttl,) = ttls(read_answer(wire, response.body))
        assert response.headers["cache-control"] == f"max-age={ttl}"
        return ttl

    assert held_seconds() == 300
    eventually(held_seconds, lambda ttl: ttl < 300)
    old_client.request("GET", path_of(wire))
    response = old_client.getresponse()
    (ttl,) = ttls(read_answer(wire, response.read()))
    assert response.headers["cache-control"] == f"max-age={ttl}"


def test_name_that_does_not_exist_holds_as_long_as_its_soa_says(
    client: Http2Client, origin: FalseUpstream
) -> None:
    name = origin.new_name(lambda asked: asked.answer(authority=[SOA], rcode="NXDOMAIN"))
    response = client.fetch(client.get(make_query(name).to_wire()))
    assert response.headers["cache-control"] == "max-age=60"


def test_failure_holds_for_no_time(client: Http2Client, origin: FalseUpstream) -> None:
    name = origin.new_name(lambda asked: asked.answer(rcode="SERVFAIL"))
    wire = make_query(name).to_wire()
    response = client.fetch(client.get(wire))
    assert response.status == 200
    assert read_answer(wire, response.body).rcode() == dns.rcode.SERVFAIL
    assert "max-age" not in response.headers.get("cache-control", "")


QUERY = make_query("localhost").to_wire()
POSTED = (("content-type", DNS_MESSAGE),)
WRONG = {
    "no_message": (400, "GET", "/dns-query", (), None),
    "no_base64": (400, "GET", "/dns-query?dns=%%%", (), None),
    "no_dns": (400, "GET", "/dns-query?dns=AAAA", (), None),
    "empty_body": (400, "POST", "/dns-query", POSTED, b""),
    "another_path": (404, "GET", path_of(QUERY, "/other"), (), None),
    "root": (404, "GET", "/", (), None),
    "head": (405, "HEAD", path_of(QUERY), (), None),
    "put": (405, "PUT", "/dns-query", POSTED, QUERY),
    "too_long": (413, "POST", "/dns-query", POSTED, bytes(70_000)),
    "json": (415, "POST", "/dns-query", (("content-type", "application/json"),), b"{}"),
    "no_type": (415, "POST", "/dns-query", (), QUERY),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_request_gets_its_status_and_the_next_one_an_answer(
    client: Http2Client, origin: FalseUpstream, wrong: str
) -> None:
    status, method, path, headers, body = WRONG[wrong]
    stream = client.request(path, method=method, headers=headers, body=body and body[:16_000])
    if body and len(body) > 16_000:
        stream = send_much(client, headers, body)
    response = client.fetch(stream)
    assert response.status == status
    assert response.headers.get("allow") == ("GET, POST" if status == 405 else None)
    assert response.headers["content-type"].startswith("text/plain")
    assert data(client.ask(make_query(origin.new_name()))) == ["192.0.2.1"]


def send_much(client: Http2Client, headers: tuple, body: bytes) -> int:
    """Post more than one frame holds, and stop when the response is there."""
    client.wait_for(max(client.responses))
    stream = client.request(
        "/dns-query", method="POST", headers=headers, body=body[:1000], is_whole=False
    )
    for start in range(1000, len(body), 10_000):
        while client.h2.local_flow_control_window(stream) < 10_000:
            if client.responses[stream].status:
                return stream
            assert client.read()
        if client.responses[stream].is_over:
            return stream
        client.h2.send_data(stream, body[start : start + 10_000])
        client.flush()
    client.h2.end_stream(stream)
    client.flush()
    return stream


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_request_over_http_1_gets_its_status(old_client: Http1Client, wrong: str) -> None:
    status, method, path, headers, body = WRONG[wrong]
    old_client.request(method, path, body, dict(headers))
    response = old_client.getresponse()
    assert response.status == status
    assert response.headers["allow"] == ("GET, POST" if status == 405 else None)
    if status != 413:  # nobody reads the rest of it: it is closed
        response.read()
        old_client.request("GET", path_of(QUERY))
        assert old_client.getresponse().status == 200


@pytest.mark.parametrize("alphabet", ["plain", "url", "padded", "escaped"])
def test_message_is_read_from_each_kind_of_base64(client: Http2Client, alphabet: str) -> None:
    wire = make_query("localhost", options=[dns.edns.GenericOption(65001, b"\xfb\xff\xfe")])
    wire = wire.to_wire()
    text = {
        "plain": base64.b64encode(wire).decode().rstrip("="),
        "url": base64.urlsafe_b64encode(wire).decode().rstrip("="),
        "padded": base64.urlsafe_b64encode(wire).decode(),
        "escaped": base64.b64encode(wire).decode().replace("+", "%2B").replace("/", "%2f"),
    }[alphabet]
    response = client.fetch(client.request(f"/dns-query?a=b&dns={text}&c=d"))
    read_answer(wire, response.body)


def test_answers_come_as_they_are_ready(
    client: Http2Client, served: Fastdns, origin: FalseUpstream
) -> None:
    release = threading.Event()
    slow = [make_query(origin.new_name(held(release))).to_wire() for _ in range(20)]
    fast = make_query(origin.new_name())
    waiting = [client.post(wire) for wire in slow]
    assert data(client.ask(fast)) == ["192.0.2.1"]
    assert not any(client.responses[stream].is_over for stream in waiting)
    release.set()
    for wire, response in zip(slow, client.wait_for(*waiting), strict=True):
        read_answer(wire, response.body)


def test_request_that_is_given_up_leaves_the_others(
    client: Http2Client, origin: FalseUpstream
) -> None:
    release = threading.Event()
    given_up, other = origin.new_name(held(release)), origin.new_name(held(release))
    stream = client.post(make_query(given_up).to_wire())
    kept = client.post(make_query(other).to_wire())
    origin.wait_for(given_up)
    client.h2.reset_stream(stream)
    client.flush()
    release.set()
    assert client.fetch(kept).status == 200
    assert not client.responses[stream].is_over


def test_answer_waits_until_the_client_has_room_for_it(
    doh: Service, http2: ssl.SSLContext, origin: FalseUpstream
) -> None:
    name = origin.new_name()
    with Http2Client(doh, http2) as client:
        client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        client.flush()
        wire = make_query(name).to_wire()
        stream = client.post(wire)
        while not client.responses[stream].status:
            assert client.read()
        assert client.responses[stream].body == b""
        client.h2.increment_flow_control_window(1000, stream)
        client.flush()
        read_answer(wire, client.fetch(stream).body)


def length_of_answer(client: Http2Client, *options: dns.edns.Option) -> int:
    wire = make_query("localhost", options=options).to_wire()
    body = client.fetch(client.post(wire)).body
    read_answer(wire, body)
    return len(body)


def test_answer_is_padded_for_who_padded(client: Http2Client) -> None:
    assert length_of_answer(client, dns.edns.GenericOption(PADDING, bytes(40))) == PADDED
    assert length_of_answer(client) < 100


def test_option_for_other_transports_is_ignored(client: Http2Client) -> None:
    """How long HTTP/2 keeps a connection is HTTP's own affair (RFC 8484 section 8.1)."""
    query = make_query("localhost", options=[dns.edns.GenericOption(KEEPALIVE, b"")])
    assert KEEPALIVE not in [option.otype for option in client.ask(query).options]


# HTTP/1.1


def test_old_client_asks_again_and_again(old_client: Http1Client, origin: FalseUpstream) -> None:
    for _ in range(3):
        assert data(old_client.ask(make_query(origin.new_name()))) == ["192.0.2.1"]


def test_client_that_offers_no_protocol_speaks_http_1(
    doh: Service, pair: CertificateFiles, origin: FalseUpstream
) -> None:
    client = Http1Client(doh, pair.context())
    assert client.sock.selected_alpn_protocol() is None
    assert data(client.ask(make_query(origin.new_name()))) == ["192.0.2.1"]
    client.close()


def test_requests_that_come_together_are_answered_in_their_order(
    doh: Service, pair: CertificateFiles, origin: FalseUpstream
) -> None:
    release = threading.Event()
    names = [origin.new_name(held(release)), origin.new_name()]
    wires = [make_query(name).to_wire() for name in names]
    with connect(doh, pair.context("http/1.1")) as sock:
        asked = [f"GET {path_of(wire)} HTTP/1.1\r\nHost: {NAME}\r\n" for wire in wires]
        sock.sendall(f"{asked[0]}\r\n{asked[1]}Connection: close\r\n\r\n".encode())
        origin.wait_for(names[0])
        release.set()
        octets = b""
        while piece := sock.recv(65536):
            octets += piece
    first, second = (part.partition(b"\r\n\r\n")[2] for part in octets.split(b"HTTP/1.1 200")[1:])
    read_answer(wires[0], first)
    read_answer(wires[1], second)
