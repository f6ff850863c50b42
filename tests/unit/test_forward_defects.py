"""Defects of ours and invalid keys: neither stops the callbacks of the event loop."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import pytest
from environments import ago, value_of, write_disk
from messages import (
    EVERYBODY,
    SOURCE,
    address,
    answer_of_size,
    good,
    key,
    peer_of,
    query,
    reply,
)
from scenes import TIMEOUT, Scene, fail_until_dead

from fastdns import defects
from fastdns._fastpath import FastPath
from fastdns._flights import Flights
from fastdns._forward import Forward
from fastdns._upstream import PROBE, Upstream


def die_with_a_defect(scene: Scene) -> None:
    """Have an upstream die with a question under way; whoever hears of its turns has a defect."""

    def defect() -> None:
        raise ValueError("a defect")

    known = Upstream(SOURCE, TIMEOUT, peer_of(scene.upstream), defect)
    scene.use(known)
    scene.ask(query())
    fail_until_dead(known)


def test_defect_of_who_hears_of_a_turn_leaves_the_reading_of_replies_alone(scene: Scene) -> None:
    die_with_a_defect(scene)
    scene.answer(address())
    scene.ask(query("n1.example"))
    scene.answer(address(), qname="n1.example")
    assert reply(address(), qname="n1.example")[2:] in {one[2:] for one in scene.heard()}


def test_defect_of_a_transport_leaves_nobody_waiting(scene: Scene) -> None:
    known = scene.make_upstream(scene.upstream, is_stream=True)
    known.stream = None  # which has no `send`
    scene.use(known)
    scene.ask(query())
    assert scene.told()[3] & 15 == 2
    assert (scene.front.forward.count, scene.front.forward.flights.count) == (0, 0)


def test_defect_of_who_keeps_the_time_leaves_no_query_behind_that_is_nobody_s(
    tmp_path: Path,
) -> None:
    class Clock:
        def start(self) -> None:
            raise RuntimeError("no time")

    scene = Scene(tmp_path)
    forward = Forward(
        scene.front.cache, scene.front.forward.flights, scene.front.group, print, Clock().start
    )
    with suppress(RuntimeError):
        forward.renew(key())
    assert (forward.flights.count, forward.count) == (0, 0)
    scene.close()


def test_defect_of_who_searches_the_disk_leaves_nobody_waiting(tmp_path: Path) -> None:
    write_disk(tmp_path, {key(): value_of(good(), ago(1))})
    scene = Scene(tmp_path)
    forward = Forward(
        scene.front.cache, Flights(scene.front.pages.counters(0)), scene.front.group, None, print
    )
    fastpath = FastPath(forward, EVERYBODY, print, print)
    scene.client.send(query())
    fastpath.drain(scene.server.fileno())
    scene.asked()  # an upstream, as the disk cannot be
    scene.close()


def break_disk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever looks at the control pages meet a defect."""
    monkeypatch.setattr(logging.getLogger("fastdns.disk"), "debug", lambda *_: 1 / 0)
    scene.front.control.advance_generation()


def test_defect_of_what_reading_replies_begins_with_does_not_leave_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """gevent would never again call who reads replies."""
    monkeypatch.setattr(defects._told, "next_at", 0.0)
    scene.ask(query())
    asked, peer = scene.asked()
    break_disk(scene, monkeypatch)
    scene.upstream.sendto(asked[:2] + reply(address())[2:], peer)
    scene.front.forward.read_replies()
    assert "defect: ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    scene.front.forward.read_replies()
    assert len(scene.heard()) == 1


def test_defect_of_what_draining_begins_with_does_not_leave_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_disk(scene, monkeypatch)
    scene.ask(query())
    monkeypatch.undo()
    scene.ask()
    scene.answer(address())
    assert len(scene.heard()) == 1


def test_defects_are_told_once_a_second(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(defects, "PAUSE_SECONDS", 3600.0)
    for number in range(50):
        break_disk(scene, monkeypatch)
        scene.ask(query(f"n{number}.example"))
    assert caplog.text.count("defect: ZeroDivisionError") <= 1


@pytest.mark.parametrize("octets", [bytes(263), bytes(65544)], ids=len)
def test_what_is_no_key_is_refused_wherever_one_is_taken(scene: Scene, octets: bytes) -> None:
    forward = scene.front.forward
    takers = [forward.renew, forward.found, forward.ask]
    takers.append(lambda key: forward.flights.probe(scene.known, key, PROBE))
    takers.append(lambda key: scene.front.memory.insert(key, answer_of_size(100), 0))
    takers.append(lambda key: scene.front.learn(key, answer_of_size(100)))
    for take in takers:
        with pytest.raises(ValueError, match="not a key"):
            take(octets)
