"""The supervisor: workers that die, signals, a second daemon, ports in use, dropping root."""

from __future__ import annotations

import json
import os
import pty
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import dns.message
import pytest

from .support.client import (
    TcpClient,
    ask,
    data,
    eventually,
    make_query,
    read_answer,
    ttls,
    udp_socket,
)
from .support.commands import fastdns
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream, answer_a, in_turn, silence
from .support.ports import free_port

Start = Callable[..., Fastdns]


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie that only waits to be collected."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def wait_until_gone(process_ids: list[int], timeout: float = 5.0) -> None:
    eventually(
        lambda: [pid for pid in process_ids if is_running(pid)], lambda left: not left, timeout
    )


def refused(command: list[str]) -> str:
    """The one line on standard error of a daemon that has to end with status 1."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def stats(daemon: Fastdns) -> subprocess.CompletedProcess[str]:
    return fastdns("stats", "--json", "--state", str(daemon.state_dir))


# A worker dies


def test_worker_that_was_killed_is_replaced_on_the_same_sockets_and_counted(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    worker = daemon.worker
    os.kill(worker, signal.SIGKILL)
    wait_until_gone([worker])
    assert daemon.worker != worker
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert data(ask(daemon, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
    assert json.loads(stats(daemon).stdout)["worker_restarts_total"] == 1


def test_queries_sent_while_no_worker_lives_are_answered_by_the_next(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    worker = daemon.worker
    queries = [make_query(upstream.new_name()) for _ in range(10)]
    last = make_query(upstream.new_name()).to_wire()
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        os.kill(worker, signal.SIGKILL)
        wait_until_gone([worker])
        with udp_socket(daemon) as client, TcpClient(daemon) as stream:
            for query in queries:
                client.send(query.to_wire())
            stream.send(last)
            daemon.process.send_signal(signal.SIGCONT)
            answers = {dns.message.from_wire(client.recv(4096)).id for _ in queries}
            assert answers == {query.id for query in queries}
            read_answer(last, stream.receive())
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def test_worker_that_dies_again_and_again_is_replaced_each_time(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    for _ in range(3):
        worker = daemon.worker
        os.kill(worker, signal.SIGKILL)
        wait_until_gone([worker])
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_successor_of_a_dead_worker_does_not_show_what_that_one_held(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    ask(daemon, upstream.new_name())
    worker = daemon.worker
    with TcpClient(daemon) as client:
        query = make_query(upstream.new_name()).to_wire()
        client.send(query)
        read_answer(query, client.receive())
        os.kill(worker, signal.SIGKILL)
        assert client.receive() is None
    wait_until_gone([worker])
    assert daemon.worker != worker
    shown = json.loads(stats(daemon).stdout)
    assert (shown["cache_entries"], shown["tcp_connections"], shown["in_flight"]) == (0, 0, 0)
    assert shown["queries_tcp_total"] == 1


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_all_processes_with_status_0(
    start_fastdns: Start, upstream: FalseUpstream, number: signal.Signals
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    process_ids = daemon.process_ids()
    daemon.process.send_signal(number)
    assert daemon.process.wait(5) == 0
    wait_until_gone(process_ids, 0.5)


def test_ctrl_c_which_reaches_the_worker_too_ends_all_with_status_0(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    process_ids = daemon.process_ids()
    os.killpg(daemon.pid, signal.SIGINT)
    assert daemon.process.wait(5) == 0
    wait_until_gone(process_ids, 0.5)


def test_query_in_flight_at_sigterm_is_answered(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    release = threading.Event()
    names = [upstream.new_name(lambda asked: release.wait(8) and answer_a(asked)) for _ in range(2)]
    over_udp, over_tcp = (make_query(name).to_wire() for name in names)
    daemon = start_fastdns(upstream=[upstream])
    process_ids = daemon.process_ids()
    cached = upstream.new_name()
    ask(daemon, cached)
    with udp_socket(daemon) as client, TcpClient(daemon) as stream:
        client.send(over_udp)
        stream.send(over_tcp)
        for name in names:
            upstream.wait_for(name)
        daemon.process.send_signal(signal.SIGTERM)
        # The signal has arrived when new connections are not served any more.
        eventually(lambda: serves_connections(daemon, cached), lambda serves: not serves)
        release.set()
        assert data(read_answer(over_udp, client.recv(4096))) == ["192.0.2.1"]
        assert data(read_answer(over_tcp, stream.receive())) == ["192.0.2.1"]
    assert daemon.process.wait(5) == 0
    wait_until_gone(process_ids, 0.5)


def serves_connections(daemon: Fastdns, name: str) -> bool:
    try:
        ask(daemon, name, tcp=True, timeout=0.3)
    except (OSError, AssertionError):  # no answer, or closed without one
        return False
    return True


def test_end_comes_as_soon_as_nobody_waits_any_more(start_fastdns: Start) -> None:
    short = in_turn(lambda asked: asked.answer("@ 1 IN A 192.0.2.1"), silence)
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        name = upstream.new_name(short)
        ask(daemon, name)
        time.sleep(1.2)  # beyond its TTL
        assert ttls(ask(daemon, name)) == [30]  # it is stale, and asked for still
        daemon.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        assert daemon.process.wait(8) == 0
        assert time.monotonic() - start < 1  # after 1.8 of the 3.5 s that its upstream has


def test_query_that_nobody_answers_does_not_hold_up_the_end(start_fastdns: Start) -> None:
    with FalseUpstream(silence) as mute:
        daemon = start_fastdns(upstream=[mute])
        process_ids = daemon.process_ids()
        with udp_socket(daemon) as client:
            client.send(make_query(mute.new_name()).to_wire())
            mute.wait_for()
            start = time.monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(8) == 0
            assert time.monotonic() - start < 5
        wait_until_gone(process_ids, 0.5)


def test_worker_whose_supervisor_was_killed_goes_away_by_itself(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    process_ids = daemon.process_ids()
    daemon.process.kill()
    daemon.process.wait()
    wait_until_gone(process_ids)
    # Nothing it held is held any longer: port, lock and counters are free for the next one.
    fresh = Fastdns(daemon.state_dir, upstream=[upstream], listen=[f"127.0.0.1:{daemon.port}"])
    daemon.kill()
    with fresh:
        assert data(ask(fresh, upstream.new_name())) == ["192.0.2.1"]


# A second one


def test_second_daemon_on_a_state_directory_is_refused_and_told_by_whom(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    second = Fastdns(daemon.state_dir, upstream=[upstream])
    assert str(daemon.pid) in refused(second.command)
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert stats(daemon).returncode == 0


def udp_only() -> socket.socket:
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    holder.bind(("127.0.0.1", free_port()))
    return holder


def tcp_only() -> socket.socket:
    return socket.create_server(("127.0.0.1", free_port()))


@pytest.mark.parametrize("hold", [udp_only, tcp_only])
def test_port_in_use_is_told_with_its_holder_and_a_remedy(
    tmp_path: Path, hold: Callable[[], socket.socket]
) -> None:
    with hold() as holder:
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        told = refused(
            Fastdns(tmp_path / "state", upstream=["127.0.0.1:9"], listen=[listen]).command
        )
    assert listen in told
    assert str(os.getpid()) in told
    assert Path("/proc/self/comm").read_text().strip() in told
    assert "--listen" in told


def test_port_of_another_fastdns_is_not_shared(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    listen = f"127.0.0.1:{daemon.port}"
    told = refused(Fastdns(tmp_path / "other", upstream=[upstream], listen=[listen]).command)
    assert any(str(pid) in told for pid in daemon.process_ids())


# Whose rights it has


def user_ids(pid: int) -> set[int]:
    """Real, effective, saved and file system user id of a process."""
    return ids(pid, "Uid:")


def group_ids(pid: int) -> set[int]:
    """The same of its group, and its further groups."""
    return ids(pid, "Gid:", "Groups:")


def ids(pid: int, *fields: str) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(word) for line in lines if line.startswith(fields) for word in line.split()[1:]}


def unprivileged_user() -> int:
    """Who serves when the state directory is root's own."""
    for name in ("fastdns", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise AssertionError("this system has no user nobody")


@pytest.mark.parametrize(
    ("owner", "group"),
    [(0, 0), (12345, 12345), (12345, 0)],
    ids=["of_root", "of_another_user", "of_another_user_and_of_roots_group"],
)
def test_nothing_runs_as_root_for_longer_than_it_must(
    upstream: FalseUpstream, tmp_path: Path, owner: int, group: int
) -> None:
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    expected = os.geteuid()
    if expected == 0:
        expected = owner or unprivileged_user()
        os.chown(state_dir, owner, group)
    with Fastdns(state_dir, upstream=[upstream]) as daemon:
        for pid in daemon.process_ids():
            assert user_ids(pid) == {expected}
            assert os.geteuid() != 0 or 0 not in group_ids(pid)
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
        assert stats(daemon).returncode == 0
        worker = daemon.worker
        os.kill(worker, signal.SIGKILL)
        wait_until_gone([worker])
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


@pytest.mark.parametrize("kind", ["link", "fifo", "file"])
def test_what_the_owner_of_a_state_directory_puts_there_is_not_followed(
    upstream: FalseUpstream, tmp_path: Path, kind: str
) -> None:
    state_dir, victim = tmp_path / "state", tmp_path / "victim"
    state_dir.mkdir()
    victim.mkdir()
    before = victim.stat()
    if kind == "link":
        (state_dir / "run").symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(state_dir / "lock")
    else:
        (state_dir / "run").write_text("")
    if os.geteuid() == 0:
        os.chown(state_dir, 12345, 12345)
    if kind == "link" and os.geteuid() != 0:
        return  # who is not root can only follow where they may go anyhow
    assert str(state_dir) in refused(Fastdns(state_dir, upstream=[upstream]).command)
    assert (victim.stat().st_uid, victim.stat().st_gid) == (before.st_uid, before.st_gid)


# The counters


def test_stats_shows_the_counters_of_a_running_daemon_and_fails_without_one(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name()
    for tcp in (False, False, True):
        ask(daemon, name, tcp=tcp)
    shown = json.loads(stats(daemon).stdout)
    assert shown["queries_udp_total"] == 2
    assert shown["queries_tcp_total"] == 1
    assert shown["cache_misses_total"] == 1
    assert shown["cache_hits_total"] == 2
    assert shown["cache_entries"] == 1
    daemon.stop()
    after = stats(daemon)
    assert after.returncode == 1
    assert after.stdout == ""
    assert len(after.stderr.splitlines()) == 1


def test_worker_is_replaced_though_the_starter_ignored_its_children(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        daemon = start_fastdns(upstream=[upstream])
    finally:
        signal.signal(signal.SIGCHLD, before)
    worker = daemon.worker
    os.kill(worker, signal.SIGKILL)
    wait_until_gone([worker])
    assert daemon.worker != worker
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


# Keeper and worker


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has just ended
        return ""


def test_processes_are_told_apart_by_their_names(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    names = {"fastdns-keeper", "fastdns-worker", "fastdns-standby"}
    eventually(
        lambda: {comm(pid) for pid in daemon.process_ids()[1:]}, lambda found: found == names
    )


def test_keeper_holds_no_socket_of_clients(start_fastdns: Start, upstream: FalseUpstream) -> None:
    """With one, it would be sent queries, or keep the port from the next daemon."""
    daemon = start_fastdns(upstream=[upstream])

    def sockets(pid: int) -> set[str]:
        found = set()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed while we were looking
                found.add(os.readlink(link))
        return {link for link in found if link.startswith("socket:")}

    assert len(sockets(daemon.pid) & sockets(daemon.worker)) >= 2
    assert not sockets(daemon.pid) & sockets(daemon.keeper)


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT])
def test_worker_that_crashes_is_replaced_and_the_disk_is_looked_into(
    start_fastdns: Start, upstream: FalseUpstream, number: signal.Signals
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    os.kill(daemon.worker, number)
    daemon.wait_for_log(f"worker .* ended by {number.name}")
    daemon.wait_for_log("checked for damage")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_keepers_that_die_young_are_replaced_more_and_more_slowly_and_answers_go_on(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    start = time.monotonic()
    for _ in range(5):
        keeper = daemon.keeper
        os.kill(keeper, signal.SIGKILL)
        wait_until_gone([keeper])
        assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
    assert daemon.keeper
    assert time.monotonic() - start > 0.05 + 0.1 + 0.2 + 0.4
    assert json.loads(stats(daemon).stdout)["worker_restarts_total"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_directories_that_hold_what_a_daemon_makes_can_be_given_back_to_root(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name()
    ask(daemon, name)
    daemon.stop()
    for directory in (daemon.state_dir, daemon.state_dir / "run"):
        os.chown(directory, 0, 0)
    with Fastdns(daemon.state_dir, upstream=[upstream]) as again:
        assert user_ids(again.pid) == {unprivileged_user()}
        assert data(ask(again, name)) == ["192.0.2.1"]


def test_on_a_terminal_it_says_how_to_ask_it_once_it_serves(
    tmp_path: Path, upstream: FalseUpstream
) -> None:
    daemon = Fastdns(tmp_path / "state", upstream=[upstream])
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, daemon.command)
    try:
        seen = b""
        while b" top --state " not in seen:
            seen += os.read(terminal, 65536)
    finally:
        os.kill(child, signal.SIGINT)
        with suppress(OSError):  # the other end is closed
            while os.read(terminal, 65536):
                pass
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    lines = seen.decode().splitlines()
    (ready,) = (line for line in lines if "ready on" in line)
    port = ready.partition("127.0.0.1:")[2].partition(" ")[0]
    told = lines[lines.index(ready) + 1 :]
    assert told[0] == f"Try: dig @127.0.0.1 -p {port} example.com"
    assert told[1] == f"And: fastdns status --state {daemon.state_dir}"


def test_in_a_log_it_says_nothing_of_that(tmp_path: Path, upstream: FalseUpstream) -> None:
    with Fastdns(tmp_path / "state", upstream=[upstream]) as daemon:
        ask(daemon, "www.example")
    assert not any("Try:" in line for line in daemon.log)


def test_each_process_says_in_its_command_line_which_it_is(
    start_fastdns: Callable[..., Fastdns], upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2, is_forked=False)

    def told(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
        except FileNotFoundError:  # it has just ended
            return ""

    assert sorted(map(told, daemon.workers)) == ["fastdns: worker 0", "fastdns: worker 1"]
    assert told(daemon.keeper) == "fastdns: keeper"
    assert told(daemon.standby) == "fastdns: standby"
    assert "serve\0--state" in told(daemon.pid)  # by which others find out what it was told
    os.kill(daemon.standby, signal.SIGKILL)  # its successor is named, too
    eventually(lambda: told(daemon.standby), lambda name: name == "fastdns: standby")
