"""Listeners for TLS through certificates, reloads, restarts and takeovers: nobody is cut off."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import dns.message
import pytest

from fastdns._certificate import make_self_signed

from .support.client import ask, data, eventually, make_query
from .support.daemon import Fastdns, split_address
from .support.false_upstream import Asked, FalseUpstream
from .support.manager import ServiceManager
from .support.tls import TlsClient

LISTEN = ("127.0.0.1:0", "tls://127.0.0.1:0", "https://127.0.0.1:0")
CONNECTIONS = 16


class Files:
    """Certificate and key."""

    def __init__(self, directory: Path) -> None:
        self.chain, self.key = directory / "chain.pem", directory / "key.pem"
        self.config = f'[listen]\ncertificate = "{self.chain}"\nkey = "{self.key}"\n'

    def write(self, name: str) -> None:
        for file, octets in zip((self.chain, self.key), make_self_signed([name], 90), strict=True):
            file.write_bytes(octets)
            file.chmod(0o644)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write("first.demo")
    return files


def made(directory: Path, upstream: FalseUpstream, files: Files, **more: object) -> Fastdns:
    keywords = {"listen": LISTEN, "workers": 2, "config": files.config, **more}
    return Fastdns(directory / "state", upstream=[upstream], **keywords)


@pytest.fixture
def daemon(tmp_path: Path, upstream: FalseUpstream, files: Files) -> Iterator[Fastdns]:
    with made(tmp_path, upstream, files) as daemon:
        yield daemon


def tls_of(daemon: Fastdns) -> tuple[str, int]:
    return place_of(daemon, "tls")


def place_of(daemon: Fastdns, service: str) -> tuple[str, int]:
    (found,) = [one for one in daemon.addresses if one[0].startswith(f"{service}://")]
    return found[0].removeprefix(f"{service}://"), found[1]


def query(upstream: FalseUpstream) -> bytes:
    return make_query(upstream.new_name()).to_wire()


def names_at(place: tuple[str, int]) -> tuple[str, ...]:
    with TlsClient(place) as client:
        return client.names


def resumes(place: tuple[str, int], session: ssl.SSLSession | None) -> bool:
    assert session is not None
    with TlsClient(place, session) as client:
        return client.is_resumed


def session_at(place: tuple[str, int], upstream: FalseUpstream) -> ssl.SSLSession | None:
    with TlsClient(place) as client:
        assert client.ask(query(upstream))
        return client.session


def test_another_certificate_is_for_new_connections_and_ends_none(
    daemon: Fastdns, upstream: FalseUpstream, files: Files
) -> None:
    place = tls_of(daemon)
    with ExitStack() as stack:
        kept = [stack.enter_context(TlsClient(place)) for _ in range(CONNECTIONS)]
        assert {one.names for one in kept} == {("first.demo",)}
        session = session_at(place, upstream)
        files.write("second.demo")
        daemon.wait_for_log("certificate for second.demo: in use")
        eventually(
            lambda: {names_at(place) for _ in range(8)}, lambda names: names == {("second.demo",)}
        )
        assert all(one.ask(query(upstream)) for one in kept)
        assert resumes(place, session)


def test_any_worker_resumes_a_session_also_after_a_reload_and_in_another_instance(
    daemon: Fastdns, tmp_path: Path, upstream: FalseUpstream, files: Files
) -> None:
    place = tls_of(daemon)
    session = session_at(place, upstream)
    assert all(resumes(place, session) for _ in range(8))
    with TlsClient(place) as client:
        assert client.ask(query(upstream))
        assert daemon.reload().returncode == 0
        assert client.receive() == b""  # close_notify, and no reset
    assert all(resumes(place, session) for _ in range(8))
    with made(tmp_path, upstream, files, arguments=["--takeover"]) as second:
        assert second.addresses == daemon.addresses
        assert daemon.process.wait(5) == 0
        assert all(resumes(place, session) for _ in range(8))
        assert names_at(place) == ("first.demo",)


def test_reload_sends_the_answers_that_are_due_before_it_closes_connections(
    daemon: Fastdns, upstream: FalseUpstream
) -> None:
    asked, replaced = Event(), Event()

    def late(query: Asked) -> None:
        asked.set()
        replaced.wait(8)
        query.answer("@ 300 IN A 192.0.2.1")

    place, before = tls_of(daemon), set(daemon.workers)
    with ExitStack() as stack:
        kept = [stack.enter_context(TlsClient(place)) for _ in range(CONNECTIONS)]
        wire = make_query(upstream.new_name(late)).to_wire()
        for one in kept:
            one.send(wire)
        assert asked.wait(5)
        reloaded = stack.enter_context(ThreadPoolExecutor(1)).submit(daemon.reload)
        eventually(lambda: set(daemon.workers) - before, bool)
        replaced.set()
        for one in kept:
            assert data(dns.message.from_wire(one.receive())) == ["192.0.2.1"]
            assert one.receive() == b""  # close_notify, and no reset
        assert reloaded.result().returncode == 0


def test_service_manager_keeps_each_socket_for_its_service(
    tmp_path: Path, upstream: FalseUpstream, files: Files
) -> None:
    with ServiceManager(tmp_path) as manager:
        with made(tmp_path, upstream, files, manager=manager) as daemon:
            manager.wait_for("READY=1")
            former = daemon.addresses
            session = session_at(tls_of(daemon), upstream)
        with made(tmp_path, upstream, files, manager=manager) as daemon:
            assert daemon.addresses == former
            assert resumes(tls_of(daemon), session)


def test_without_a_usable_certificate_dns_is_served_and_tls_is_closed_until_there_is_one(
    tmp_path: Path, upstream: FalseUpstream, files: Files
) -> None:
    files.key.unlink()
    with made(tmp_path, upstream, files, workers=1) as daemon:
        daemon.wait_for_log("until that is right, clients cannot use TLS and HTTPS")
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            TlsClient(tls_of(daemon))
        files.write("first.demo")
        daemon.wait_for_log("certificate for first.demo: in use")
        eventually(lambda: answers(tls_of(daemon), upstream), bool)


def answers(place: tuple[str, int], upstream: FalseUpstream) -> bool:
    try:
        with TlsClient(place) as client:
            return bool(client.ask(query(upstream)))
    except OSError:
        return False


def test_reload_begins_and_ends_to_encrypt(
    tmp_path: Path, upstream: FalseUpstream, files: Files
) -> None:
    plain = "workers = 1\n"
    with made(
        tmp_path, upstream, files, listen=("127.0.0.1:0",), workers=None, config=plain
    ) as daemon:
        daemon.configure(f"{plain}{files.config}tls = ['127.0.0.1:0']\nhttps = ['127.0.0.1:0']\n")
        assert daemon.reload().returncode == 0, daemon.tail()
        text = daemon.wait_for_log(r"ready on (\S+), (tls://\S+), (https://\S+) \(")
        place = split_address(text[2].removeprefix("tls://"))
        assert names_at(place) == ("first.demo",)
        assert answers(place, upstream)
        daemon.configure(plain)
        assert daemon.reload().returncode == 0
        with pytest.raises(ConnectionRefusedError):
            TlsClient(place)
