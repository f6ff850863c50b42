"""Several workers: which one gets a query, the standby, and the work of a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fastdns._clock import Moment
from fastdns._ring import Ring
from fastdns.config.places import Places
from fastdns.counters import KEEPER_SLOT, SLOT_OCTETS, WORKER_SLOT, Pages
from fastdns.server.worker import LOOK_AROUND_SECONDS

from .support import blind_worker, impatient
from .support.cache import Disk, answer, cache_key
from .support.client import UdpClient, ask, data, eventually, make_query, read_answer
from .support.commands import fastdns
from .support.daemon import Fastdns, address_of
from .support.false_upstream import FalseUpstream, answer_a, silence
from .support.ports import free_port, udp_sockets

Start = Callable[..., Fastdns]


@contextmanager
def clients(daemon: Fastdns, count: int) -> Iterator[list[UdpClient]]:
    """So many clients, of a port each."""
    with ExitStack() as stack:
        yield [stack.enter_context(UdpClient(daemon)) for _ in range(count)]


def answered(client: UdpClient, query: bytes) -> bool:
    """Whether the answer to this query has come to this client."""
    return data(read_answer(query, client.receive())) == ["192.0.2.1"]


def queries_of(daemon: Fastdns) -> list[int]:
    """How many queries over UDP each slot has counted."""
    counters = (daemon.state_dir / "run" / "counters").read_bytes()
    slots = len(counters) // SLOT_OCTETS - 1
    return [
        struct.unpack_from("=Q", counters, SLOT_OCTETS * (slot + 1))[0]
        for slot in range(WORKER_SLOT, slots)
    ]


def state_of(pid: int) -> str:
    """The letter of the kernel's; of who is gone, and of who only waits to be collected, "Z"."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "Z"


def gone(pid: int) -> None:
    eventually(lambda: state_of(pid), lambda state: state in "ZX")


