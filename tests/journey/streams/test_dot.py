"""DNS over TLS (RFC 7858) as its clients see it: answers, versions, tickets, padding, the end."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time

import dns.edns
import dns.message
import pytest

from ..support.client import ask, data, exchange_tcp, exchange_udp, make_query, read_answer
from ..support.daemon import Fastdns
from ..support.dig import dig
from ..support.encrypted import NAME, CertificateFiles, HandMadeTls, Service, TlsClient, connect
from ..support.false_upstream import FalseUpstream, held

PADDING, KEEPALIVE = 12, 11
PADDED = 468  # RFC 8467 section 4.1


@pytest.fixture(params=["hit", "miss"])
def name(request: pytest.FixtureRequest, served: Fastdns, origin: FalseUpstream) -> str:
    """One that is in the cache, and one that is not."""
    new = origin.new_name()
    if request.param == "hit":
        ask(served, new)
    return new


def test_kdig_that_checks_the_name_gets_an_answer(
    dot: Service, pair: CertificateFiles, name: str
) -> None:
    trust = f"+tls-ca={pair.certificate}"
    shown = dig(dot, "+tls", trust, f"+tls-hostname={NAME}", name, program="kdig")
    assert shown.sections["ANSWER"] == [f"{name} IN A 192.0.2.1"]


def test_client_that_expects_another_name_does_not_ask(dot: Service, tls: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(dot, tls, name="other.demo")


def test_answer_of_a_new_connection_comes_without_delay(
    dot: Service, tls: ssl.SSLContext, served: Fastdns, origin: FalseUpstream
) -> None:
    """Octets that wait for an acknowledgement take 40 ms (TCP_NODELAY is missing)."""
    query = make_query(origin.new_name())
    ask(served, query.question[0].name)

    def seconds() -> float:
        start = time.monotonic()
        with TlsClient(dot, tls) as client:
            client.ask(query)
            return time.monotonic() - start

    assert min(seconds() for _ in range(5)) < 0.035


def test_answers_come_as_they_are_ready(
    dot: Service, tls: ssl.SSLContext, served: Fastdns, origin: FalseUpstream
) -> None:
    release = threading.Event()
    cached = make_query(origin.new_name()).to_wire()
    slow = make_query(origin.new_name(held(release))).to_wire()
    exchange_udp(served, cached)
    with TlsClient(dot, tls) as client:
        client.send(slow)
        client.send(cached)
        read_answer(cached, client.receive())
        release.set()
        read_answer(slow, client.receive())


# Versions, names and protocols


def s_client(place: Service, *arguments: str) -> str:
    """What `openssl s_client` says; it ends when the handshake is over."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run(
        [program, "s_client", "-connect", f"{place.host}:{place.port}", *arguments],
        input="",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("of", ["dot", "doh"])
def test_versions_before_1_2_are_refused(request: pytest.FixtureRequest, of: str) -> None:
    said = s_client(request.getfixturevalue(of), "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0")
    assert "alert protocol version" in said


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_1_2_and_1_3_are_served(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream, version: ssl.TLSVersion
) -> None:
    tls.minimum_version = tls.maximum_version = version
    with TlsClient(dot, tls) as client:
        assert client.sock.version() == version.name.replace("_", ".")
        assert data(client.ask(make_query(origin.new_name()))) == ["192.0.2.1"]


def test_ciphers_without_forward_secrecy_are_refused(dot: Service, tls: ssl.SSLContext) -> None:
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("AES128-SHA:AES128-GCM-SHA256:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
        connect(dot, tls)


def test_renegotiation_is_refused(dot: Service) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run(
        [program, "s_client", "-connect", f"{dot.host}:{dot.port}", "-tls1_2"],
        input="R\n",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "no renegotiation" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("offered", "chosen"), [((), None), (("dot",), "dot"), (("h2",), None), (("h2", "dot"), "dot")]
)
def test_client_is_served_whatever_protocols_it_offers(
    dot: Service,
    pair: CertificateFiles,
    origin: FalseUpstream,
    offered: tuple[str, ...],
    chosen: str | None,
) -> None:
    with TlsClient(dot, pair.context(*offered)) as client:
        assert client.sock.selected_alpn_protocol() == chosen
        assert data(client.ask(make_query(origin.new_name()))) == ["192.0.2.1"]


# Padding and other options of EDNS


def length_of_answer(client: TlsClient, query: dns.message.Message) -> int:
    client.send(query.to_wire())
    answer = client.receive()
    read_answer(query.to_wire(), answer)
    return len(answer)


def padded(name: str) -> dns.message.Message:
    return make_query(name, options=[dns.edns.GenericOption(PADDING, bytes(40))])


def test_answer_is_padded_for_who_padded(dot: Service, tls: ssl.SSLContext, name: str) -> None:
    with TlsClient(dot, tls) as client:
        assert length_of_answer(client, padded(name)) == PADDED
        assert length_of_answer(client, make_query(name)) < 100


def test_answer_without_tls_is_never_padded(served: Fastdns, name: str) -> None:
    query = padded(name).to_wire()
    for exchange in (exchange_udp, exchange_tcp):
        assert len(exchange(served, query)) < 100


def keepalives(answer: dns.message.Message) -> list[bytes]:
    return [option.data for option in answer.options if option.otype == KEEPALIVE]


def test_client_that_asks_is_told_how_long_it_may_be_idle(
    dot: Service, tls: ssl.SSLContext, name: str
) -> None:
    with TlsClient(dot, tls) as client:
        query = make_query(name, options=[dns.edns.GenericOption(KEEPALIVE, b"")])
        (told,) = keepalives(client.ask(query))
        assert 2 <= int.from_bytes(told, "big") / 10 <= 120  # RFC 7828: units of 100 ms
        assert keepalives(client.ask(make_query(name))) == []


# Resumption


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_connection_gets_a_ticket_for_the_next_one(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream, version: ssl.TLSVersion
) -> None:
    tls.minimum_version = tls.maximum_version = version
    session = None
    query = make_query(origin.new_name())
    for number in range(4):
        with TlsClient(dot, tls, session=session) as client:
            client.ask(query)
            assert client.sock.session_reused == (number > 0)
            session = client.sock.session


# How a connection ends


def test_client_that_says_goodbye_gets_the_answers_that_are_due_and_a_goodbye(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream
) -> None:
    release = threading.Event()
    slow = origin.new_name(held(release))
    wire = make_query(slow).to_wire()
    with HandMadeTls(dot, tls) as client:
        client.do(client.tls.do_handshake)
        client.do(client.tls.write, len(wire).to_bytes(2, "big") + wire)
        origin.wait_for(slow)
        client.say_goodbye()
        release.set()
        read_answer(wire, client.do(client.tls.read, 65535)[2:])
        with pytest.raises(ssl.SSLZeroReturnError):
            client.do(client.tls.read, 65535)


def test_client_that_half_closes_gets_the_answers_that_are_due(
    dot: Service, tls: ssl.SSLContext, origin: FalseUpstream
) -> None:
    release = threading.Event()
    slow = origin.new_name(held(release))
    wire = make_query(slow).to_wire()
    with HandMadeTls(dot, tls) as client:
        client.do(client.tls.do_handshake)
        client.do(client.tls.write, len(wire).to_bytes(2, "big") + wire)
        origin.wait_for(slow)
        client.sock.shutdown(socket.SHUT_WR)
        release.set()
        read_answer(wire, client.do(client.tls.read, 65535)[2:])
        assert client.do(client.tls.read, 65535) == b""  # after close_notify
