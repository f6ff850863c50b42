"""Another configuration for a running daemon: no query is lost, and a wrong one changes nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastdns._counters import UpstreamState
from fastdns.counters import Pages

from .support.client import (
    TcpClient,
    UdpClient,
    ask,
    data,
    eventually,
    make_query,
    read_answer,
    ttls,
    udp_socket,
)
from .support.commands import cache, fastdns
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, answer_a, silence
from .support.ports import free_port, udp_sockets

Start = Callable[..., Fastdns]
PLAIN_USER = 12345
ANSWER = ["192.0.2.1"]


def processes(daemon: Fastdns) -> list[int]:
    """Who works: supervisor, keeper, workers."""
    return [daemon.pid, daemon.keeper, *sorted(daemon.workers)]


def reloaded(daemon: Fastdns, config: str) -> None:
    daemon.configure(config)
    done = daemon.reload()
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("reloaded: ready on ")


def refused(daemon: Fastdns, status: int) -> list[str]:
    """The lines of a reload that ends like this and changes nothing."""
    before = processes(daemon)
    done = daemon.reload()
    assert (done.returncode, done.stdout) == (status, "")
    assert processes(daemon) == before
    return done.stderr.splitlines()


@contextmanager
def steady_queries(daemon: Fastdns, name: str, *, a_second: int = 2000) -> Iterator[list[int]]:
    """Ask for a name from 16 ports at this rate; at the end, how many queries had no answer."""
    lost = [0]
    query = make_query(name).to_wire()[2:]
    is_over = threading.Event()
    waiting: set[tuple[int, int]] = set()

    def hear(asking: list[socket.socket]) -> None:
        for number, one in enumerate(asking):
            try:
                while True:
                    waiting.discard((number, int.from_bytes(one.recv(4096)[:2])))
            except BlockingIOError:
                pass

    def run() -> None:
        with ExitStack() as stack:
            asking = [stack.enter_context(UdpClient(daemon)).sock for _ in range(16)]
            for one in asking:
                one.setblocking(False)
            start, sent = time.monotonic(), 0
            while not is_over.is_set():
                while sent < (time.monotonic() - start) * a_second:
                    identifier = sent // 16 % 65536
                    asking[sent % 16].send(identifier.to_bytes(2) + query)
                    waiting.add((sent % 16, identifier))
                    sent += 1
                hear(asking)
                time.sleep(0.0005)
            until = time.monotonic() + 3
            while waiting and time.monotonic() < until:
                hear(asking)
        lost[0] = len(waiting)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lost
    finally:
        is_over.set()
        thread.join()


# A good configuration


def test_new_setting_counts_after_a_reload_and_the_supervisor_stays(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config='log_level = "info"\n')
    before = processes(daemon)
    assert ttls(ask(daemon, upstream.new_name()))[0] == 300
    reloaded(daemon, "[cache]\nmax_ttl = '7s'\n")
    assert ttls(ask(daemon, upstream.new_name()))[0] == 7
    pid, keeper, worker = processes(daemon)
    assert [pid, keeper] == before[:2]  # what did not change goes on
    assert worker != before[2]
    assert daemon.counter("worker_restarts_total") == 0


def test_reload_says_what_changed_of_blocking_and_of_views(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    def told(config: str) -> list[str]:
        daemon.configure(config)
        return daemon.reload().stdout.splitlines()[1:]

    def view(name: str, more: str = "") -> str:
        return f'[[view]]\nname = "{name}"\nclients = ["192.0.2.1{len(name)}"]\n{more}\n'

    daemon = start_fastdns(upstream=[upstream], config='log_level = "info"\n')
    block = '[block]\ndeny = ["a.example", "com"]\n'
    first = block + view("kids") + view("guests")
    assert told(first) == ["block: deny has a.example com now", "views: kids guests new"]
    daemon.wait_for_log(r'block\.deny: "com" is a whole top-level domain')
    assert told(first) == []
    second = '[block]\ndeny = ["com"]\nttl = "20s"\n' + view("kids", "block = false") + view("tv")
    assert told(second) == [
        "block: deny no longer has a.example, another ttl",
        "views: tv new, kids changed, guests removed",
    ]


def test_included_files_are_read_again_and_errors_name_them(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config='include = ["more.d/*"]\n')
    more = daemon.state_dir.parent / "more.d"
    more.mkdir()
    (more / "ttl").write_text("[cache]\nmax_ttl = '7s'\n")
    seen = len(daemon.log)
    reloaded(daemon, 'include = ["more.d/*"]\n[cache]\nmax_ttl = "9s"\n')
    assert ttls(ask(daemon, upstream.new_name()))[0] == 7
    main = daemon.state_dir.with_suffix(".toml")
    daemon.wait_for_log(re.escape(f"cache.max_ttl: {more}/ttl:2 replaces {main}:3"), after=seen)

    (more / "ttl").write_text("[cache]\nmax_ttl = 7\n")
    assert refused(daemon, 2) == [f'{more}/ttl: cache.max_ttl: 7 has no unit (try "7s")']
    (more / "ttl").unlink()
    reloaded(daemon, 'include = ["more.d/*"]\n[cache]\nmax_ttl = "9s"\n')
    assert ttls(ask(daemon, upstream.new_name()))[0] == 9


def test_sighup_reloads_too(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 1\n", workers=None)
    daemon.configure("workers = 1\n[cache]\nmax_ttl = '7s'\n")
    seen = len(daemon.log)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_log("ready on", after=seen)
    assert ttls(ask(daemon, upstream.new_name()))[0] == 7


def test_flags_of_serve_still_win_over_the_file(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 1\n")
    reloaded(daemon, '[listen]\ndns = ["127.0.0.1:1"]\n[upstream]\nservers = ["192.0.2.9"]\n')
    assert data(ask(daemon, upstream.new_name())) == ANSWER


def test_log_level_follows(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream], config='log_level = "info"\n')
    reloaded(daemon, 'log_level = "error"\n')
    seen = len(daemon.log)
    reloaded(daemon, 'log_level = "error"\n')
    assert daemon.log[seen:] == []
    reloaded(daemon, 'log_level = "info"\n')
    daemon.wait_for_log("ready on", after=seen)


def test_keeper_is_replaced_when_its_settings_changed(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="[cache]\ncommit_interval = '1h'\n")
    keeper = daemon.keeper
    name = upstream.new_name()
    ask(daemon, name)
    reloaded(daemon, "[cache]\ncommit_interval = '1s'\ndisk = '8MiB'\n")
    assert daemon.keeper != keeper
    assert daemon.counter("keeper_restarts_total") == 0
    commits = daemon.counter("disk_commits_total")
    long_lived = upstream.new_name(lambda asked: asked.answer("@ 3600 IN A 192.0.2.1"))
    for _ in range(2):
        assert data(ask(daemon, long_lived)) == ANSWER
    eventually(lambda: daemon.counter("disk_commits_total"), lambda now: now > commits)
    assert data(ask(daemon, name)) == ANSWER
    assert len(upstream.asked(name)) == 1


def test_what_was_learned_a_moment_before_a_reload_is_not_asked_for_again(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 1\n")
    names = [upstream.new_name() for _ in range(20)]
    for name in names:
        ask(daemon, name)
    assert daemon.reload().returncode == 0
    for name in names:
        ask(daemon, name)
        assert len(upstream.asked(name)) == 1


def test_other_upstreams_are_asked_and_what_the_former_ones_said_is_not_told_any_more(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    def config(server: FalseUpstream) -> str:
        return f'[upstream]\nservers = ["{server.host}:{server.port}"]\n'

    with FalseUpstream(lambda asked: asked.answer("@ 300 IN A 192.0.2.2")) as other:
        daemon = start_fastdns(config=config(upstream), workers=2)
        name = upstream.new_name()
        assert data(ask(daemon, name)) == ANSWER
        daemon.configure(config(other))
        assert "entries of the cache are asked for again" in daemon.reload().stdout
        for _ in range(10):
            assert data(ask(daemon, name)) == ["192.0.2.2"]
        assert "not served" not in cache(daemon.state_dir, "get", name).stdout


# Nothing is lost


def test_no_query_is_lost_in_ten_reloads(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    name = upstream.new_name()
    ask(daemon, name)
    with steady_queries(daemon, name) as lost:
        for _ in range(10):
            assert daemon.reload().returncode == 0
    assert lost == [0]


def test_query_under_way_to_an_upstream_is_answered_over_udp_and_tcp(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    release = threading.Event()
    names = [upstream.new_name(lambda asked: release.wait(8) and answer_a(asked)) for _ in range(2)]
    over_udp, over_tcp = (make_query(name).to_wire() for name in names)
    daemon = start_fastdns(upstream=[upstream])
    worker = daemon.worker
    with udp_socket(daemon) as client, TcpClient(daemon) as stream:
        client.send(over_udp)
        stream.send(over_tcp)
        for name in names:
            upstream.wait_for(name)
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: daemon.workers, lambda now: any(pid != worker for pid in now))
        assert data(ask(daemon, upstream.new_name())) == ANSWER
        release.set()
        assert data(read_answer(over_udp, client.recv(4096))) == ANSWER
        assert data(read_answer(over_tcp, stream.receive())) == ANSWER
    eventually(lambda: daemon.workers, lambda now: worker not in now)


def test_what_a_worker_held_that_has_left_is_not_counted_any_more(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    worker = daemon.worker
    query = make_query(upstream.new_name()).to_wire()
    with TcpClient(daemon) as client:
        client.send(query)
        read_answer(query, client.receive())
        assert daemon.counter("tcp_connections") == 1
        assert daemon.reload().returncode == 0
        assert client.receive() is None
    eventually(lambda: daemon.workers, lambda now: worker not in now)
    eventually(lambda: daemon.counter("tcp_connections"), lambda count: count == 0, 1)
    assert daemon.counter("queries_tcp_total") == 1


def test_sigterm_in_a_reload_ends_all_processes_with_status_0(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    for moment in (0.0, 0.01, 0.03, 0.06):
        daemon = start_fastdns(upstream=[upstream], workers=2)
        process_ids = daemon.process_ids()
        daemon.process.send_signal(signal.SIGHUP)
        time.sleep(moment)  # wherever that is in the reload
        process_ids += daemon.process_ids()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(8) == 0
        assert not [pid for pid in process_ids if Path(f"/proc/{pid}/exe").exists()]
        assert not [line for line in daemon.log if "ERROR" in line]


def test_worker_killed_in_a_reload_is_replaced_and_the_reload_ends(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    for _ in range(5):
        before = daemon.workers
        reload = threading.Thread(target=daemon.reload)
        reload.start()
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        reload.join()
        eventually(lambda: daemon.workers, lambda now: len(now) == 2)
        for _ in range(10):
            assert data(ask(daemon, upstream.new_name())) == ANSWER
    assert daemon.standby


# Other workers, other addresses


def test_fewer_workers_close_their_sockets_and_no_query_is_lost(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 4\n", workers=None)
    name = upstream.new_name()
    ask(daemon, name)
    with steady_queries(daemon, name) as lost:
        for count in (3, 1):
            reloaded(daemon, f"workers = {count}\n")
            assert len(daemon.workers) == count
            assert len(udp_sockets(daemon.port)) == count
            time.sleep(0.2)  # for queries that would be lost
    assert lost == [0]


@pytest.fixture
def as_plain_user(tmp_path: Path) -> list[str]:
    """What makes a command run under the user that the daemon stays: others bind no more then.

    Root's home, where Python and fastdns may lie, stays readable for it.
    """
    if os.geteuid() != 0:
        return []
    user, may_read = str(PLAIN_USER), "+dac_read_search"
    prefix = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
    prefix += ["--inh-caps", may_read, "--ambient-caps", may_read]
    if subprocess.run([*prefix, sys.executable, "-c", "import fastdns"], check=False).returncode:
        pytest.skip("root cannot run Python as another user here")
    os.chown(tmp_path, PLAIN_USER, PLAIN_USER)
    return prefix


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is room for a worker a CPU")
def test_more_workers_get_sockets_of_their_own_and_no_query_is_lost(
    start_fastdns: Start, upstream: FalseUpstream, as_plain_user: list[str]
) -> None:
    daemon = start_fastdns(
        upstream=[upstream], config="workers = 1\n", workers=None, prefix=as_plain_user
    )
    name = upstream.new_name()
    ask(daemon, name)
    with steady_queries(daemon, name) as lost:
        for count in (2, 1, 2):
            reloaded(daemon, f"workers = {count}\n")
            assert len(daemon.workers) == count
            assert len(udp_sockets(daemon.port)) == count
    assert lost == [0]
    for _ in range(20):
        assert data(ask(daemon, upstream.new_name())) == ANSWER


def test_listen_address_is_added_and_another_one_given_up(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    def config(*ports: int) -> str:
        return f"[listen]\ndns = {[f'127.0.0.1:{port}' for port in ports]}\n"

    first, second = free_port(), free_port()
    daemon = start_fastdns(upstream=[upstream], listen=(), config=config(first), workers=2)
    reloaded(daemon, config(first, second))
    for daemon.port in (first, second):
        assert data(ask(daemon, upstream.new_name())) == ANSWER
        assert data(ask(daemon, upstream.new_name(), tcp=True)) == ANSWER
    reloaded(daemon, config(second))
    assert data(ask(daemon, upstream.new_name())) == ANSWER
    assert udp_sockets(first) == []
    with socket.create_server(("127.0.0.1", first)):
        pass  # nobody listens there any more


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_opens_to_all_addresses_and_closes_them_again(
    start_fastdns: Start, upstream: FalseUpstream, workers: int
) -> None:
    port = free_port()

    def config(host: str) -> str:
        return f"[listen]\ndns = ['{host}:{port}']\n"

    daemon = start_fastdns(
        upstream=[upstream], listen=(), config=config("127.0.0.1"), workers=workers
    )
    daemon.port = port
    other = SimpleNamespace(host="127.0.0.2", port=port)
    for host, places in (("0.0.0.0", (daemon, other)), ("127.0.0.1", (daemon,))):
        reloaded(daemon, config(host))
        for place in places:
            assert data(ask(place, upstream.new_name())) == ANSWER
            assert data(ask(place, upstream.new_name(), tcp=True)) == ANSWER
    with socket.create_server(("127.0.0.2", port)):
        pass  # nobody listens there any more


def test_listen_address_that_cannot_be_had_is_named_and_nothing_changes(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    first = free_port()
    daemon = start_fastdns(
        upstream=[upstream], listen=(), config=f'[listen]\ndns = ["127.0.0.1:{first}"]\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        fine = f"127.0.0.1:{free_port()}"
        daemon.configure(f'[listen]\ndns = ["127.0.0.1:{first}", "{fine}", "{taken}"]\n')
        (line,) = refused(daemon, 1)
    assert f"{taken} is in use" in line
    assert udp_sockets(int(fine.rpartition(":")[2])) == []
    assert data(ask(daemon, upstream.new_name())) == ANSWER


# What is refused


def test_wrong_configuration_is_told_line_by_line_and_the_daemon_goes_on(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 1\n")
    daemon.configure('nonsense = 1\n[cache]\nmemory = "64MX"\n')
    seen = len(daemon.log)
    lines = refused(daemon, 2)
    assert len(lines) == 2
    assert all(line.startswith(f"{daemon.state_dir}.toml: ") for line in lines)
    assert lines[1].endswith('cache.memory: "64MX" is not a size (try "64MiB")')
    daemon.wait_for_log("64MX", after=seen)
    assert data(ask(daemon, upstream.new_name())) == ANSWER


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("workers = [\n", ["is not valid TOML"]),
        (None, ["cannot be read: No such file or directory"]),
        ('state_dir = "here"\nworkers = "x"\n', ['"here" is not an absolute', '"x" is not an int']),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_daemon_logs_what_the_command_says_even_of_a_file_that_cannot_be_used_at_all(
    start_fastdns: Start,
    upstream: FalseUpstream,
    *,
    text: str | None,
    problems: list[str],
    is_named: bool,
    tmp_path: Path,
) -> None:
    place = tmp_path / "state1"
    daemon = start_fastdns(
        upstream=[upstream], config=f'state_dir = "{place}"\n', is_named=is_named, workers=None
    )
    file = place.with_suffix(".toml")
    named = ("-c", str(file), *(("--state", str(place)) if is_named else ()))
    file.unlink() if text is None else file.write_text(text)
    seen = len(daemon.log)
    done = fastdns("reload", *named)
    lines = done.stderr.splitlines()
    wanted = [one for one in problems if not (is_named and "here" in one)]
    assert (done.returncode, len(lines)) == (2, len(wanted))
    for one, line in zip(wanted, lines, strict=True):
        assert one in line
        daemon.wait_for_log(re.escape(f"reload: {line}"), after=seen)
    assert data(ask(daemon, upstream.new_name())) == ANSWER


def test_all_that_is_wrong_is_told_when_no_daemon_runs(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('state_dir = "here"\nworkers = "x"\n')
    done = fastdns("reload", "-c", str(file))
    assert done.returncode == 2
    assert ['"here"' in done.stderr, '"x"' in done.stderr] == [True, True]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("", 'cache.disk = "0"', "cache.disk cannot change"),
        ('cache.disk = "0"', "", "cache.disk cannot change"),
        ("workers = 1", "workers = 256", "workers: 256 are more than"),
    ],
)
def test_what_a_running_daemon_cannot_change_is_told_in_a_line(
    start_fastdns: Start, upstream: FalseUpstream, before: str, after: str, told: str
) -> None:
    daemon = start_fastdns(upstream=[upstream], config=f"{before}\n", workers=None)
    daemon.configure(after)
    (line,) = refused(daemon, 1)
    assert told in line
    assert "restart it" in line


@pytest.mark.parametrize("workers", [1, 2])
def test_daemon_goes_on_as_it_is_when_no_new_worker_can_be_started(
    start_fastdns: Start, upstream: FalseUpstream, as_plain_user: list[str], workers: int
) -> None:
    daemon = start_fastdns(
        upstream=[upstream],
        listen=(),
        config=f'[listen]\ndns = ["127.0.0.1:{free_port()}"]\n',
        workers=workers,
        prefix=as_plain_user,
    )
    fresh = free_port()
    both = [f"127.0.0.1:{port}" for port in (daemon.port, fresh)]
    daemon.configure(f"[listen]\ndns = {both}\n[cache]\nmax_ttl = '7s'\n")

    def allow_processes(number: str) -> None:
        limit = ["prlimit", "--pid", str(daemon.pid), f"--nproc={number}:"]
        subprocess.run([*as_plain_user, *limit], check=True)

    (before,) = re.findall(
        r"^Max processes +(\S+)", Path(f"/proc/{daemon.pid}/limits").read_text(), re.M
    )
    allow_processes("1")
    (line,) = refused(daemon, 1)
    assert f"{workers} of {workers} workers could not be replaced" in line
    assert udp_sockets(fresh) == []
    assert ttls(ask(daemon, upstream.new_name()))[0] == 300
    allow_processes(before)
    assert daemon.standby
    assert daemon.reload().returncode == 0
    assert ttls(ask(daemon, upstream.new_name()))[0] == 7
    daemon.port = fresh
    assert ttls(ask(daemon, upstream.new_name()))[0] == 7


def test_directories_cannot_change(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    daemon = start_fastdns(upstream=[upstream], config="workers = 1\n")
    at = daemon.command.index("--state")
    state_dir = daemon.state_dir
    other = Fastdns(tmp_path / "unused", upstream=[upstream], config=f"state_dir = '{state_dir}2'")
    del other.command[at : at + 2]
    other.state_dir = Path(f"{state_dir}2")
    with other:
        other_file = tmp_path / "unused.toml"
        other_file.write_text(f"state_dir = '{state_dir}3'")
        (line,) = refused(other, 1)
    assert "state_dir cannot change" in line


def test_configuration_that_can_be_read_only_once_is_not_taken_for_an_empty_one(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], arguments=["-c", "/dev/stdin"])
    (line,) = refused(daemon, 2)
    assert line == "/dev/stdin: is not a regular file"


def test_without_a_daemon_it_is_one_line_and_status_1(tmp_path: Path) -> None:
    daemon = Fastdns(tmp_path / "state")
    done = daemon.reload()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(daemon.state_dir) in line


# The supervisor's socket


def supervisor_of(daemon: Fastdns) -> Path:
    return daemon.state_dir / "run" / "supervisor"


def knock(daemon: Fastdns, said: bytes) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(8)
    connection.connect(os.fspath(supervisor_of(daemon)))
    connection.sendall(said)
    return connection


def test_socket_of_the_supervisor_is_for_its_user_alone(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    found = supervisor_of(start_fastdns(upstream=[upstream])).stat()
    assert stat.S_IMODE(found.st_mode) == 0o600


def test_nobody_who_is_silent_or_talks_nonsense_keeps_a_reload_waiting(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    with ExitStack() as stack:
        for said in [b"", b"rel", b"x" * 10000, b"reload\n"] * 5:
            stack.enter_context(knock(daemon, said))
        start = time.monotonic()
        assert daemon.reload().returncode == 0
        assert time.monotonic() - start < 5
        with knock(daemon, b"make coffee\n") as connection:
            assert connection.recv(4096) == b"error not a request\n"
            assert connection.recv(4096) == b""
        with knock(daemon, b"") as silent:
            assert silent.recv(4096) == b""  # hung up on, after a while
    assert data(ask(daemon, upstream.new_name())) == ANSWER


def link_of(pid: int, descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except FileNotFoundError:  # it was closed while we were looking
        return ""


def test_children_of_the_daemon_do_not_hold_its_socket_or_visitors(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])

    def listens(pid: int) -> bool:
        lines = Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]
        known = {line.split()[6] for line in lines if line.endswith(supervisor_of(daemon).name)}
        links = os.listdir(f"/proc/{pid}/fd")
        return any(f"socket:[{one}]" in map(partial(link_of, pid), links) for one in known)

    with knock(daemon, b"reload\n") as caller:
        assert caller.recv(4096).startswith(b"ok reloaded")
        assert caller.recv(4096) == b""  # nobody has a copy of it that keeps it open
    assert listens(daemon.pid)
    for pid in daemon.process_ids()[1:]:
        eventually(partial(listens, pid), lambda it_does: not it_does)


# ---- what is known of upstreams


def upstreams_of(daemon: Fastdns) -> dict[str, UpstreamState]:
    pages = Pages.attach(daemon.state_dir / "run" / "counters")
    return {state.name: state for state in pages.upstreams()}


def test_dead_upstream_costs_no_question_after_a_reload_and_is_said_once(
    start_fastdns: Start,
) -> None:
    with FalseUpstream(silence) as dead, FalseUpstream() as good:
        daemon = start_fastdns(upstream=[dead, good])
        name = f"{dead.host}:{dead.port}"
        while upstreams_of(daemon)[name].alive:
            ask(daemon, good.new_name())
        before = daemon.worker

        assert daemon.reload().returncode == 0

        assert daemon.worker != before
        fresh = good.new_name()
        assert data(ask(daemon, fresh)) == ["192.0.2.1"]
        assert not dead.asked(fresh)
        assert sum("does not answer" in line for line in daemon.log) == 1

        dead.otherwise = answer_a
        daemon.wait_for_log(f"upstream {name} answers again")


def test_upstream_that_answers_again_while_it_is_reloaded_is_found_out_at_once(
    start_fastdns: Start,
) -> None:
    with FalseUpstream(silence) as upstream:
        daemon = start_fastdns(upstream=[upstream])
        name = f"{upstream.host}:{upstream.port}"
        for _ in range(3):
            ask(daemon, upstream.new_name())
        daemon.wait_for_log("does not answer")
        upstream.otherwise = answer_a

        assert daemon.reload().returncode == 0

        daemon.wait_for_log(f"upstream {name} answers again", 3.0)


def test_upstream_without_edns_is_asked_without_after_a_reload_and_its_round_trip_is_known(
    start_fastdns: Start,
) -> None:
    def behave(asked: Asked) -> None:
        if asked.message.edns >= 0:
            asked.send(asked.wire[:2] + b"\x81\x81" + bytes(8))  # FORMERR, of a header alone
        else:
            answer_a(asked)

    with FalseUpstream(behave) as upstream:
        daemon = start_fastdns(upstream=[upstream])
        name = f"{upstream.host}:{upstream.port}"
        ask(daemon, upstream.new_name())
        daemon.wait_for_log("does not answer queries with EDNS")
        eventually(lambda: upstreams_of(daemon)[name].rtt, bool)

        assert daemon.reload().returncode == 0

        assert not upstreams_of(daemon)[name].edns
        assert upstreams_of(daemon)[name].rtt
        fresh = upstream.new_name()
        ask(daemon, fresh)
        assert [asked.message.edns for asked in upstream.asked(fresh)] == [-1]
        assert sum("queries with EDNS" in line for line in daemon.log) == 1
