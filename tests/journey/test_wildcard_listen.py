"""On a wildcard address, answers come from the address that was asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.client import data, exchange_tcp, make_query, read_answer
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.ports import free_port


class At:
    """The port of a daemon at one of the machine's addresses."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port


@pytest.fixture(scope="module")
def wildcard(
    tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream
) -> Iterator[Fastdns]:
    """Listens on all addresses of both families, on the same port number."""
    port = free_port("0.0.0.0")
    listen = [f"0.0.0.0:{port}", f"[::]:{port}"]
    directory = tmp_path_factory.mktemp("wildcard") / "state"
    with Fastdns(directory, upstream=[upstream], listen=listen) as daemon:
        assert daemon.addresses == [("0.0.0.0", port), ("::", port)]
        yield daemon


def own_ipv6_addresses() -> list[str]:
    """Those of this machine but link-local ones; at least ::1."""
    lines = Path("/proc/net/if_inet6").read_text().splitlines()
    hosts = [socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])) for line in lines]
    return sorted({host for host in hosts if not host.startswith("fe80")})


PATHS = [  # the client's address, the one that it asks
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.0.1", "127.0.0.5"),
    ("127.0.0.7", "127.1.2.3"),
    *[("::1", host) for host in own_ipv6_addresses()],
]


@pytest.mark.parametrize(("client", "asked"), PATHS)
class TestAnswer:
    def exchange(self, client: str, server: At, query: bytes) -> bytes:
        """Over UDP; other sources than the address that was asked are seen, and are an error."""
        family = socket.AF_INET6 if ":" in client else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(8)
            sock.bind((client, 0))
            sock.sendto(query, (server.host, server.port))
            answer, source = sock.recvfrom(65535)
        assert source[:2] == (server.host, server.port)
        return answer

    def test_comes_from_there_first_and_cached(
        self, wildcard: Fastdns, upstream: FalseUpstream, client: str, asked: str
    ) -> None:
        query = make_query(upstream.new_name()).to_wire()
        for _ in range(3):
            answer = self.exchange(client, At(asked, wildcard.port), query)
            assert data(read_answer(query, answer)) == ["192.0.2.1"]

    def test_comes_from_there_when_it_is_an_error_or_cut_short(
        self, wildcard: Fastdns, upstream: FalseUpstream, client: str, asked: str
    ) -> None:
        server = At(asked, wildcard.port)
        lines = [f"@ 300 IN A 192.0.2.{number}" for number in range(100)]
        large = upstream.new_name(lambda asked: asked.answer(*lines))
        for query in (
            make_query(upstream.new_name(), rd=False).to_wire(),
            make_query(upstream.new_name(), "AXFR").to_wire(),
            make_query(large).to_wire(),
            make_query(upstream.new_name()).to_wire()[:20],
        ):
            answer = self.exchange(client, server, query)
            assert answer[:2] == query[:2]

    def test_comes_over_tcp_too(
        self, wildcard: Fastdns, upstream: FalseUpstream, client: str, asked: str
    ) -> None:
        query = make_query(upstream.new_name()).to_wire()
        answer = read_answer(query, exchange_tcp(At(asked, wildcard.port), query))
        assert data(answer) == ["192.0.2.1"]


def test_log_does_not_warn_while_access_is_limited(wildcard: Fastdns) -> None:
    wildcard.wait_for_log(r"INFO: lan is ")
    assert not any("is an open resolver" in line for line in wildcard.log)


def test_log_warns_when_everybody_may_ask(tmp_path: Path, upstream: FalseUpstream) -> None:
    with Fastdns(
        tmp_path / "state",
        upstream=[upstream],
        listen=["0.0.0.0:0", "[::]:0"],
        config='access.allow = ["0.0.0.0/0", "lan", "::/0"]\naccess.deny = ["::/0"]\n',
    ) as daemon:
        daemon.wait_for_log(r"0\.0\.0\.0:\d+ is an open resolver: .* 0\.0\.0\.0/0$")
        assert not any("[::]:0 serves" in line for line in daemon.log)
