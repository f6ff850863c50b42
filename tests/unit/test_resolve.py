"""What memory could not answer: who waits for whom, and who is dropped when there are too many."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from environments import ago, value_of, write_disk
from gevent.queue import Queue
from messages import (
    EDE,
    EVERYBODY,
    IN,
    A,
    StreamClient,
    address,
    answer_from,
    key,
    name,
    now_ms,
    opt,
    option,
    query,
    reply,
)

from fastdns import resolve
from fastdns._answer import Answer, Limits, failure, text_answer
from fastdns._control import CHANGE_NAME, Control
from fastdns._disk import Disk
from fastdns._flights import Flights
from fastdns._forward import Forward, Handover
from fastdns._hotcache import HotCache
from fastdns._ring import Ring
from fastdns._tiers import Source, Tiers
from fastdns._upstream import Upstream
from fastdns.config.schema import Address
from fastdns.counters import Pages
from fastdns.upstream import udp
from fastdns.upstream.exchange import Keep
from fastdns.upstream.group import Group, Outcome

STALE = option(EDE, b"\0\3")
KEPT = {"k": 100, "old": 4000}  # on disk, for so many seconds


class HeldGroup(Group):
    """A group whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Queue]] = []

    def ask(self, key: bytes, keep: Keep | None = None) -> Outcome:
        answers = Queue()
        self.asked.append((key, answers))
        return Outcome(answers.get(), Source("192.0.2.1:53"), 0.01)

    def lend(self, forward: Forward) -> None:
        """Keep every question for ourselves."""
        self.forward = forward

    def go_on(self, handover: Handover, keep: Keep | None = None) -> Outcome:
        return self.ask(handover.key)

    def answer(self, position: int) -> None:
        key, _ = self.asked[position]
        self.say(position, text_answer(key, b"x"))

    def fail(self, position: int) -> None:
        key, _ = self.asked[position]
        self.say(position, failure(key, 2, None, 5))

    def say(self, position: int, answer: Answer | None) -> None:
        self.asked[position][1].put(answer)


class SlowTiers(Tiers):
    """Tiers over a disk that does not answer before the test says so."""

    def __init__(self, *_: object) -> None:
        self.may_read = threading.Event()

    def fetch(self, key: bytes) -> bytes | None:
        self.may_read.wait()
        return super().fetch(key)


class Client:
    """A client, and what it has heard."""

    def __init__(self, resolver: resolve.Resolver, pages: Pages, qname: str) -> None:
        self._stream = StreamClient()
        self._responses: list[bytes] = []
        hits = pages.totals()["cache_hits_total"]
        self._stream.say(query(qname, A, IN, opt()))
        resolver.fastpath.serve_stream(self._stream)
        self._is_hit = pages.totals()["cache_hits_total"] > hits

    @property
    def heard(self) -> list[str]:
        self._responses += self._stream.heard()
        if not self._responses and not self._stream.waiting:
            return ["drop"]
        reply = "cache" if self._is_hit else "reply"
        return ["stale" if one.endswith(opt(STALE)) else reply for one in self._responses]

    @property
    def rcodes(self) -> list[int]:
        assert self.heard
        return [one[3] & 15 for one in self._responses]


Ask = Callable[[str], Client]


@pytest.fixture
def group() -> HeldGroup:
    return HeldGroup()


