"""`fastdns cache` beside a daemon that runs, hangs, or was replaced by one with a moved cache."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.message
import pytest

from fastdns.config.names import parse_name
from fastdns.store.lock import writer_lock
from fastdns.store.store import Store

from .support import stock
from .support.client import ask, data, eventually, ttls
from .support.commands import cache
from .support.daemon import Fastdns
from .support.false_upstream import Behaviour, FalseUpstream, answer_a, in_turn, silence
from .support.nsd import Nsd
from .support.unbound import Unbound

Start = Callable[..., Fastdns]
ASKED = [
    *[("example.demo", one) for one in ("SOA", "NS", "MX", "TXT", "CAA", "HTTPS", "DNSKEY")],
    *[("www.example.demo", one) for one in ("A", "AAAA", "MX")],
    *[(f"{one}.example.demo", "A") for one in ("alias", "chain1", "nope", "dangling", "away")],
    *[(f"{one}.example.demo", "A") for one in ("host.old", "MiXeD", r"with\.dot", r"nul\000oct")],
    ("odd.example.demo", "TYPE65280"),
    ("texts.example.demo", "TXT"),
    ("_sip._udp.example.demo", "SRV"),
    ("many.example.demo", "A"),
    ("empty.non.terminal.example.demo", "A"),
    ("non.terminal.example.demo", "A"),
]


@pytest.fixture
def stopped(start_fastdns: Start, upstream: FalseUpstream) -> Iterator[tuple[Fastdns, str]]:
    """A daemon that has an answer on disk, all its processes stopped, and the name."""
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(answer_a)
    ask(daemon, name)
    cache(daemon.state_dir, "get", name)
    pids = daemon.process_ids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield daemon, name
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_answer_is_seen_at_once_with_what_is_told_of_it(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(lambda asked: asked.answer("@ 300 IN A 192.0.2.1"))
    ask(daemon, name)
    for _ in range(4):
        ask(daemon, name)
    done = cache(daemon.state_dir, "get", name, "A", "--json")
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert found["records"] == [
        {"name": f"{name.rstrip('.')}.", "type": "A", "ttl": found["ttl"], "data": "192.0.2.1"}
    ]
    assert (found["state"], 298 <= found["ttl"] <= 300) == ("fresh", True)
    assert found["upstream"] == f"{upstream.host}:{upstream.port}"
    assert found["hits"] in (4, 5)  # whether the first counts is the worker's affair
    assert 0 < found["rtt_ms"] < 1000


def test_ttl_that_get_shows_is_the_one_that_clients_get(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(lambda asked: asked.answer("@ 300 IN A 192.0.2.1"))
    ask(daemon, name)
    time.sleep(1.2)
    before = ttls(ask(daemon, name))[0]
    shown = json.loads(cache(daemon.state_dir, "get", name, "--json").stdout)["ttl"]
    assert before >= shown >= ttls(ask(daemon, name))[0]


def test_reading_works_while_all_processes_of_the_daemon_are_stopped(
    stopped: tuple[Fastdns, str],
) -> None:
    daemon, name = stopped
    for command in (["get", name], ["ls", name], ["stats"], ["verify"], ["export", "-"]):
        began = time.monotonic()
        done = cache(daemon.state_dir, *command)
        assert time.monotonic() - began < 5
        assert done.stdout
        assert done.stderr == (
            "warning: the running daemon did not write its newest answers to disk; "
            "they may be missing here\n"
        )


@pytest.mark.parametrize("command", ["rm", "flush"])
def test_removal_works_while_all_processes_of_the_daemon_are_stopped(
    stopped: tuple[Fastdns, str], upstream: FalseUpstream, command: str
) -> None:
    daemon, name = stopped
    arguments = [command, name] if command == "rm" else [command, "--under", name]
    done = cache(daemon.state_dir, *arguments, status=None)
    if done.returncode:  # the keeper was stopped in the middle of a commit
        assert re.search(r"the write lock of .* is held by pid \d+ \(stopped\?\)", done.stderr)
        return
    assert "removed 1 entry" in done.stdout
    for pid in daemon.process_ids():
        os.kill(pid, signal.SIGCONT)
    asked = len(upstream.asked(name))
    ask(daemon, name)
    assert len(upstream.asked(name)) == asked + 1


@pytest.mark.parametrize("command", ["rm", "flush"])
def test_removal_of_what_only_memory_has_says_that_memory_has_forgotten_it(
    start_fastdns: Start, upstream: FalseUpstream, command: str
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(answer_a)
    ask(daemon, name)
    cache(daemon.state_dir, "get", name)  # has it on disk
    without_the_disk_entry(daemon, name)
    spelled = f"{name.rstrip('.')}."
    for reading in ("get", "refresh"):
        assert cache(daemon.state_dir, reading, name, status=1).stderr == (
            f"fastdns: no entry for {spelled} on disk; the daemon may have it in memory\n"
        )
    if command == "rm":
        done = cache(daemon.state_dir, "rm", name, status=1)
        assert done.stderr == (
            f"fastdns: no entry for {spelled} on disk; "
            "the daemon has removed any copy from memory\n"
        )
    else:
        done = cache(daemon.state_dir, "flush", "--under", name)
        assert done.stdout == (
            f"removed 0 entries under {spelled} on disk; "
            "the daemon has removed its copies from memory\n"
        )
    asked = len(upstream.asked(name))
    ask(daemon, name)
    assert len(upstream.asked(name)) == asked + 1


def without_the_disk_entry(daemon: Fastdns, name: str) -> None:
    """Remove a name from disk behind the back of the daemon, which still has it in memory."""

    def change() -> None:
        place = daemon.state_dir / "cache"
        with writer_lock(place, 5):
            store = Store.open_existing(place)
            assert store.delete(store.keys_of(parse_name(name)))
            store.close()

    stock.in_child(change)


def test_refresh_tells_of_the_new_answer(start_fastdns: Start, upstream: FalseUpstream) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(
        in_turn(
            lambda asked: asked.answer("@ 300 IN A 192.0.2.1"),
            lambda asked: asked.answer("@ 200 IN A 192.0.2.2"),
        )
    )
    ask(daemon, name)
    began = time.monotonic()
    done = cache(daemon.state_dir, "refresh", name)
    assert time.monotonic() - began < 5
    assert done.stdout == (
        f"{name.rstrip('.')}. A: new answer from {upstream.host}:{upstream.port}, TTL 200 s\n"
    )
    assert data(ask(daemon, name)) == ["192.0.2.2"]


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (lambda asked: asked.answer(rcode="SERVFAIL"), "they answer with an error, like SERVFAIL"),
        (lambda asked: asked.answer(rcode="REFUSED"), "they answer with an error, like SERVFAIL"),
        (silence, "no upstream gave a usable answer in time"),
    ],
    ids=["SERVFAIL", "REFUSED", "silence"],
)
def test_refresh_says_that_it_has_failed_as_soon_as_that_is_known(
    start_fastdns: Start, upstream: FalseUpstream, behaviour: Behaviour, why: str
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(in_turn(answer_a, behaviour))
    ask(daemon, name)
    done = cache(daemon.state_dir, "refresh", name, status=1)
    assert why in done.stderr  # and not that nothing came within the time that it waits at most
    assert done.stderr.endswith("; the old entry stays\n")
    assert data(ask(daemon, name)) == ["192.0.2.1"]


def test_refresh_says_that_nobody_answers_when_nobody_does(start_fastdns: Start) -> None:
    with FalseUpstream() as upstream:
        daemon = start_fastdns(upstream=[upstream])
        name = upstream.new_name()
        ask(daemon, name)
    for _ in range(2):  # the second time it is known to be dead
        began = time.monotonic()
        done = cache(daemon.state_dir, "refresh", name, status=1)
        assert ": no upstream answers; the old entry stays\n" in done.stderr
        assert time.monotonic() - began < 4.7


def test_of_several_workers_one_asks_for_a_refresh_and_all_tell_the_new_answer(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream], workers=2)
    is_new = False
    name = upstream.new_name(lambda asked: asked.answer(f"@ 300 IN A 192.0.2.{2 if is_new else 1}"))
    for _ in range(20):  # each from a port of its own: both workers have it in memory
        assert data(ask(daemon, name)) == ["192.0.2.1"]
    asked = len(upstream.asked(name))
    is_new = True
    cache(daemon.state_dir, "refresh", name)
    assert len(upstream.asked(name)) == asked + 1
    eventually(
        lambda: {address for _ in range(20) for address in data(ask(daemon, name))},
        lambda told: told == {"192.0.2.2"},
    )
    assert len(upstream.asked(name)) == asked + 1


def test_refresh_of_what_is_absent_asks_nobody(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name(answer_a)
    done = cache(daemon.state_dir, "refresh", name, status=1)
    assert done.stderr.startswith("fastdns: no entry for ")
    assert upstream.asked(name) == []


def test_imported_entries_are_served_by_a_daemon_that_runs(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    source, target = (start_fastdns(upstream=[upstream]) for _ in range(2))
    names = [upstream.new_name(answer_a) for _ in range(20)]
    for name in names:
        ask(source, name)
    lines = cache(source.state_dir, "export", "-").stdout
    done = cache(target.state_dir, "import", "-", text_in=lines)
    assert done.stdout == "imported 20 entries\n"
    asked = [len(upstream.asked(name)) for name in names]
    for name in names:
        assert data(ask(target, name)) == data(ask(source, name))
    assert [len(upstream.asked(name)) for name in names] == asked


def comparable(answer: dns.message.Message) -> object:
    """What must be the same whoever gives the answer; order and TTLs need not be."""
    return answer.rcode(), sorted(rrset.to_text().lower() for rrset in without_ttl(answer))


def without_ttl(answer: dns.message.Message) -> list[dns.rrset.RRset]:
    for rrset in answer.answer:
        rrset.ttl = 0
    return [dns.rrset.from_rdata_list(one.name, 0, sorted(one)) for one in answer.answer]


def test_dump_of_unbound_is_served_as_its_source_would(
    start_fastdns: Start, nsd: Nsd, upstream: FalseUpstream, tmp_path: Path
) -> None:
    with Unbound(tmp_path / "unbound", nsd) as unbound:
        for name, rtype in ASKED:
            ask(unbound, name, rtype)
        dump = unbound.dump()
    daemon = start_fastdns(upstream=[upstream])  # which knows none of these names
    done = cache(daemon.state_dir, "import", "-", text_in=dump)
    assert (done.stderr, done.stdout.startswith("imported 2")) == ("", True)
    for name, rtype in ASKED:
        expected = ask(nsd, name, rtype)
        assert comparable(ask(daemon, name, rtype)) == comparable(expected), (name, rtype)
    assert daemon.counter("upstream_queries_total") == 0


def test_list_of_everything_sees_what_is_answered_meanwhile(
    start_fastdns: Start, upstream: FalseUpstream
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    names = {f"{upstream.new_name(answer_a).rstrip('.')}." for _ in range(30)}
    for name in names:
        ask(daemon, name)

    def listed() -> set[str]:
        lines = cache(daemon.state_dir, "ls", "--json").stdout.splitlines()
        return {json.loads(line)["name"] for line in lines}

    eventually(listed, lambda found: names <= found)


def test_get_says_that_the_daemon_has_other_upstreams_now(
    start_fastdns: Start, tmp_path: Path, upstream: FalseUpstream
) -> None:
    servers = tmp_path / "ip"
    servers.write_text(f"{upstream.host}:{upstream.port}\n")
    daemon = start_fastdns(config=f'[upstream]\nservers = ["file:{servers}"]\n')
    name = upstream.new_name(answer_a)
    ask(daemon, name)
    assert "not served" not in cache(daemon.state_dir, "get", name).stdout
    servers.write_text("127.0.0.1:9\n")
    daemon.wait_for_log("upstreams are now")
    assert "not served" in cache(daemon.state_dir, "get", name).stdout
