"""One daemon with all services over connections, for the tests that only ask."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator

import pytest

from ..conftest import OpenDirectories
from ..support.client import ask, data
from ..support.daemon import Fastdns
from ..support.encrypted import KIDS, LISTEN, CertificateFiles, Service, service
from ..support.false_upstream import FalseUpstream

PROXY = "127.0.0.9"
FAR = "192.0.2.77"
STRANGER = "198.51.100.1"
CONFIG = f"""\
proxies = ["{PROXY}"]

[access]
allow = ["127.0.0.0/8", "{FAR}"]

[[view]]
name = "kids"
clients = ["{FAR}", "tls:{KIDS}", "doh:kids"]
answer = "nxdomain"
deny = ["blocked.demo"]
"""


@pytest.fixture(scope="session")
def pair(tmp_path_factory: OpenDirectories) -> CertificateFiles:
    """The certificate of the shared daemon."""
    return CertificateFiles(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def origin() -> Iterator[FalseUpstream]:
    """The upstream of the shared daemon; tests use names of their own."""
    with FalseUpstream() as server:
        yield server


@pytest.fixture(scope="session")
def shared(
    tmp_path_factory: OpenDirectories, pair: CertificateFiles, origin: FalseUpstream
) -> Iterator[Fastdns]:
    state = tmp_path_factory.mktemp("shared") / "state"
    config = pair.config + CONFIG
    with Fastdns(state, upstream=[origin], listen=LISTEN, config=config, is_forked=False) as daemon:
        yield daemon


@pytest.fixture
def served(shared: Fastdns, origin: FalseUpstream) -> Iterator[Fastdns]:
    """The shared daemon, which is as well after the test as it was before."""
    process_ids = shared.process_ids()
    yield shared
    assert data(ask(shared, origin.new_name(), tcp=True)) == ["192.0.2.1"]
    assert shared.process_ids() == process_ids


@pytest.fixture
def dot(served: Fastdns) -> Service:
    return service(served, "tls")


@pytest.fixture
def doh(served: Fastdns) -> Service:
    return service(served, "https")


@pytest.fixture
def tls(pair: CertificateFiles) -> ssl.SSLContext:
    """What a client of DNS over TLS trusts and offers."""
    return pair.context("dot")


@pytest.fixture
def http2(pair: CertificateFiles) -> ssl.SSLContext:
    return pair.context("h2", "http/1.1")


@pytest.fixture
def start(start_fastdns: Callable[..., Fastdns]) -> Callable[..., Fastdns]:
    """Start a daemon of the test's own, with a certificate."""

    def start_with(files: CertificateFiles, config: str = "", **keywords: object) -> Fastdns:
        keywords = {"listen": LISTEN} | keywords
        return start_fastdns(config=files.config + config, **keywords)

    return start_with