def test_there_is_one_worker_unless_told_otherwise_and_0_is_one_for_each_cpu(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    assert len(start_fastdns(upstream=[upstream], workers=None).workers) == 1
    daemon = start_fastdns(upstream=[upstream], workers=0)
    assert len(daemon.workers) == len(os.sched_getaffinity(0))
    assert len(start_fastdns(upstream=[upstream], workers=3).workers) == 3


def test_queries_of_many_clients_are_shared_out_among_workers_with_a_socket_each(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    assert len(udp_sockets(daemon.port)) == 2
    name = upstream.new_name()
    for _ in range(40):
        assert data(ask(daemon, name)) == ["192.0.2.1"]
    shares = [count for count in queries_of(daemon) if count]
    assert len(shares) == 2
    assert sum(shares) == 40


def test_each_worker_answers_tcp(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    for worker in daemon.workers:
        os.kill(worker, signal.SIGSTOP)
        try:
            assert data(ask(daemon, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
        finally:
            os.kill(worker, signal.SIGCONT)


def test_stranger_who_would_share_the_queries_with_us_is_found(
    upstream: FalseUpstream, tmp_path: Path
) -> None:
    """Of the same user and with SO_REUSEPORT on both sides, the kernel would let both bind."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{stranger.getsockname()[1]}"
        daemon = Fastdns(tmp_path / "state", upstream=[upstream], listen=[listen], workers=2)
        with pytest.raises(AssertionError, match=rf"{listen} is in use by .+ \(pid {os.getpid()}"):
            daemon.start()


# A worker of two dies


def test_worker_goes_on_while_another_is_dead_and_what_that_one_was_sent_is_answered_by_the_next(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    dead, alive = daemon.workers
    query = make_query(upstream.new_name()).to_wire()
    with clients(daemon, 20) as asking:
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(dead, signal.SIGKILL)
            before = sum(queries_of(daemon))
            for client in asking:
                client.send(query)
            meanwhile = eventually(
                lambda: sum(queries_of(daemon)) - before, lambda count: count > 0
            )
            assert meanwhile < 20
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        assert all(answered(client, query) for client in asking)
    assert alive in daemon.workers
    assert sum(queries_of(daemon)) == 20


def all_answered(daemon: Fastdns, name: str, count: int = 40) -> bool:
    """Whether so many clients are answered at once, whichever socket the kernel gives them."""
    query = make_query(name).to_wire()
    with clients(daemon, count) as asking:
        for client in asking:
            client.send(query)
        for client in asking:
            client.sock.settimeout(0.5)
            try:
                assert answered(client, query)
            except TimeoutError:
                return False
    return True


def test_clients_of_a_dead_worker_are_answered_by_the_others_until_it_is_replaced(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=3)
    name = upstream.new_name()
    ask(daemon, name)
    dead, standby = daemon.workers[1], daemon.standby
    os.kill(standby, signal.SIGSTOP)
    try:
        os.kill(dead, signal.SIGKILL)
        gone(dead)
        eventually(lambda: all_answered(daemon, name), bool, 5)
    finally:
        os.kill(standby, signal.SIGCONT)
    daemon.wait_for_log("serves in its place")
    before = queries_of(daemon)

    def shares() -> list[int]:
        for _ in range(20):
            ask(daemon, name)
        return [now - then for now, then in zip(queries_of(daemon), before, strict=True)]

    eventually(shares, lambda each: len([share for share in each if share]) == 3)


def test_who_stands_by_becomes_the_worker_and_another_one_stands_by(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    worker, standby = daemon.worker, daemon.standby
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: daemon.workers, lambda now: now == [standby])
    assert daemon.standby not in (worker, standby)
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_who_stands_by_is_replaced_when_it_dies(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    worker, standby = daemon.worker, daemon.standby
    os.kill(standby, signal.SIGKILL)
    gone(standby)
    assert daemon.standby != standby
    assert daemon.workers == [worker]
    assert daemon.counter("worker_restarts_total") == 0


def test_who_stands_by_after_a_death_is_let_go_at_a_reload_without_a_word(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    os.kill(daemon.worker, signal.SIGKILL)
    daemon.wait_for_log("serves in its place")
    eventually(lambda: daemon.processes("fastdns-standby"), bool)
    before = len(daemon.log)

    assert daemon.reload().returncode == 0
    os.kill(daemon.standby, signal.SIGKILL)
    daemon.wait_for_log("the standby .* ended by SIGKILL; another one takes over", after=before)

    eventually(lambda: daemon.processes("fastdns-standby"), bool)
    told = [line for line in daemon.log[before:] if "ERROR" in line or "in its place" in line]
    assert len(told) == 1  # that it was killed


def test_who_stands_by_ends_with_a_supervisor_that_was_killed(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    standby = daemon.standby
    daemon.process.kill()
    daemon.process.wait()
    gone(standby)
    daemon.kill()


def test_ctrl_c_does_not_end_who_stands_by_before_the_daemon(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    """A terminal sends it to all processes: the end of one would be told as an error."""
    daemon = start_fastdns(upstream=[upstream])
    assert daemon.standby
    os.killpg(daemon.pid, signal.SIGINT)
    assert daemon.process.wait(5) == 0
    assert not [line for line in daemon.log if "ERROR" in line]


def test_counters_never_go_backwards_when_workers_die(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    names = [upstream.new_name() for _ in range(20)]
    totals = ("queries_udp_total", "upstream_queries_total", "cache_inserts_total")
    seen = [0] * len(totals)
    for _ in range(3):
        for name in names:
            ask(daemon, name)
        now = [daemon.counter(name) for name in totals]
        assert all(after >= before for before, after in zip(seen, now, strict=True))
        seen = now
        for worker in daemon.workers:
            os.kill(worker, signal.SIGKILL)
            gone(worker)
        eventually(lambda: len(daemon.workers), lambda count: count == 2)
    assert daemon.counter("queries_udp_total") == 60
    assert daemon.counter("worker_restarts_total") == 6
    assert daemon.counter("cache_entries") <= 2 * len(names)


# Rings


def test_ring_of_a_run_with_more_workers_is_taken_in(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=3)
    disk = Disk(daemon)
    name = "learned.by.the.fourth.demo"
    daemon.kill()
    path = disk.run_dir / "ring.3"
    ring = Ring.open(path, path.stat().st_size - 4096)
    assert ring.put(cache_key(name), answer(name), disk.control().epoch, Moment.now())
    with Fastdns(daemon.state_dir, upstream=[upstream]):
        assert disk.holds(name)
    with Fastdns(daemon.state_dir, upstream=[upstream]):
        assert {one.name for one in disk.run_dir.glob("ring.*")} == {"ring.0", "ring.1"}


def test_commands_do_not_wait_for_workers_that_there_are_not(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    """The keeper waits for the hits of every worker, but not of every place for one."""
    disk = Disk(start_fastdns(upstream=[upstream]))

    def seconds() -> float:
        start = time.monotonic()
        assert disk.take_in()
        return time.monotonic() - start

    assert min(seconds() for _ in range(10)) < 0.04


def test_worker_that_hangs_is_replaced(tmp_path: Path, upstream: FalseUpstream) -> None:
    daemon = Fastdns(tmp_path / "state", upstream=[upstream])
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [impatient.__file__]
    with daemon:
        hung = daemon.worker
        os.kill(hung, signal.SIGSTOP)
        daemon.wait_for_log(rf"worker \(pid {hung}\) hangs", timeout=40)
        eventually(lambda: daemon.worker, lambda worker: worker != hung, 10)
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_worker_shows_life_about_once_a_second(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    pages = Pages.attach(Places(daemon.state_dir, daemon.state_dir / "run").counters)
    first = eventually(lambda: pages.alive_at(WORKER_SLOT), bool)
    second = eventually(lambda: pages.alive_at(WORKER_SLOT), lambda at: at > first)
    assert 0.5 < second - first < 3.0
    assert eventually(lambda: pages.alive_at(KEEPER_SLOT), lambda at: at > first, 10)


def test_worker_that_shows_life_is_let_live_whatever_else_it_leaves_undone(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    daemon = Fastdns(tmp_path / "state", upstream=[upstream])
    at = daemon.command.index("-m")
    daemon.command[at : at + 2] = [blind_worker.__file__]
    with daemon:
        worker = daemon.worker
        pages = Pages.attach(Places(daemon.state_dir, daemon.state_dir / "run").counters)
        first = eventually(lambda: pages.alive_at(WORKER_SLOT), bool)
        eventually(lambda: pages.alive_at(WORKER_SLOT) - first, lambda lived: lived > 3.0)
        assert daemon.worker == worker
        os.kill(worker, signal.SIGSTOP)
        daemon.wait_for_log(rf"worker \(pid {worker}\) hangs")


def test_counters_of_another_version_are_begun_anew_with_a_line(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    counters = tmp_path / "state1" / "run" / "counters"
    counters.parent.mkdir(parents=True)
    counters.write_bytes(b"fastdns\0\2\0\0\0".ljust(12288, b"\0"))
    daemon = start_fastdns(upstream=[upstream])
    assert any(f"{counters}: written by another version" in line for line in daemon.log)
    assert Pages.attach(counters).total("queries_udp_total") == 0


# What one has learned, all know


def ask_of_each(daemon: Fastdns, names: list[str], times: int) -> list[list[str]]:
    """Ask for each so often, from another port each time: about as often of each worker."""
    return [data(ask(daemon, name)) for name in names for _ in range(times)]


def asked_for(upstream: FalseUpstream, names: list[str]) -> int:
    """How often the upstream was asked for these."""
    return sum(len(upstream.asked(name)) for name in names)


def test_name_that_one_worker_has_learned_is_asked_upstream_once(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    names = [upstream.new_name() for _ in range(20)]
    assert ask_of_each(daemon, names, 5) == [["192.0.2.1"]] * 100
    assert asked_for(upstream, names) == 20
    assert min(count for count in queries_of(daemon) if count) > 10


def test_in_an_outage_each_worker_tells_what_any_has_learned(start_fastdns: Start) -> None:
    with FalseUpstream(lambda asked: asked.answer("@ 1 IN A 192.0.2.1")) as upstream:
        daemon = start_fastdns(upstream=[upstream], workers=2)
        names = [upstream.new_name() for _ in range(20)]
        assert ask_of_each(daemon, names, 1) == [["192.0.2.1"]] * 20
    time.sleep(1.1)  # until their TTL is over
    assert ask_of_each(daemon, names, 2) == [["192.0.2.1"]] * 40


def test_what_a_worker_knew_is_known_after_its_death_without_a_disk_cache(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    """The keeper is stopped: nothing reaches the disk."""
    daemon = start_fastdns(upstream=[upstream])
    os.kill(daemon.keeper, signal.SIGSTOP)
    names = [upstream.new_name() for _ in range(20)]
    ask_of_each(daemon, names, 1)
    worker = daemon.worker
    os.kill(worker, signal.SIGKILL)
    gone(worker)
    try:
        assert ask_of_each(daemon, names, 1) == [["192.0.2.1"]] * 20
        assert asked_for(upstream, names) == 20
    finally:
        os.kill(daemon.keeper, signal.SIGCONT)


def all_have_looked(daemon: Fastdns, meanwhile: Callable[[], object] = bool) -> None:
    """Return when each worker has looked at the upstreams and shown them, from now on."""
    later = time.monotonic() + LOOK_AROUND_SECONDS
    tables = Pages.attach(daemon.state_dir / "run" / "counters").upstream_tables

    def earliest() -> float:
        meanwhile()
        return min(at for at, _ in tables() if at)

    eventually(earliest, lambda shown_at: shown_at > later)


def test_log_and_commands_agree_on_an_upstream_and_say_each_event_once(
    start_fastdns: Callable[..., Fastdns], tmp_path: Path
) -> None:
    with FalseUpstream() as upstream:
        named = tmp_path / "upstreams"
        named.write_text(f"{address_of(upstream)}\n")
        daemon = start_fastdns(upstream=[f"file:{named}"], workers=2)
        for _ in range(16):  # each from a port of its own: both workers ask
            ask(daemon, upstream.new_name())
        upstream.otherwise = silence
        with clients(daemon, 1) as [client]:  # one worker alone sees it dead
            for _ in range(2):
                client.send(make_query(upstream.new_name(silence)).to_wire())
                client.receive()
        daemon.wait_for_log("does not answer")
        seen = fastdns("stats", "--json", "--state", str(daemon.state_dir))
        assert [one["alive"] for one in json.loads(seen.stdout)["upstreams"]] == [False]

        upstream.otherwise = answer_a
        daemon.wait_for_log("answers again")
        seen = fastdns("stats", "--json", "--state", str(daemon.state_dir))
        assert [one["alive"] for one in json.loads(seen.stdout)["upstreams"]] == [True]

        before = len(daemon.log)
        named.write_text("nonsense\n")
        daemon.wait_for_log("stay in use", after=before)
        all_have_looked(daemon)
        for text in ("does not answer", "answers again", "stay in use", "nonsense"):
            assert sum(text in line for line in daemon.log) == 1, text


def test_dead_upstream_that_is_tried_again_in_vain_stays_dead_for_all(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[f"127.0.0.1:{free_port()}"], workers=2)
    with clients(daemon, 1) as [client]:  # the other worker never asks it

        def ask_in_vain() -> str:
            client.send(make_query(upstream.new_name()).to_wire())
            client.receive()
            return daemon.tail()

        eventually(ask_in_vain, lambda log: "does not answer" in log)
        for _ in range(2):
            all_have_looked(daemon, meanwhile=ask_in_vain)
    for text, times in (("does not answer", 1), ("answers again", 0)):
        assert sum(text in line for line in daemon.log) == times, daemon.tail()
