"""Defects of ours, and what is no key: neither ends what the event loop calls."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from messages import (
    GENEROUS,
    REPLY,
    SOURCE,
    TC,
    address,
    answer_of_size,
    key,
    query,
    reply,
)
from scenes import TIMEOUT, Scene, fail_until_dead

from fastdns import defects
from fastdns._forward import Forward
from fastdns._upstream import Upstream
from fastdns.config.schema import Address
from fastdns.upstream.udp import open_socket


def die_with_a_defect(scene: Scene) -> None:
    """Have an upstream die with a question under way; whoever hears of its turns has a defect."""

    def defect() -> None:
        raise ValueError("a defect")

    at = Address(*scene.upstream.getsockname())
    known = Upstream(SOURCE, TIMEOUT, partial(open_socket, at), defect)
    scene.use(known)
    scene.ask(query())
    with suppress(ValueError):
        fail_until_dead(known)


def test_defect_of_who_hears_of_a_turn_leaves_the_reading_of_replies_alone(scene: Scene) -> None:
    die_with_a_defect(scene)
    scene.answer(address())
    scene.ask(query("n1.example"))
    scene.answer(address(), qname="n1.example")
    assert reply(address(), qname="n1.example")[2:] in {one[2:] for one in scene.heard()}


def test_defect_of_who_hears_of_a_turn_loses_no_client(scene: Scene) -> None:
    die_with_a_defect(scene)
    scene.answer(flags=REPLY | TC)  # it lives again
    handover, _ = scene.tick_until_handed_over()
    assert len(handover.waiters) == 1


def test_defect_of_who_keeps_the_time_leaves_no_query_behind_that_is_nobody_s(
    tmp_path: Path,
) -> None:
    class Clock:
        def start(self) -> None:
            raise RuntimeError("no time")

    scene = Scene(tmp_path)
    forward = Forward(
        scene.front.tiers,
        scene.front.forward.flights,
        GENEROUS,
        scene.front.handed_over.append,
        Clock().start,
    )
    forward.use([scene.known], in_turn=False, is_alone=True)
    with suppress(RuntimeError):
        forward.renew(key())
    assert (forward.flights.count, forward.count) == (0, 0)
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
    takers = [forward.renew, forward.hold, forward.release]
    takers.append(lambda key: forward.flights.ask(scene.known, key))
    takers.append(lambda key: scene.front.cache.insert(key, answer_of_size(100), 0))
    takers.append(lambda key: scene.front.learn(key, answer_of_size(100)))
    for take in takers:
        with pytest.raises(ValueError, match="not a key"):
            take(octets)
