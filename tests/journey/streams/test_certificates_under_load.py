"""Reloads and other certificates while clients ask over TLS and HTTPS: nothing is lost."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import dns.message
import h2.errors
import h2.exceptions
import pytest

from ..conftest import OpenDirectories
from ..support.client import eventually, make_query, read_answer
from ..support.daemon import Fastdns
from ..support.encrypted import (
    CertificateFiles,
    Http1Client,
    Http2Client,
    Service,
    TlsClient,
    connect,
    context_for,
    replace,
    service,
)
from ..support.false_upstream import FalseUpstream, held

Start = Callable[..., Fastdns]
CLIENTS = 4  # of each protocol


@pytest.fixture
def files(tmp_path_factory: OpenDirectories) -> CertificateFiles:
    """A certificate that the test may replace."""
    return CertificateFiles(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def daemon(start: Start, files: CertificateFiles, upstream: FalseUpstream) -> Fastdns:
    return start(files, upstream=[upstream], workers=2)


def shown(place: Service, files: CertificateFiles) -> bool:
    """Whether a new connection sees the certificate of now, and no other."""
    try:
        connect(place, files.context()).close()
    except ssl.SSLCertVerificationError:
        return False
    return True


def reload(daemon: Fastdns) -> None:
    done = daemon.reload()
    assert (done.returncode, done.stderr) == (0, "")


def test_answers_in_flight_arrive_over_a_reload_and_then_comes_an_orderly_end(
    start: Start, files: CertificateFiles, upstream: FalseUpstream
) -> None:
    daemon = start(files, upstream=[upstream])
    release = threading.Event()
    dot, doh = service(daemon, "tls"), service(daemon, "https")
    wires = [make_query(upstream.new_name(held(release))).to_wire() for _ in range(5)]
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        over_tls = stack.enter_context(TlsClient(dot, files.context("dot")))
        idle = stack.enter_context(TlsClient(dot, files.context("dot")))
        over_http = stack.enter_context(Http2Client(doh, files.context("h2")))
        idle_http = stack.enter_context(Http2Client(doh, files.context("h2")))
        idle_http.ask(make_query("localhost"))
        old = Http1Client(doh, files.context("http/1.1"))
        for wire in wires[:2]:
            over_tls.send(wire)
        streams = [over_http.post(wire) for wire in wires[2:4]]
        old.request("POST", "/dns-query", wires[4], {"content-type": "application/dns-message"})
        for wire in wires:
            upstream.wait_for(read_name(wire))
        files.renew()
        # It ends when the old worker has no query and no connection any more.
        reloading = pool.submit(reload, daemon)
        assert idle.receive() is None
        while idle_http.read():
            pass
        release.set()
        for _ in range(2):
            answer = over_tls.receive()
            read_answer(next(wire for wire in wires if wire[:2] == answer[:2]), answer)
        assert over_tls.receive() is None
        for wire, response in zip(wires[2:4], over_http.wait_for(*streams), strict=True):
            read_answer(wire, response.body)
        while over_http.read():
            pass
        read_answer(wires[4], old.getresponse().read())
        assert old.sock.recv(1) == b""
        old.close()
    reloading.result()
    assert shown(dot, files)
    assert shown(doh, files)
    for client in (over_http, idle_http):
        assert {one.error_code for one in client.goaways} == {h2.errors.ErrorCodes.NO_ERROR}
        assert max(one.last_stream_id for one in client.goaways) >= max(client.responses)


def read_name(wire: bytes) -> str:
    return dns.message.from_wire(wire).question[0].name.to_text()


class Load:
    """Clients that ask one query after the other, and come back when their connection ends."""

    def __init__(
        self, daemon: Fastdns, files: CertificateFiles, pems: list[str], upstream: FalseUpstream
    ) -> None:
        self.files, self.pems, self.upstream = files, pems, upstream
        self.places = {"dot": service(daemon, "tls"), "doh": service(daemon, "https")}
        self.is_over = threading.Event()
        self.problems: list[str] = []
        self.answers = [0] * 2 * CLIENTS
        self.comebacks = [0] * 2 * CLIENTS
        self.sessions: list[bool] = []

    def run(self, number: int) -> None:
        try:
            while not self.is_over.is_set():
                (self.over_tls if number % 2 else self.over_http)(number)
                self.comebacks[number] += 1
        except Exception as error:
            self.problems.append(f"client {number}: {error!r}")

    def stop(self) -> None:
        """Have each of them ask a little longer, and end."""
        before = list(self.answers)
        eventually(
            lambda: [now - then for now, then in zip(self.answers, before, strict=True)],
            lambda more: min(more) > 5 or bool(self.problems),
        )
        self.is_over.set()

    def trusting(self, protocol: str) -> ssl.SSLContext:
        return context_for("".join(self.pems), protocol)

    def names(self) -> Iterator[str]:
        while not self.is_over.is_set():
            yield "hit.false.demo."
            yield self.upstream.new_name()

    def over_tls(self, number: int) -> None:
        with TlsClient(self.places["dot"], self.trusting("dot")) as client:
            for name in self.names():
                wire = make_query(name).to_wire()
                client.send(wire)
                answer = client.receive()
                if answer is None:
                    return
                read_answer(wire, answer)
                self.answers[number] += 1

    def over_http(self, number: int) -> None:
        with Http2Client(self.places["doh"], self.trusting("h2")) as client:
            for name in self.names():
                wire = make_query(name).to_wire()
                try:
                    stream = client.post(wire)
                except h2.exceptions.ProtocolError:  # told to go away
                    assert client.goaways
                    return
                while not client.responses[stream].is_over:
                    if not client.read():
                        (*_, goaway) = client.goaways
                        assert goaway.error_code == 0
                        assert goaway.last_stream_id < stream, "taken, but not answered"
                        return
                read_answer(wire, client.responses[stream].body)
                self.answers[number] += 1


@contextmanager
def load(
    daemon: Fastdns, files: CertificateFiles, pems: list[str], upstream: FalseUpstream
) -> Iterator[Load]:
    """Clients that ask while the block runs; nothing may go wrong for any of them."""
    clients = Load(daemon, files, pems, upstream)
    threads = [threading.Thread(target=clients.run, args=(i,)) for i in range(2 * CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: min(clients.answers), lambda least: least > 5 or clients.problems)
        yield clients
        if not clients.is_over.is_set():
            clients.stop()
    finally:
        clients.is_over.set()
        for thread in threads:
            thread.join()
    assert clients.problems == []


def test_reloads_under_load_lose_nothing_and_show_the_new_certificate(
    daemon: Fastdns, files: CertificateFiles, upstream: FalseUpstream
) -> None:
    pems = [files.pem]
    with load(daemon, files, pems, upstream) as clients:
        for _ in range(2):
            before = list(clients.comebacks)
            files.renew()
            pems.append(files.pem)
            reload(daemon)
            assert shown(clients.places["dot"], files)
            assert shown(clients.places["doh"], files)
            eventually(
                lambda before=before: [
                    now > then for now, then in zip(clients.comebacks, before, strict=True)
                ],
                lambda back: all(back) or bool(clients.problems),
            )


def test_another_instance_takes_over_under_load_and_nothing_is_lost(
    daemon: Fastdns, files: CertificateFiles, upstream: FalseUpstream
) -> None:
    with load(daemon, files, [files.pem], upstream) as clients:
        config = daemon.state_dir.with_suffix(".toml").read_text()
        listen = [f"{host}:{port}" for host, port in daemon.addresses]
        with Fastdns(
            daemon.state_dir,
            upstream=[upstream],
            listen=listen,
            config=config,
            workers=2,
            arguments=["--takeover"],
        ):
            assert daemon.process.wait(10) == 0
            eventually(lambda: min(clients.comebacks), bool)
            clients.stop()


def test_certificate_that_changes_is_used_for_new_connections_and_ends_no_other(
    daemon: Fastdns, files: CertificateFiles, upstream: FalseUpstream
) -> None:
    dot, doh = service(daemon, "tls"), service(daemon, "https")
    pems = [files.pem]
    with load(daemon, files, pems, upstream) as clients:
        files.renew()
        pems.append(files.pem)
        for place in (dot, doh):
            eventually(lambda place=place: shown(place, files), bool)
        assert clients.comebacks == [0] * 2 * CLIENTS


def test_key_of_another_certificate_changes_nothing_and_is_told(
    daemon: Fastdns, files: CertificateFiles, tmp_path_factory: OpenDirectories
) -> None:
    other = CertificateFiles(tmp_path_factory.mktemp("other"))
    replace(files.key, other.key.read_bytes())
    done = daemon.reload()
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert str(files.key) in line
    assert shown(service(daemon, "tls"), files)
