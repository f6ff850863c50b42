"""Callbacks of the event loop never raise: gevent would not call them again (see defects.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from messages import Front, StreamClient, address, answer_from, query, reply
from scenes import Scene

from fastdns import defects


@contextmanager
def broken(front: Front, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let whatever looks at the control pages first meet a defect."""
    monkeypatch.setattr(defects._told, "next_at", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(logging.getLogger("fastdns.disk"), "debug", lambda *_: 1 / 0)
        front.control.advance_generation()
        yield


Break = Callable[[], object]


def test_defect_while_datagrams_are_answered(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.front.keep(answer_from(reply(address())))
    with broken(scene.front, monkeypatch):
        scene.ask(query())
    assert "defect: ZeroDivisionError" in caplog.text
    scene.ask(query())
    assert len(scene.heard()) == 2


def test_defect_before_a_stream_is_answered_costs_nobody_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    client = StreamClient()
    client.say(query())
    with broken(front, monkeypatch):
        client.serve(front.fastpath)
    assert "defect: ZeroDivisionError" in caplog.text
    assert client.heard() == []
    client.serve(front.fastpath)
    assert client.heard() == [reply(address())]
    client.hang_up()


def test_defect_while_replies_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front = Front(tmp_path)
    front.ask(query())
    with broken(front, monkeypatch):
        front.say(reply(address()))
    assert "defect: ZeroDivisionError" in caplog.text
    front.forward.read_replies()
    assert front.heard() == reply(address())