@pytest.fixture
def ask(tmp_path: Path, group: HeldGroup, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setattr(resolve, "QUESTIONS_MAX", 2)
    pages = Pages.create(tmp_path / "counters", slots=1, started_at=time.time())
    counters = pages.counters(0)
    tiers = Tiers(
        HotCache(1 << 20), counters, Disk(tmp_path), Ring.open(None), Control.open(None, tmp_path)
    )
    manners = resolve.Manners(Limits(0, 86400, 3600, 5, False))
    resolver = resolve.Resolver(
        group, manners, tiers, counters, Flights(counters), access=EVERYBODY
    )
    group.fastpath = resolver.fastpath

    def ask(name: str) -> Client:
        return Client(resolver, pages, name)

    return ask


def test_identical_questions_wait_for_one_upstream_query(ask: Ask, group: HeldGroup) -> None:
    clients = [ask("k") for _ in range(3)]
    gevent.idle()
    assert len(group.asked) == 1
    group.answer(0)
    gevent.idle()
    assert [client.heard for client in clients] == [["reply"]] * 3


def test_who_waits_here_and_who_is_handed_over_later_with_the_same_question_are_answered(
    ask: Ask, group: HeldGroup
) -> None:
    shortages = [OSError(errno.EMFILE, "too many")]

    def open_socket() -> int:
        if shortages:
            raise shortages.pop()
        return udp.open_socket(Address(*silent.getsockname()))

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        silent.bind(("127.0.0.1", 0))
        server.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        upstream = Upstream(Source("192.0.2.1:53"), 0.05, open_socket, lambda: None)
        group.forward.use([upstream], in_turn=False, is_alone=True)
        client.send(query("k", message_id=1))
        client.send(query("k", message_id=2))
        group.fastpath.drain(server.fileno())
        gevent.sleep(0.3)  # the second one is handed over: nobody answers
        group.answer(0)
        gevent.idle()
        client.settimeout(1)
        assert {client.recv(512)[:2] for _ in range(2)} == {b"\0\1", b"\0\2"}
    assert len(group.asked) == 1


def test_oldest_question_is_dropped_when_there_are_too_many(ask: Ask, group: HeldGroup) -> None:
    first, second, third = ask("k"), ask("l"), ask("m")
    gevent.idle()
    assert (first.heard, second.heard, third.heard) == (["drop"], [], [])


def test_question_dropped_while_its_answer_comes_leaves_the_next_one_alone(
    ask: Ask, group: HeldGroup
) -> None:
    first = ask("k")
    ask("l")
    gevent.idle()
    again = []

    def in_one_turn_of_the_loop() -> None:
        group.answer(0)
        ask("m")
        again.append(ask("k"))

    gevent.get_hub().loop.run_callback(in_one_turn_of_the_loop)
    gevent.idle()
    assert first.heard == ["drop"]
    asked = [key[:2] for key, _ in group.asked]
    group.answer(len(asked) - 1 - asked[::-1].index(b"\x01k"))
    gevent.idle()
    assert again[0].heard == ["reply"]


# ---- what is stale, and a disk that is slow


class Scene:
    """A resolver over a cache that holds what the test puts in, and clients of it."""

    def __init__(self, directory: Path, group: HeldGroup, tiers: type[Tiers] = Tiers) -> None:
        pages = Pages.create(directory / "counters", slots=1, started_at=time.time())
        self.pages = pages
        counters = pages.counters(0)
        self.memory = HotCache(1 << 20, 86_400_000)
        self.control = Control.open(None, directory)
        self.tiers = tiers(self.memory, counters, Disk(directory), Ring.open(None), self.control)
        manners = resolve.Manners(Limits(0, 86400, 3600, 5, False), stale_wait=0.02)
        self.resolver = resolve.Resolver(
            group, manners, self.tiers, counters, Flights(counters), access=EVERYBODY
        )

    def hold(self, qname: str, *, ttl: int, age_ms: int) -> None:
        """Have memory hold an answer that came so long ago."""
        answer = answer_from(reply(address(ttl), qname=qname), of=key(qname))
        assert self.memory.insert(key(qname), answer, now_ms() - age_ms)

    def ask(self, qname: str) -> Client:
        return Client(self.resolver, self.pages, qname)


@pytest.fixture
def scene(tmp_path: Path, group: HeldGroup, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(resolve, "QUESTIONS_MAX", 2)
    return Scene(tmp_path, group)


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(10):
        while not condition():
            gevent.sleep(0.001)


def test_who_waits_too_long_is_told_what_is_stale_and_so_is_who_comes_later(
    scene: Scene, group: HeldGroup
) -> None:
    scene.hold("k", ttl=300, age_ms=400_000)
    first = scene.ask("k")
    assert first.heard == []
    until(lambda: first.heard)
    second = scene.ask("k")
    assert (first.heard, second.heard) == (["stale"], ["stale"])
    assert len(group.asked) == 1
    assert scene.pages.totals()["cache_stale_total"] == 2


def test_who_joins_a_renewal_that_fails_is_told_what_has_become_stale(
    scene: Scene, group: HeldGroup
) -> None:
    scene.hold("k", ttl=1, age_ms=950)
    assert scene.ask("k").heard == ["cache"]  # and has it renewed
    until(lambda: group.asked)
    joined: list[Client] = []

    def join() -> bool:
        joined.append(scene.ask("k"))
        return joined[-1].heard != ["cache"]

    until(join)
    group.fail(0)
    until(lambda: joined[-1].heard)
    assert joined[-1].heard == ["stale"]
    assert len(group.asked) == 1


def test_stale_answer_that_a_command_removes_is_told_to_nobody_any_more(
    scene: Scene, group: HeldGroup
) -> None:
    scene.hold("k", ttl=300, age_ms=400_000)
    first = scene.ask("k")
    until(lambda: first.heard)
    scene.control.post(CHANGE_NAME, name("k"))
    second = scene.ask("k")
    assert second.heard == []
    group.fail(0)
    until(lambda: second.heard)
    assert (second.heard, second.rcodes) == (["reply"], [2])


def test_who_is_dropped_for_others_is_told_what_is_stale(scene: Scene) -> None:
    scene.hold("k", ttl=300, age_ms=400_000)
    stale, other = scene.ask("k"), scene.ask("l")
    scene.ask("m"), scene.ask("n")
    assert (stale.heard, other.heard) == (["stale"], ["drop"])
    totals = scene.pages.totals()
    assert (totals["cache_stale_total"], totals["shed_total"]) == (1, 1)


def test_who_is_sent_away_as_patience_ends_is_told_one_thing_only(
    scene: Scene, group: HeldGroup
) -> None:
    scene.hold("k", ttl=300, age_ms=400_000)
    client = scene.ask("k")
    until(lambda: group.asked)
    loop = gevent.get_hub().loop
    hold_up, crowd = loop.timer(0.001), loop.timer(0.01)
    hold_up.start(time.sleep, 0.05)  # patience and the others then come in one turn of the loop
    crowd.start(lambda: [scene.ask(qname) for qname in ("l", "m")])
    until(lambda: client.heard)
    gevent.sleep(0.01)
    assert len(client.heard) == 1
    hold_up.close()
    crowd.close()


def test_defect_of_ours_leaves_nobody_waiting(scene: Scene, group: HeldGroup) -> None:
    client = scene.ask("k")
    until(lambda: group.asked)
    group.say(0, None)
    until(lambda: client.heard)
    assert client.rcodes == [2]
    assert scene.resolver.idle


@pytest.fixture
def slow(tmp_path: Path, group: HeldGroup, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The disk of this scene is cold, holds "k" and "old", and does not answer."""
    monkeypatch.setattr(resolve, "DISK_SECONDS", 0.02)
    place = tmp_path / "cache"
    place.mkdir()
    answers = {qname: answer_from(reply(address(), qname=qname), of=key(qname)) for qname in KEPT}
    write_disk(place, {key(n): value_of(one, ago(KEPT[n])) for n, one in answers.items()})
    scene = Scene(place, group, SlowTiers)
    yield scene
    assert isinstance(scene.tiers, SlowTiers)
    scene.tiers.may_read.set()


def test_disk_that_does_not_answer_is_not_waited_for(slow: Scene, group: HeldGroup) -> None:
    client = slow.ask("k")
    until(lambda: group.asked)
    group.answer(0)
    until(lambda: client.heard)
    assert (client.heard, client.rcodes) == (["reply"], [0])


@pytest.mark.parametrize(("qname", "heard"), [("k", "reply"), ("old", "stale")])
def test_what_a_slow_disk_has_is_told_when_the_upstreams_fail(
    slow: Scene, group: HeldGroup, qname: str, heard: str
) -> None:
    client = slow.ask(qname)
    until(lambda: group.asked)
    assert isinstance(slow.tiers, SlowTiers)
    slow.tiers.may_read.set()
    until(lambda: slow.memory.count)
    if not client.heard:  # patience has told what is stale
        group.fail(0)
    until(lambda: client.heard)
    assert (client.heard, client.rcodes) == ([heard], [0])
