"""With a service manager: what it is told, what it keeps over a restart, sockets it has opened."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import dns.message
import pytest

from .support.client import TcpClient, ask, data, eventually, make_query, read_answer, udp_socket
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream, answer_a, silence
from .support.manager import ServiceManager
from .support.ports import bind_pair, free_port

Start = Callable[..., Fastdns]
SocketUnit = Callable[..., ServiceManager]
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path) as manager:
        yield manager


def stored_names(manager: ServiceManager) -> list[str]:
    return sorted(name.split("/", 1)[1] for name in manager.stored)


def port_of(manager: ServiceManager) -> int:
    return next(iter(manager.stored.values()))[0].getsockname()[1]


# What it is told


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_is_told_when_answers_come(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path, abstract: bool
) -> None:
    with ServiceManager(tmp_path, abstract=abstract) as systemd:
        daemon = start_fastdns(upstream=[upstream], manager=systemd)
        told = systemd.wait_for("READY=1")
        assert f"127.0.0.1:{daemon.port}" in told["STATUS"]
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        assert systemd.messages[-1] is told, "sockets are stored before"


def test_the_end_is_told_as_it_begins(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    daemon = start_fastdns(upstream=[upstream], manager=systemd)
    daemon.stop()
    systemd.wait_for("STOPPING=1", timeout=1)


def test_without_a_watchdog_nothing_is_told_of_it(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    daemon = start_fastdns(upstream=[upstream], manager=systemd)
    daemon.stop()
    assert systemd.count("WATCHDOG") == 0


def test_the_watchdog_hears_of_us_in_half_its_time_as_long_as_workers_work(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    with ServiceManager(tmp_path, watchdog=0.4) as systemd:
        daemon = start_fastdns(upstream=[upstream], workers=2, manager=systemd)
        start = time.monotonic()
        eventually(lambda: systemd.count("WATCHDOG=1"), lambda count: count >= 10)
        assert time.monotonic() - start < 4
        hung = daemon.workers[1]
        os.kill(hung, signal.SIGSTOP)
        try:
            daemon.wait_for_log("worker.* has not responded", 15)
            told = systemd.count("WATCHDOG=1")
            time.sleep(1)
            assert systemd.count("WATCHDOG=1") == told
        finally:
            os.kill(hung, signal.SIGCONT)
        eventually(lambda: systemd.count("WATCHDOG=1"), lambda count: count > told)


# What it keeps


def test_all_sockets_are_stored_under_names_of_their_own(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    daemon = start_fastdns(
        upstream=[upstream], listen=["127.0.0.1:0", "[::1]:0"], workers=2, manager=systemd
    )
    (_, four), (_, six) = daemon.addresses
    systemd.wait_for("READY=1")
    assert stored_names(systemd) == [
        f"tcp/--1/{six}/0",
        f"tcp/127.0.0.1/{four}/0",
        f"udp/--1/{six}/0",
        f"udp/--1/{six}/1",
        f"udp/127.0.0.1/{four}/0",
        f"udp/127.0.0.1/{four}/1",
    ]


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (1, 2), (2, 1), (3, 1)])
def test_what_is_asked_between_two_runs_is_answered_by_the_second(
    start_fastdns: Start,
    upstream: FalseUpstream,
    systemd: ServiceManager,
    before: int,
    after: int,
) -> None:
    first = start_fastdns(upstream=[upstream], workers=before, manager=systemd)
    first.stop()
    queries = [make_query(upstream.new_name()) for _ in range(20)]
    clients = []
    for query in queries:  # of a socket each: they are spread over the workers' sockets
        with udp_socket(first) as client:
            client.send(query.to_wire())
            clients.append(client.dup())
    over_tcp = make_query(upstream.new_name()).to_wire()
    with TcpClient(first) as stream:
        stream.send(over_tcp)
        told = len(systemd.messages)
        second = Fastdns(first.state_dir, upstream=[upstream], workers=after, manager=systemd)
        with second:
            assert second.port == first.port
            for query, client in zip(queries, clients, strict=True):
                client.settimeout(8)
                assert dns.message.from_wire(client.recv(4096)).id == query.id
                client.close()
            read_answer(over_tcp, stream.receive())
            systemd.wait_for("READY=1", after=told)
            udp = [name for name in stored_names(systemd) if name.startswith("udp/")]
            assert len(udp) == after


def test_sockets_outlive_a_kill_of_all_processes(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    first = start_fastdns(upstream=[upstream], manager=systemd)
    first.kill()
    query = make_query(upstream.new_name()).to_wire()
    with (
        udp_socket(first) as client,
        Fastdns(first.state_dir, upstream=[upstream], manager=systemd),
    ):
        client.send(query)
        assert data(read_answer(query, client.recv(4096))) == ["192.0.2.1"]


def test_sockets_of_an_address_that_is_configured_no_more_are_let_go(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    one, other = free_port(), free_port()
    first = start_fastdns(upstream=[upstream], listen=[f"127.0.0.1:{one}"], manager=systemd)
    first.stop()
    told = len(systemd.messages)
    second = Fastdns(
        first.state_dir, upstream=[upstream], listen=[f"127.0.0.1:{other}"], manager=systemd
    )
    with second:
        systemd.wait_for("READY=1", after=told)
        assert stored_names(systemd) == [f"tcp/127.0.0.1/{other}/0", f"udp/127.0.0.1/{other}/0"]
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as free:
                free.bind(("127.0.0.1", one))


@pytest.mark.parametrize("hosts", [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_a_restart_opens_to_all_addresses_or_closes_them(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager, hosts: tuple[str, str]
) -> None:
    port = free_port()
    former, host = hosts
    first = start_fastdns(upstream=[upstream], listen=[f"{former}:{port}"], manager=systemd)
    first.stop()
    told = len(systemd.messages)
    second = Fastdns(
        first.state_dir, upstream=[upstream], listen=[f"{host}:{port}"], manager=systemd
    )
    with second:
        systemd.wait_for("READY=1", after=told)
        assert stored_names(systemd) == [f"tcp/{host}/{port}/0", f"udp/{host}/{port}/0"]
        second.port = port
        assert data(ask(second, upstream.new_name())) == ["192.0.2.1"]
        assert data(ask(second, upstream.new_name(), tcp=True)) == ["192.0.2.1"]


def test_a_worker_that_dies_is_replaced_on_sockets_that_came_back(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    first = start_fastdns(upstream=[upstream], manager=systemd)
    first.stop()
    with Fastdns(first.state_dir, upstream=[upstream], manager=systemd) as second:
        os.kill(second.worker, signal.SIGKILL)
        assert data(ask(second, upstream.new_name())) == ["192.0.2.1"]


# A reload


def write_config(daemon: Fastdns, *, workers: int = 1, listen: Sequence[int] = ()) -> None:
    addresses = ", ".join(f'"127.0.0.1:{port}"' for port in listen)
    daemon.state_dir.with_suffix(".toml").write_text(
        f"workers = {workers}\n" + (f"[listen]\ndns = [{addresses}]\n" if listen else "")
    )


@pytest.fixture
def ports() -> list[int]:
    return [free_port(), free_port()]


@pytest.fixture
def configured(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager, ports: list[int]
) -> Fastdns:
    """A daemon that gets workers and addresses from its file: one worker and the first port."""
    daemon = start_fastdns(
        upstream=[upstream],
        listen=(),
        workers=None,
        manager=systemd,
        config=f'workers = 1\n[listen]\ndns = ["127.0.0.1:{ports[0]}"]\n',
    )
    systemd.wait_for("READY=1")  # which comes after the line in the log
    return daemon


def test_a_reload_is_told_from_its_beginning_to_its_end(
    configured: Fastdns, systemd: ServiceManager
) -> None:
    told = len(systemd.messages)
    before = time.monotonic_ns() // 1000
    os.kill(configured.pid, signal.SIGHUP)
    systemd.wait_for("READY=1", after=told)
    reloading, ready = systemd.messages[told:]
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert "not reloaded" not in ready["STATUS"]


def test_status_says_that_no_upstream_answers_and_when_one_does_again(
    start_fastdns: Start, systemd: ServiceManager
) -> None:
    with FalseUpstream(silence) as upstream:
        daemon = start_fastdns(upstream=[upstream], manager=systemd)
        assert systemd.wait_for("READY=1")["STATUS"] == f"serving 127.0.0.1:{daemon.port}"
        for _ in range(2):
            ask(daemon, upstream.new_name())
        dead = f"STATUS=serving 127.0.0.1:{daemon.port}; no upstream answers"
        systemd.wait_for(dead, timeout=20)
        upstream.otherwise = answer_a
        told = len(systemd.messages)
        systemd.wait_for(f"STATUS=serving 127.0.0.1:{daemon.port}", after=told, timeout=20)


def test_a_reload_of_a_wrong_file_ends_ready_and_the_status_says_why(
    configured: Fastdns, systemd: ServiceManager
) -> None:
    told = len(systemd.messages)
    configured.state_dir.with_suffix(".toml").write_text("workers = 'many'\n")
    os.kill(configured.pid, signal.SIGHUP)
    ready = systemd.wait_for("READY=1", after=told)
    assert systemd.messages[told]["RELOADING"] == "1"
    assert "not reloaded" in ready["STATUS"]
    assert "workers" in ready["STATUS"]


def test_the_store_follows_workers_and_addresses_of_a_reload(
    configured: Fastdns, systemd: ServiceManager, ports: list[int]
) -> None:
    for workers, listen in [(2, ports), (1, ports), (2, ports[1:]), (1, ports[:1])]:
        told = len(systemd.messages)
        write_config(configured, workers=workers, listen=listen)
        assert configured.reload().returncode == 0
        systemd.wait_for("READY=1", after=told)
        assert stored_names(systemd) == sorted(
            [f"tcp/127.0.0.1/{port}/0" for port in listen]
            + [f"udp/127.0.0.1/{port}/{number}" for port in listen for number in range(workers)]
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_of_a_socket_unit_are_served_on_after_a_reload(
    start_fastdns: Start, upstream: FalseUpstream, socket_unit: SocketUnit, workers: int
) -> None:
    systemd = socket_unit("127.0.0.1")
    daemon = start_fastdns(
        upstream=[upstream], listen=(), workers=None, manager=systemd, config="workers = 1\n"
    )
    write_config(daemon, workers=workers)
    assert daemon.reload().returncode == 0
    for tcp in (False, False, False, True):
        assert data(ask(daemon, upstream.new_name(), tcp=tcp)) == ["192.0.2.1"]
    assert len(daemon.workers) == workers


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets so large a buffer for sure")
def test_a_socket_holds_ten_thousand_queries_while_nobody_reads(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    daemon = start_fastdns(upstream=[upstream], manager=systemd)
    daemon.stop()
    (waiting,) = systemd.stored[f"fastdns/udp/127.0.0.1/{daemon.port}/0"]
    query = make_query("www.a-name-of-some-length.example").to_wire()
    with udp_socket(daemon) as client:
        for _ in range(10_000):
            client.send(query)
    received = 0
    with suppress(BlockingIOError):
        while waiting.recv(4096, socket.MSG_DONTWAIT):
            received += 1
    assert received == 10_000


# What it has opened: socket activation


@pytest.fixture
def socket_unit(tmp_path: Path) -> Iterator[Callable[..., ServiceManager]]:
    """A manager that has opened a UDP and a TCP socket of one port, or only one of them."""
    with ExitStack() as at_end:

        def open_them(host: str, kinds: Sequence[socket.SocketKind] = (UDP, TCP)) -> ServiceManager:
            pair = bind_pair(host)
            for one in pair:
                at_end.enter_context(one)
            opened = [("dns.socket", one) for one in pair if one.type in kinds]
            return at_end.enter_context(ServiceManager(tmp_path, opened=opened))

        yield open_them


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_sockets_of_a_socket_unit_are_served_in_the_place_of_the_default(
    start_fastdns: Start, upstream: FalseUpstream, socket_unit: SocketUnit, host: str, workers: int
) -> None:
    systemd = socket_unit(host)
    daemon = start_fastdns(upstream=[upstream], listen=(), workers=workers, manager=systemd)
    assert daemon.addresses == [(host, systemd.opened[0][1].getsockname()[1])]
    daemon.host = {"0.0.0.0": "127.0.0.5", "::": "::1"}.get(host, host)
    for _ in range(4 * workers):
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert data(ask(daemon, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
    assert not systemd.stored, "the socket unit keeps them itself"


def test_a_socket_for_both_families_answers_both(
    start_fastdns: Start, upstream: FalseUpstream, socket_unit: SocketUnit
) -> None:
    daemon = start_fastdns(upstream=[upstream], listen=(), manager=socket_unit("::"))
    for host in ("::1", "127.0.0.1", "127.0.0.5"):
        daemon.host = host
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING = 29, 35, 37  # Python has no names for them
ALL_TIMESTAMPS = 0x7F


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
@pytest.mark.parametrize("which", [SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING])
def test_a_socket_that_tells_when_packets_came_is_served_all_the_same(
    start_fastdns: Start,
    upstream: FalseUpstream,
    socket_unit: SocketUnit,
    host: str,
    which: int,
) -> None:
    """`Timestamping=` of a unit: the kernel would not take back with an answer what it tells."""
    systemd = socket_unit(host)
    udp = next(one for _, one in systemd.opened if one.type == UDP)
    udp.setsockopt(socket.SOL_SOCKET, which, ALL_TIMESTAMPS if which == SO_TIMESTAMPING else 1)
    daemon = start_fastdns(upstream=[upstream], listen=(), manager=systemd)
    daemon.host = {"0.0.0.0": "127.0.0.5", "::": "::1"}.get(host, host)
    name = upstream.new_name()
    for _ in range(2):  # from the upstream, and from memory
        assert data(ask(daemon, name)) == ["192.0.2.1"]


def test_configured_addresses_are_served_beside_those_of_a_socket_unit(
    start_fastdns: Start, upstream: FalseUpstream, socket_unit: SocketUnit
) -> None:
    systemd = socket_unit("127.0.0.1")
    daemon = start_fastdns(upstream=[upstream], manager=systemd)
    ports = [port for _, port in daemon.addresses]
    assert len(ports) == 2
    for daemon.port in ports:
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert len(systemd.stored) == 2


def test_what_was_asked_before_the_start_is_answered(
    start_fastdns: Start, upstream: FalseUpstream, socket_unit: SocketUnit
) -> None:
    systemd = socket_unit("127.0.0.1")
    query = make_query(upstream.new_name()).to_wire()
    with socket.socket(socket.AF_INET, UDP) as client:
        client.settimeout(8)
        client.connect(systemd.opened[0][1].getsockname())
        client.send(query)
        start_fastdns(upstream=[upstream], listen=(), manager=systemd)
        assert data(read_answer(query, client.recv(4096))) == ["192.0.2.1"]


@pytest.mark.parametrize(("there", "missing"), [(UDP, "TCP"), (TCP, "UDP")])
def test_a_socket_unit_with_one_of_udp_and_tcp_is_served_with_a_warning(
    start_fastdns: Start,
    upstream: FalseUpstream,
    socket_unit: SocketUnit,
    there: socket.SocketKind,
    missing: str,
) -> None:
    systemd = socket_unit("127.0.0.1", [there])
    daemon = start_fastdns(upstream=[upstream], listen=(), workers=2, manager=systemd)
    daemon.wait_for_log(f"{daemon.port}: .*no {missing}")
    assert data(ask(daemon, upstream.new_name(), tcp=there is TCP)) == ["192.0.2.1"]


def test_a_descriptor_that_is_no_listening_socket_is_said_and_left_out(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    with (
        socket.socket(socket.AF_UNIX) as odd,
        ServiceManager(tmp_path, opened=[("odd.socket", odd)]) as systemd,
    ):
        daemon = start_fastdns(upstream=[upstream], manager=systemd)
        daemon.wait_for_log("odd.socket: is not an IPv4 or IPv6 socket")
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="it is not installed")
def test_systemds_own_tool_starts_it_with_the_first_query(
    upstream: FalseUpstream, tmp_path: Path
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "fastdns", "serve", "--state", str(tmp_path / "state")]
    command += ["--upstream", f"{upstream.host}:{upstream.port}"]
    activate = ["systemd-socket-activate", "--datagram", f"--listen=127.0.0.1:{port}", "--"]
    process = subprocess.Popen(
        [*activate, *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stderr is not None
        assert "Listening on" in process.stderr.readline()
        query = make_query(upstream.new_name()).to_wire()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(8)
            client.connect(("127.0.0.1", port))
            client.send(query)
            assert data(read_answer(query, client.recv(4096))) == ["192.0.2.1"]
        process.terminate()
        assert process.wait(8) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stderr.close()
