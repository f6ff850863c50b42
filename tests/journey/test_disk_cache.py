"""The cache survives the daemon: a stop, a kill, other upstreams, changes by commands."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from .support import commands
from .support.client import ask, data, eventually, extended_errors, make_query, readable, ttls
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, answer_a, in_turn, silence

NAMES = 10_000
AHEAD = 200  # queries under way at once
PATIENCE = 10.0

Start = Callable[..., Fastdns]


class Script:
    """An upstream for many names: one thread, no dnspython, A 192.0.2.1 with a TTL of an hour."""

    host = "127.0.0.1"

    def __enter__(self) -> Script:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, 0))
        self.port = self._socket.getsockname()[1]
        self.asked = 0
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 3600, 4) + bytes((192, 0, 2, 1))
        while True:
            try:
                query, client = self._socket.recvfrom(4096)
            except OSError:
                return
            end = query.index(b"\0", 12) + 5
            head = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
            self.asked += 1
            self._socket.sendto(head + query[12:end] + record, client)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._socket.close()


def ask_all(daemon: Fastdns, names: list[str]) -> dict[str, bytes]:
    """Ask for every name over one socket, a bounded number ahead; return the answers."""
    answers: dict[str, bytes] = {}
    waiting: dict[int, str] = {}
    left = list(reversed(names))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        client.connect((daemon.host, daemon.port))
        client.settimeout(PATIENCE)
        while left or waiting:
            while left and len(waiting) < AHEAD:
                name = left.pop()
                query = make_query(name)
                query.id = len(answers) + len(waiting) & 0xFFFF
                while query.id in waiting:
                    query.id = (query.id + 1) & 0xFFFF
                waiting[query.id] = name
                client.send(query.to_wire())
            answer = client.recv(4096)
            answers[waiting.pop(int.from_bytes(answer[:2], "big"))] = answer
    return answers


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as upstream:
        yield upstream


@pytest.fixture
def restart(tmp_path: Path) -> Iterator[Callable[..., Fastdns]]:
    """Start a daemon on the same state_dir, time after time; the last one is stopped and judged."""
    started: list[Fastdns] = []

    def start(**keywords: object) -> Fastdns:
        daemon = Fastdns(tmp_path / "state", **keywords)
        started.append(daemon.start())
        return daemon

    yield start
    if started and started[-1] in Fastdns.running:
        started[-1].stop()


def fastdns(daemon: Fastdns, *arguments: str, status: int | None = 0) -> str:
    """Run a command on the daemon's files and return what it prints."""
    done = commands.fastdns(*arguments, "--state", str(daemon.state_dir))
    assert status is None or done.returncode == status, done.stderr + done.stdout
    return done.stdout


def test_ten_thousand_names_survive_kill_9_of_all_processes_and_the_loss_of_the_upstream(
    restart: Start, script: Script
) -> None:
    names = [f"n{number}.example." for number in range(NAMES)]
    daemon = restart(upstream=[script])
    began = time.time()
    ask_all(daemon, names)
    daemon.kill()
    script.stop()
    time.sleep(1.1)  # so that the TTLs have something to take into account
    again = restart(upstream=[script])
    wrong = 0
    for name, wire in ask_all(again, names).items():
        answer = dns.message.from_wire(wire)
        gone = time.time() - began
        good = len(answer.answer) == 1 and 3600 - gone - 2 <= answer.answer[0].ttl <= 3599
        wrong += not good or answer.question[0].name.to_text() != name
    assert wrong == 0


def test_answers_survive_a_clean_restart(restart: Start, script: Script) -> None:
    daemon = restart(upstream=[script])
    ask_all(daemon, ["a.example", "b.example"])
    daemon.stop()
    asked = script.asked
    again = restart(upstream=[script])
    assert len(ask_all(again, ["a.example", "b.example"])) == 2
    assert script.asked == asked
    assert again.counter("disk_hits_total") + again.counter("cache_hits_total") == 2


def test_kill_9_of_the_worker_loses_nothing(restart: Start, script: Script) -> None:
    daemon = restart(upstream=[script])
    names = [f"w{number}.example" for number in range(200)]
    ask_all(daemon, names)
    asked = script.asked
    os.kill(daemon.worker, signal.SIGKILL)
    daemon.wait_for_log("serves in its place")
    ask_all(daemon, names)
    assert script.asked == asked


def test_other_upstreams_make_what_is_on_disk_a_miss(
    restart: Start, script: Script, upstream: FalseUpstream
) -> None:
    name = upstream.new_name(lambda asked: asked.answer("@ 300 IN A 192.0.2.99"))
    daemon = restart(upstream=[script])
    ask(daemon, name)
    daemon.stop()
    again = restart(upstream=[upstream])
    assert data(ask(again, name)) == ["192.0.2.99"]


def test_other_upstreams_leave_answers_that_are_told_as_stale_while_none_answers(
    restart: Start, script: Script, upstream: FalseUpstream
) -> None:
    name = upstream.new_name(silence)
    daemon = restart(upstream=[script])
    ask(daemon, name)
    daemon.stop()
    again = restart(upstream=[upstream], config='[upstream]\ntimeout = "200ms"\nattempts = 1\n')
    answer = ask(again, name)
    assert answer.rcode() == dns.rcode.NOERROR
    assert [rrset.ttl for rrset in answer.answer] == [30]


