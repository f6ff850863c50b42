"""A slow disk, and the answers about fastdns itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from environments import ago, value_of, write_disk
from messages import (
    CHAOS,
    EVERYBODY,
    TXT,
    StreamClient,
    address,
    answer_from,
    key,
    query,
    reply,
    ttl_of,
)
from scenes import Peer, Scene

from fastdns import __version__, resolve
from fastdns._cache import Cache
from fastdns._cache_settings import CacheSettings
from fastdns._flights import Flights

KEPT = {"k": 100, "old": 400}  # on disk, for so many seconds


class SlowCache(Cache):
    """A cache over a disk that does not answer before the test says so."""

    def __init__(self, *_: object, **_more: object) -> None:
        self.may_read = threading.Event()

    def fetch(self, key: bytes) -> bytes | None:
        self.may_read.wait()
        return super().fetch(key)


class Slow(Scene):
    """A resolver whose disk is cold, holds "k" and "old", and does not answer."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, budget=5.0)
        front = self.front
        self.cache = SlowCache(
            *(front.memory, front.pages.counters(0), front.cache.disk, front.ring, front.control),
            settings=CacheSettings(stale_wait=5.0),
        )
        self.resolver = resolve.Resolver(
            [front.group], self.cache, Flights(self.cache.counters), access=EVERYBODY
        )
        self.stream = StreamClient()

    def say(self, wire: bytes, to: Peer, by: socket.socket | None = None) -> None:
        """Let an upstream send this; the event loop does the rest."""
        (by or self.upstream).sendto(wire, to)

    def asks(self, qname: str) -> None:
        self.stream.say(query(qname))
        self.stream.serve(self.resolver.fastpath)

    def hears(self) -> bytes:
        found: list[bytes] = []
        until(lambda: found.extend(self.stream.heard()) or found)
        return found[0]


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(10):
        while not condition():
            gevent.sleep(0.001)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setattr(resolve, "DISK_SECONDS", 0.02)
    answers = {qname: answer_from(reply(address(), qname=qname), of=key(qname)) for qname in KEPT}
    write_disk(tmp_path, {key(n): value_of(one, ago(KEPT[n])) for n, one in answers.items()})
    scene = Slow(tmp_path)
    yield scene
    scene.cache.may_read.set()
    scene.close()


def test_cold_disk_is_read_by_another_thread_and_answers(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "DISK_SECONDS", 5.0)
    slow.cache.may_read.set()
    slow.asks("k")
    assert 190 <= ttl_of(slow.hears()) <= 200
    assert slow.not_asked()
    assert slow.resolver.idle


def test_what_a_cold_disk_has_not_is_asked_upstream(slow: Slow) -> None:
    slow.cache.may_read.set()
    slow.asks("other")
    until(lambda: not slow.not_asked())
    slow.answer(address(77), qname="other")
    assert ttl_of(slow.hears()) == 77


def test_disk_that_does_not_answer_is_not_waited_for(slow: Slow) -> None:
    slow.asks("k")
    until(lambda: not slow.not_asked())
    slow.answer(address(77), qname="k")
    assert ttl_of(slow.hears()) == 77


def test_disk_that_answers_while_an_upstream_is_asked_ends_the_wait(slow: Slow) -> None:
    slow.asks("k")
    until(lambda: not slow.not_asked())
    slow.cache.may_read.set()
    assert 190 <= ttl_of(slow.hears()) <= 200


def test_what_a_slow_disk_has_past_its_ttl_is_told_when_the_upstreams_fail(slow: Slow) -> None:
    slow.asks("old")
    until(lambda: not slow.not_asked())
    slow.cache.may_read.set()
    until(lambda: slow.front.memory.count)
    slow.answer(flags=0x8182, qname="old")
    assert ttl_of(slow.hears()) == 30


def test_version_is_told_in_class_chaos(slow: Slow) -> None:
    slow.stream.say(query("version.bind", TXT, CHAOS))
    slow.stream.serve(slow.resolver.fastpath)
    assert f"fastdns {__version__}".encode() in slow.hears()
