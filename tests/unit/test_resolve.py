"""What memory could not answer: who waits for whom, and who is dropped when there are too many."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from gevent.queue import Queue

from fastdns import resolve
from fastdns._answer import Answer, Limits, text_answer
from fastdns._control import Control
from fastdns._disk import Disk
from fastdns._fastpath import Query
from fastdns._hotcache import HotCache
from fastdns._ring import Ring
from fastdns._shared import Pages
from fastdns._tiers import Source, Tiers
from fastdns.upstream.group import Group, Outcome


class HeldGroup(Group):
    """A group whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Queue]] = []

    def ask(self, key: bytes) -> Outcome:
        answers = Queue()
        self.asked.append((key, answers))
        return Outcome(answers.get(), Source("192.0.2.1:53"), 0.01)

    def answer(self, position: int) -> None:
        key, answers = self.asked[position]
        answers.put(text_answer(key, b"x"))


class Client(Query):
    """A client, and what it has heard."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def reply(self, answer: Answer) -> None:
        self.heard.append("reply")

    def drop(self) -> None:
        self.heard.append("drop")


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
    resolver = resolve.Resolver(group, manners, tiers, counters)

    def ask(name: str) -> Client:
        client = Client()
        header = bytes.fromhex("123401000001000000000000")
        packet = header + bytes((len(name),)) + name.encode() + bytes.fromhex("0000010001")
        assert resolver.fastpath.answer_stream(packet, lambda: client) is None
        return client

    return ask


def test_identical_questions_wait_for_one_upstream_query(ask: Ask, group: HeldGroup) -> None:
    clients = [ask("k") for _ in range(3)]
    gevent.idle()
    assert len(group.asked) == 1
    group.answer(0)
    gevent.idle()
    assert [client.heard for client in clients] == [["reply"]] * 3


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