def test_file_of_upstreams_that_changes_makes_all_answers_misses(
    start_fastdns: Start, tmp_path: Path, script: Script, upstream: FalseUpstream
) -> None:
    servers = tmp_path / "ip"
    servers.write_text(f"127.0.0.1:{script.port}\n")
    daemon = start_fastdns(config=f'[upstream]\nservers = ["file:{servers}"]\n')
    name = upstream.new_name(lambda asked: asked.answer("@ 300 IN A 192.0.2.99"))
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    servers.write_text(f"127.0.0.1:{upstream.port}\n")
    daemon.wait_for_log("upstreams are now")
    assert data(ask(daemon, name)) == ["192.0.2.99"]


def test_stale_answer_comes_from_disk_after_a_restart(
    restart: Start, upstream: FalseUpstream
) -> None:
    name = upstream.new_name(in_turn(lambda asked: asked.answer("@ 1 IN A 192.0.2.1"), silence))
    config = '[cache]\nstale_wait = "200ms"\n'
    daemon = restart(upstream=[upstream], config=config)
    ask(daemon, name)
    daemon.kill()
    time.sleep(1.1)
    again = restart(upstream=[upstream], config=config)
    answer = ask(again, name)
    assert (data(answer), ttls(answer), extended_errors(answer)) == (["192.0.2.1"], [30], [3])


def test_what_is_used_most_is_in_memory_soon_after_a_start(restart: Start, script: Script) -> None:
    daemon = restart(upstream=[script])
    names = [f"m{number}.example" for number in range(20)]
    for _ in range(3):
        ask_all(daemon, names)
    daemon.stop()
    again = restart(upstream=[script])
    eventually(lambda: again.counter("warmed_total"), lambda seen: seen == 20)
    ask_all(again, names)
    assert again.counter("cache_hits_total") == 20
    assert again.counter("disk_hits_total") == 0


def test_disk_of_0_keeps_answers_in_run_dir_over_a_kill(restart: Start, script: Script) -> None:
    config = '[cache]\ndisk = "0"\n'
    daemon = restart(upstream=[script], config=config)
    ask_all(daemon, ["a.example"])
    daemon.kill()
    again = restart(upstream=[script], config=config)
    asked = script.asked
    ask_all(again, ["a.example"])
    assert script.asked == asked
    assert (again.state_dir / "run" / "cache" / "data.mdb").exists()
    assert not (again.state_dir / "cache").exists()


def test_file_that_somebody_empties_while_it_is_used_is_replaced_by_a_new_one(
    restart: Start, script: Script
) -> None:
    daemon = restart(upstream=[script])
    ask_all(daemon, ["a.example"])
    fastdns(daemon, "cache", "get", "a.example")
    os.truncate(daemon.state_dir / "cache" / "data.mdb", 0)
    ask_all(daemon, ["b.example"])
    daemon.wait_for_log("moved to", 10)
    ask_all(daemon, ["c.example"])
    eventually(
        lambda: fastdns(daemon, "cache", "ls", status=None), lambda seen: "c.example." in seen
    )


# ---- changes by commands


def test_rm_takes_effect_at_once_and_touches_only_what_it_names(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name, other = upstream.new_name(answer_a), upstream.new_name(answer_a)
    for each in (name, other):
        ask(daemon, each)
    fastdns(daemon, "cache", "rm", name)
    ask(daemon, name)
    ask(daemon, other)
    assert (len(upstream.asked(name)), len(upstream.asked(other))) == (2, 1)


def test_flush_under_a_domain_takes_the_domain_and_all_below(
    start_fastdns: Start, script: Script
) -> None:
    daemon = start_fastdns(upstream=[script])
    names = ["example", "a.example", "b.a.example", "notexample", "example.org"]
    ask_all(daemon, names)
    fastdns(daemon, "cache", "flush", "--under", "example", "--yes")
    left = {
        json.loads(line)["name"] for line in fastdns(daemon, "cache", "ls", "--json").splitlines()
    }
    assert left == {"notexample.", "example.org."}
    asked = script.asked
    ask_all(daemon, names)
    assert script.asked == asked + 3


def test_answer_under_way_does_not_undo_a_removal(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    answer_now = threading.Event()

    def slow(asked: Asked) -> None:
        assert answer_now.wait(10)
        asked.answer("@ 300 IN A 192.0.2.1")

    name = upstream.new_name(slow)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((daemon.host, daemon.port))
        client.send(make_query(name).to_wire())
        upstream.wait_for(name)
        fastdns(daemon, "cache", "flush", "--yes")
        answer_now.set()
        assert readable([client], PATIENCE)
    count = len(upstream.asked(name))
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    assert len(upstream.asked(name)) == count + 1


def test_removal_with_the_daemon_killed_is_not_undone_by_what_was_in_the_ring(
    restart: Start, script: Script
) -> None:
    daemon = restart(upstream=[script])
    ask_all(daemon, ["a.example", "b.example"])
    daemon.kill()  # nothing has been committed yet
    fastdns(daemon, "cache", "flush", "--under", "a.example", "--yes")
    again = restart(upstream=[script])
    asked = script.asked
    ask_all(again, ["a.example", "b.example"])
    assert script.asked == asked + 1


def test_refresh_asks_again_and_a_failed_one_leaves_the_entry(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    addresses = ["192.0.2.1", "192.0.2.2"]

    def behave(asked: Asked) -> None:
        if addresses:
            asked.answer(f"@ 300 IN A {addresses.pop(0)}")
        else:
            asked.answer(rcode="SERVFAIL")

    name = upstream.new_name(behave)
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    fastdns(daemon, "cache", "refresh", name, "A")
    assert data(ask(daemon, name)) == ["192.0.2.2"]
    fastdns(daemon, "cache", "refresh", name, "A", status=1)
    assert data(ask(daemon, name)) == ["192.0.2.2"]
