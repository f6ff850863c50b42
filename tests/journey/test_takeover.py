"""`serve --takeover`: another instance replaces the running one, and no query is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    readable,
    udp_socket,
)
from .support.commands import fastdns
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream, answer_a, silence
from .support.manager import ServiceManager
from .support.ports import bind_pair

Start = Callable[..., Fastdns]


@contextmanager
def successor(daemon: Fastdns, **keywords: object) -> Iterator[Fastdns]:
    """Another instance with the same state directory; inside of the block it has taken over."""
    keywords.setdefault("arguments", ["--takeover"])
    with Fastdns(daemon.state_dir, **keywords) as second:
        yield second


def has_ended(daemon: Fastdns) -> None:
    """It ends with status 0, soon and without a traceback."""
    assert daemon.process.wait(5) == 0
    daemon.kill()  # which only tidies up: nothing of it is left
    assert not any("Traceback" in line for line in daemon.log), daemon.tail()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return fastdns(*arguments)


class Client:
    """Asks for one cached name, a query after the other, until told to stop; counts the answers."""

    def __init__(self, daemon: Fastdns, name: str) -> None:
        self._query = make_query(name).to_wire()
        self._daemon = daemon
        self._ends = threading.Event()
        self.answers = 0
        self.worst = 0.0
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._ends.is_set():
                with udp_socket(self._daemon, 4.0) as sock:
                    start = time.monotonic()
                    sock.send(self._query)
                    read_answer(self._query, sock.recv(4096))
                    self.worst = max(self.worst, time.monotonic() - start)
                    self.answers += 1
        except Exception as error:
            self.failure = error

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def end(self) -> None:
        """Stop asking, after the answer that is waited for."""
        self._ends.set()
        self._thread.join(10)

    def __exit__(self, *_: object) -> None:
        self.end()


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_successor_serves_the_same_sockets_and_the_other_one_ends(
    start_fastdns: Start, upstream: FalseUpstream, before: int, after: int
) -> None:
    first = start_fastdns(upstream=[upstream], workers=before)
    process_ids = first.process_ids()
    name = upstream.new_name()
    ask(first, name)
    with Client(first, name) as client:
        eventually(lambda: client.answers, lambda count: count > 50)
        with successor(first, upstream=[upstream], workers=after) as second:
            assert second.port == first.port
            has_ended(first)
            seen = client.answers
            eventually(lambda: client.answers, lambda count: count > seen + 50)
            assert client.failure is None
            assert not set(process_ids) & set(second.process_ids())
            assert len(second.workers) == after
            assert data(ask(second, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
            client.end()
            assert client.worst < 2


def test_what_is_asked_while_nobody_serves_is_answered(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    """The conversation is held up between the end of the old workers and the start of the new."""
    first = start_fastdns(upstream=[upstream])
    with SlowSuccessor(first) as slow:
        assert slow.say("stop") == "stopped"
        queries = [make_query(upstream.new_name()) for _ in range(20)]
        over_tcp = make_query(upstream.new_name()).to_wire()
        with udp_socket(first) as client, TcpClient(first) as stream:
            for query in queries:
                client.send(query.to_wire())
            stream.send(over_tcp)
            slow.hang_up()
            answers = {dns.message.from_wire(client.recv(4096)).id for _ in queries}
            assert answers == {query.id for query in queries}
            read_answer(over_tcp, stream.receive())


def test_query_in_flight_is_answered_by_the_one_that_took_it(start_fastdns: Start) -> None:
    release = threading.Event()
    with FalseUpstream() as slow:
        name = slow.new_name(lambda asked: release.wait(8) and answer_a(asked))
        first = start_fastdns(upstream=[slow])
        query = make_query(name).to_wire()
        with udp_socket(first) as client:
            client.send(query)
            slow.wait_for(name)
            threading.Timer(0.5, release.set).start()
            with successor(first, upstream=[slow]):
                assert data(read_answer(query, client.recv(4096))) == ["192.0.2.1"]
                has_ended(first)


def test_what_one_has_learned_the_other_knows(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    first = start_fastdns(upstream=[upstream])
    names = [upstream.new_name() for _ in range(20)]
    for name in names:
        ask(first, name)
    with successor(first, upstream=[upstream]) as second:
        asked = len(upstream.queries)
        for name in names:
            assert data(ask(second, name)) == ["192.0.2.1"]
        assert len(upstream.queries) == asked


def test_commands_find_the_successor(start_fastdns: Start, upstream: FalseUpstream) -> None:
    first = start_fastdns(upstream=[upstream])
    with successor(first, upstream=[upstream]) as second:
        has_ended(first)
        ask(second, upstream.new_name())
        shown = run("stats", "--json", "--state", str(second.state_dir))
        assert json.loads(shown.stdout)["queries_udp_total"] == 1
        third = run("serve", "--state", str(second.state_dir), "--upstream", "192.0.2.1")
        assert third.returncode == 1
        assert f"pid {second.pid}" in third.stderr


def test_successors_follow_each_other(start_fastdns: Start, upstream: FalseUpstream) -> None:
    first = start_fastdns(upstream=[upstream])
    with successor(first, upstream=[upstream]) as second:
        has_ended(first)
        with successor(second, upstream=[upstream]) as third:
            has_ended(second)
            assert third.port == first.port
            assert data(ask(third, upstream.new_name())) == ["192.0.2.1"]
            second.stop = lambda: None  # it has ended already
        assert third.process.returncode == 0


def test_without_an_instance_it_is_an_ordinary_start(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], arguments=["--takeover"])
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_after_a_kill_it_is_an_ordinary_start(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    first = start_fastdns(upstream=[upstream])
    first.kill()
    with successor(first, upstream=[upstream]) as second:
        assert data(ask(second, upstream.new_name())) == ["192.0.2.1"]


def test_an_address_that_the_successor_does_not_have_is_free(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    first = start_fastdns(upstream=[upstream], listen=["127.0.0.1:0", "127.0.0.2:0"])
    with successor(first, upstream=[upstream], listen=["127.0.0.1:0"]) as second:
        has_ended(first)
        assert second.addresses == first.addresses[:1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(first.addresses[1])


# It fails


def test_successor_that_cannot_start_changes_nothing(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    first = start_fastdns(upstream=[upstream])
    process_ids = first.process_ids()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        busy = f"127.0.0.1:{holder.getsockname()[1]}"
        done = run(
            *("serve", "--takeover", "--state", str(first.state_dir)),
            *("--listen", f"127.0.0.1:{first.port}", "--listen", busy, "--upstream", "192.0.2.1"),
        )
    assert done.returncode == 1
    assert busy in done.stderr
    first.wait_for_log("stopped taking over")
    assert first.process_ids() == process_ids
    assert data(ask(first, upstream.new_name())) == ["192.0.2.1"]


def test_after_a_successor_that_could_not_start_every_worker_is_asked(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    """It would have had fewer workers, and so has taken its place with fewer sockets."""
    first = start_fastdns(upstream=[upstream], workers=2)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        busy = f"127.0.0.1:{holder.getsockname()[1]}"
        done = run(
            *("serve", "--takeover", "--state", str(first.state_dir), "--workers", "1"),
            *("--listen", f"127.0.0.1:{first.port}", "--listen", busy, "--upstream", "192.0.2.1"),
        )
    assert done.returncode == 1
    first.wait_for_log("stopped taking over")
    for worker in first.workers:
        os.kill(worker, signal.SIGSTOP)
        try:
            assert 0 < answers_to_many(first, upstream.new_name()) < 40
        finally:
            os.kill(worker, signal.SIGCONT)


def answers_to_many(daemon: Fastdns, name: str) -> int:
    """How many of 40 clients are answered within a second."""
    query = make_query(name).to_wire()
    with ExitStack() as stack:
        clients = [stack.enter_context(udp_socket(daemon, 1.0)) for _ in range(40)]
        for client in clients:
            client.send(query)
        time.sleep(1)
        return len(readable(clients))


# A daemon may kill its successor, which must not be the tests: this is a process of its own. It
# says each word that it reads and prints the reply; at the end of its input it hangs up.
SLOW = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
connection.connect(sys.argv[1])
connection.sendall(b"takeover\\n")
text, descriptors = b"", []
while len(descriptors) < 3:  # a lock, a UDP and a TCP socket
    more, found, _, _ = socket.recv_fds(connection, 65536, 200)
    assert more
    text += more
    descriptors += found
print(text.partition(b" ")[0].decode(), flush=True)
for word in sys.stdin:
    connection.sendall(word.encode())
    print(connection.recv(100).decode().strip(), flush=True)
"""


