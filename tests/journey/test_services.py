"""Listen addresses whose service has no UDP socket, or no TCP socket."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from .support import one_kind
from .support.client import ask, data
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.manager import ServiceManager
from .support.ports import free_port, udp_sockets

LISTEN = ("127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0")


def made(state_dir: Path, upstream: FalseUpstream, **keywords: object) -> Fastdns:
    keywords = {"listen": LISTEN, "workers": None, "config": "workers = 2", **keywords}
    daemon = Fastdns(state_dir, upstream=[upstream], **keywords)
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [one_kind.__file__]
    return daemon


class Spot(NamedTuple):
    """Where a client sends its queries."""

    host: str
    port: int


def spots(daemon: Fastdns) -> list[Spot]:
    """What its ready line names, without the services."""
    return [Spot(host.rpartition("/")[2], port) for host, port in daemon.addresses]


def answers_everywhere(daemon: Fastdns, upstream: FalseUpstream) -> None:
    """Over both, over TCP alone, over UDP alone."""
    for spot, transports in zip(spots(daemon), ({True, False}, {True}, {False}), strict=True):
        for tcp in (True, False):
            if tcp in transports:
                assert data(ask(spot, upstream.new_name(), tcp=tcp)) == ["192.0.2.1"]
            else:
                with pytest.raises(ConnectionRefusedError):
                    ask(spot, upstream.new_name(), tcp=tcp)


def test_each_service_has_the_sockets_that_it_needs(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    with made(tmp_path / "state", upstream) as daemon:
        hosts = [host for host, _ in daemon.addresses]
        assert hosts == ["127.0.0.1", "stream://127.0.0.2", "datagram://127.0.0.3"]
        answers_everywhere(daemon, upstream)


def test_worker_that_dies_is_replaced(tmp_path: Path, upstream: FalseUpstream) -> None:
    with made(tmp_path / "state", upstream, config="workers = 1") as daemon:
        os.kill(daemon.worker, signal.SIGKILL)
        daemon.wait_for_log("serves in its place")
        answers_everywhere(daemon, upstream)


def test_reload_changes_the_number_of_workers(tmp_path: Path, upstream: FalseUpstream) -> None:
    with made(tmp_path / "state", upstream, config="workers = 1") as daemon:
        *_, datagram = spots(daemon)
        for workers in (2, 1):
            daemon.configure(f"workers = {workers}")
            assert daemon.reload().returncode == 0
            assert len(daemon.workers) == workers
            assert len(udp_sockets(datagram.port, datagram.host)) == workers
            answers_everywhere(daemon, upstream)


def test_reload_gives_an_address_to_another_service(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    port = free_port("0.0.0.0")

    def config(*hosts: str) -> str:
        return f"workers = 2\n[listen]\ndns = {[f'{host}:{port}' for host in hosts]}\n"

    everywhere, stream = Spot("127.0.0.1", port), Spot("127.0.0.2", port)
    with made(tmp_path / "state", upstream, listen=(), config=config("0.0.0.0")) as daemon:
        assert data(ask(stream, upstream.new_name())) == ["192.0.2.1"]
        for hosts, udp_count in ((("127.0.0.1", "127.0.0.2"), 2), (("127.0.0.2",), 0)):
            daemon.configure(config(*hosts))
            assert daemon.reload().returncode == 0
            assert len(udp_sockets(port, "")) == udp_count
            assert data(ask(stream, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
        with pytest.raises(ConnectionRefusedError):
            ask(everywhere, upstream.new_name(), tcp=True)
        daemon.configure(config("0.0.0.0"))
        assert daemon.reload().returncode == 0
        assert data(ask(everywhere, upstream.new_name())) == ["192.0.2.1"]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_service_manager_keeps_their_sockets_over_a_restart(
    tmp_path: Path, upstream: FalseUpstream, before: int, after: int
) -> None:
    with ServiceManager(tmp_path) as manager:
        state = tmp_path / "state"
        with made(state, upstream, config=f"workers = {before}", manager=manager) as daemon:
            manager.wait_for("READY=1")
            former = daemon.addresses
        with made(state, upstream, config=f"workers = {after}", manager=manager) as daemon:
            assert daemon.addresses == former
            answers_everywhere(daemon, upstream)


def test_another_instance_takes_them_over(tmp_path: Path, upstream: FalseUpstream) -> None:
    with (
        made(tmp_path / "state", upstream) as first,
        made(tmp_path / "state", upstream, arguments=["--takeover"]) as second,
    ):
        assert second.addresses == first.addresses
        assert first.process.wait(5) == 0
        answers_everywhere(second, upstream)
