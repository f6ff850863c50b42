"""Answers that wait in rings are found there, without taking them."""

from __future__ import annotations

from pathlib import Path

import pytest
from messages import address, answer_for, answer_from, key, reply

from fastdns._clock import Moment
from fastdns._entry import DiskEntry
from fastdns._ring import Ring
from fastdns.browse.pending import count_pending, newest_pending

NOW = Moment(1_760_000_000_000, 77_000, 5)
LATER = Moment(1_760_000_009_000, 86_000, 5)


@pytest.fixture
def rings(tmp_path: Path) -> list[Ring]:
    return [Ring.open(tmp_path / f"ring.{number}", 1 << 14) for number in range(2)]


@pytest.fixture
def paths(rings: list[Ring], tmp_path: Path) -> list[Path]:
    return [tmp_path / f"ring.{number}" for number in range(len(rings))]


def test_newest_answer_of_all_rings_is_found(rings: list[Ring], paths: list[Path]) -> None:
    wanted = key("www.demo")
    assert rings[0].put(wanted, answer_for("www.demo", 60), 4, LATER, upstream="192.0.2.53:53")
    assert rings[1].put(wanted, answer_for("www.demo", 300), 3, NOW)
    assert rings[1].put(key("other.demo"), answer_for("other.demo"), 5, LATER)
    rings[1].put_hits_of(wanted, 7)

    found = newest_pending(paths, wanted)
    assert found is not None
    entry = DiskEntry.parse(found.value)
    assert (entry.ttl, entry.upstream, found.epoch) == (60, "192.0.2.53:53", 4)
    assert (found.key, found.is_removal) == (wanted, False)
    assert newest_pending(paths, key("no.demo")) is None
    assert [count_pending(path) for path in paths] == [1, 2]


def test_answer_that_must_not_be_cached_is_a_removal(rings: list[Ring], paths: list[Path]) -> None:
    wanted = key("www.example")
    rings[0].put(wanted, answer_from(reply(address(300))), 1, NOW)
    rings[0].put(wanted, answer_from(reply(address(0))), 1, LATER)
    found = newest_pending(paths, wanted)
    assert found is not None
    assert found.is_removal
    assert count_pending(paths[0]) == 1


def test_ring_that_is_gone_or_rubbish_has_no_answer(tmp_path: Path) -> None:
    rubbish = tmp_path / "ring.7"
    rubbish.write_bytes(b"fastdnsR" + b"\xff" * 9000)
    assert newest_pending([tmp_path / "ring.8", rubbish], key()) is None
    assert count_pending(rubbish) == 0
