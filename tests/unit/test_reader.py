"""Reading a cache on disk beside its writer."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from environments import ago, value_of, write_disk, write_raw
from messages import answer_from, key, reply, soa

from fastdns._key import disk_key, range_of
from fastdns.browse import reader as inspect
from fastdns.browse.names import Key
from fastdns.browse.reader import CacheAbsent, CacheUnreadable, Reader

VALUE = value_of(answer_from(reply(authority=(soa(60, 60),))), ago(1))

LABELS = [b"a", b"b", b"\0", b"\1", b"\0\1", b"\1\0\1\0\0\0", b"\xff" * 63, b"ab", b"\x61\x62\0\1"]


def wire(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def test_walk_yields_every_entry_once_and_in_order(place: Path) -> None:
    keys = sorted(disk_key(key(f"n{number}.example")) for number in range(3 * inspect.BATCH + 1))
    write_raw(place, dict.fromkeys(keys, VALUE))
    with Reader(place) as reader:
        batches = list(reader.batches())
    assert [pair for batch in batches for pair in batch] == [(one, VALUE) for one in keys]
    assert max(map(len, batches)) == inspect.BATCH


def test_walk_stays_in_its_range_and_may_begin_behind_a_key(place: Path) -> None:
    below = [disk_key(key(f"n{number}.example")) for number in range(inspect.BATCH)]
    others = [disk_key(key(text)) for text in ("exampl", "example0", "a.exampld", "b.demo")]
    write_raw(place, dict.fromkeys([*below, *others], VALUE))
    prefix = range_of(wire(b"example"))
    with Reader(place) as reader:
        found = [one for batch in reader.batches(prefix) for one, _ in batch]
        rest = [one for batch in reader.batches(prefix, after=found[99]) for one, _ in batch]
    assert found == sorted(below)
    assert rest == found[100:]


def test_entries_of_a_name_are_found_among_whatever_lies_below_it(place: Path) -> None:
    rng = random.Random(3)
    names = [wire(*rng.choices(LABELS, k=rng.randrange(4))) for _ in range(150)]
    qtypes = [1, 28, 65, 255, 256, 257, 0x6162, 65280, 65535]
    questions = {
        Key(name, rng.choice(qtypes), rng.choice([1, 3, 257]), do=rng.random() < 0.5)
        for name in names
        for _ in range(4)
    }
    write_disk(place, {question.join(): VALUE for question in questions})
    with Reader(place) as reader:
        for name in {*names, wire(b"absent")}:
            of_name = {one for one in questions if one.name == name}
            assert set(reader.keys_of(name)) == {disk_key(one.join()) for one in of_name}
            for qtype in qtypes:
                assert set(reader.keys_of(name, qtype)) == {
                    disk_key(one.join()) for one in of_name if one.qtype == qtype
                }


def test_entries_are_found_again_when_there_are_more_keys_than_are_read_at_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect, "KEYS_AT_ONCE", 3)
    own = [Key(wire(b"example"), qtype) for qtype in (1, 28, 300, 65280)]
    below = [Key(wire(bytes((octet,)), b"example"), 1) for octet in range(97, 122)]
    write_disk(place, {one.join(): VALUE for one in own + below})
    with Reader(place) as reader:
        assert set(reader.keys_of(wire(b"example"))) == {disk_key(one.join()) for one in own}


def test_values_come_in_the_order_of_the_keys_without_those_that_are_gone(place: Path) -> None:
    one, two, gone = (disk_key(key(text)) for text in ("one", "two", "gone"))
    write_raw(place, {one: VALUE, two: VALUE})
    with Reader(place) as reader:
        assert list(reader.values([two, gone, one])) == [[(two, VALUE), (one, VALUE)]]


def test_what_is_written_meanwhile_is_seen(place: Path) -> None:
    write_disk(place, {key("one"): VALUE})
    other = disk_key(key("two"))
    script = (
        "import lmdb, sys\n"
        "with lmdb.open(sys.argv[1], max_dbs=2) as environment:\n"
        " entries = environment.open_db(b'entries')\n"
        " with environment.begin(write=True, db=entries) as transaction:\n"
        "  transaction.put(bytes.fromhex(sys.argv[2]), b'x')\n"
    )
    with Reader(place) as reader:
        command = [sys.executable, "-c", script, str(place), other.hex()]
        subprocess.run(command, check=True, timeout=30)
        assert reader.facts().entries == 2
        assert len(next(reader.batches())) == 2


def test_place_without_a_cache_is_told_from_one_that_cannot_be_read(place: Path) -> None:
    with pytest.raises(CacheAbsent, match="there is no disk cache at"):
        Reader(place)
    (place / "data.mdb").touch()  # what a full disk leaves
    with pytest.raises(CacheAbsent, match="there is no disk cache at"):
        Reader(place)
    (place / "data.mdb").write_bytes(b"x" * 10_000)
    with pytest.raises(CacheUnreadable, match="is damaged: "):
        Reader(place)
    assert sorted(path.name for path in place.iterdir()) == ["data.mdb"]