class SlowSuccessor:
    """Holds the successor's side of a conversation by hand."""

    def __init__(self, daemon: Fastdns) -> None:
        place = str(daemon.state_dir / "run" / "supervisor")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SLOW, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._heard() == "ok"

    def say(self, word: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def hang_up(self) -> None:
        self._process.communicate(timeout=20)

    def __enter__(self) -> SlowSuccessor:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.hang_up()


def test_after_a_successor_that_ends_too_soon_everything_is_as_before(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    daemon = start_fastdns(upstream=[upstream], manager=systemd)
    names = [upstream.new_name() for _ in range(5)]
    for name in names:
        ask(daemon, name)
    with SlowSuccessor(daemon) as slow:
        assert slow.say("stop") == "stopped"
        slow.hang_up()
        asked = len(upstream.queries)
        for name in names:
            assert data(ask(daemon, name)) == ["192.0.2.1"]
        assert len(upstream.queries) == asked
    assert systemd.count("MAINPID") == 0
    assert run("stats", "--state", str(daemon.state_dir)).returncode == 0
    with successor(daemon, upstream=[upstream]) as second:
        has_ended(daemon)
        assert data(ask(second, upstream.new_name())) == ["192.0.2.1"]


SILENT = """
import os, socket, sys, time
os.setuid(os.stat(sys.argv[1]).st_uid)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b"takeover\\n")
connection.recv(65536)
connection.sendall(b"stop\\n")
time.sleep(60)
"""


def test_successor_that_says_nothing_is_ended_and_the_other_serves_again(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    place = str(daemon.state_dir / "run" / "supervisor")
    with subprocess.Popen([sys.executable, "-c", SILENT, place]) as silent:
        assert silent.wait(20) == -signal.SIGKILL
    daemon.wait_for_log(f"pid {silent.pid}.* is killed")
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


def test_successor_of_one_that_is_killed_meanwhile_serves(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    """Its workers still send what is under way, and the successor waits for their end."""
    with FalseUpstream(silence) as mute:
        first = start_fastdns(upstream=[mute])
        with udp_socket(first) as client:
            client.send(make_query(mute.new_name()).to_wire())
            mute.wait_for()
            second = Fastdns(first.state_dir, upstream=[upstream], arguments=["--takeover"])
            threading.Thread(target=kill_when_stopping, args=(first,), daemon=True).start()
            with second:
                assert second.port == first.port
                assert data(ask(second, upstream.new_name())) == ["192.0.2.1"]
        first.kill()


def kill_when_stopping(daemon: Fastdns) -> None:
    daemon.wait_for_log("takes over", 15)
    daemon.process.kill()


AS_ANOTHER_USER = """
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
os.setresuid(12345, 12345, 12345)
connection.connect(sys.argv[1])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")
def test_another_user_is_refused(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream])
    place = daemon.state_dir / "run" / "supervisor"
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, str(place)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "PermissionError" in done.stderr
    assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]


# Under a service manager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[ServiceManager]:
    with ServiceManager(tmp_path, watchdog=0.5) as manager:
        yield manager


def test_service_manager_goes_over_to_the_successor(
    start_fastdns: Start, upstream: FalseUpstream, systemd: ServiceManager
) -> None:
    first = start_fastdns(upstream=[upstream], manager=systemd)
    with successor(first, upstream=[upstream]) as second:
        has_ended(first)
        assert systemd.main_pid == second.pid
        assert systemd.count("STOPPING=1") == 0
        told = len(systemd.messages)
        systemd.wait_for("WATCHDOG=1", after=told)
        assert sum(map(len, systemd.stored.values())) == 2


def test_sockets_of_a_socket_unit_go_over_too(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    udp, tcp = bind_pair()
    opened = [("dns.socket", udp), ("dns.socket", tcp)]
    with udp, tcp, ServiceManager(tmp_path, opened=opened) as systemd:
        first = start_fastdns(upstream=[upstream], listen=(), manager=systemd)
        with successor(first, upstream=[upstream], listen=()) as second:
            has_ended(first)
            assert second.addresses == [udp.getsockname()]
            assert data(ask(second, upstream.new_name())) == ["192.0.2.1"]
            assert data(ask(second, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
            assert not systemd.stored
