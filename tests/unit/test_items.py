"""Which entries match, in which order, and their fields."""

from __future__ import annotations

import fnmatch
import random
from pathlib import Path

import pytest
from environments import ago, value_of, write_disk
from messages import A, Limits, address, answer_from, key, reply

from fastdns._clock import Moment
from fastdns._entry import DiskEntry
from fastdns._key import disk_key
from fastdns.browse.items import SORTS, Item, Judge, Wanted, find, find_sorted, read_item
from fastdns.browse.names import Key
from fastdns.browse.reader import Reader
from fastdns.config.names import parse_name

LIMITS = Limits(0, 86400, 3600, 5, False)
NAMES = [
    *("example.com", "www.example.com", "a.b.example.com", "notexample.com", "example.org"),
    *("com", "x", "1.2.3.in-addr.arpa", "_sip._tcp.example.com", "*.example.com"),
]
PATTERNS = [
    *(
        "*",
        "*.com",
        "*com",
        "*.example.com",
        "*example.com",
        "example.*",
        "example.com",
        "EXAMPLE.*",
    ),
    *("w?w.example.com", "[aw]*.example.com", "*.[co][or][mg]", "*.arpa.", "?", "[*].example.com"),
    *(
        "example.com",
        "_sip.*",
        "",
        ".",
        "*.",
        "com",
        "*.b.example.com",
        "[",
        "*..com",
        "*.example.com]",
    ),
]


def judge() -> Judge:
    return Judge(Moment.now(), 3600)


def item(
    name: str = "www.example.com", *, ttl: int = 300, stored: Moment | None = None, hits: int = 0
) -> Item:
    of = key(name, A)
    answer = answer_from(reply(address(ttl), qname=name), LIMITS, of)
    value = value_of(answer, stored or ago(0), hits=hits)
    return read_item(disk_key(of), value, judge())


def chosen(wanted: Wanted, items: list[Item]) -> list[str]:
    pairs = [
        (one.disk_key, value_of(one.entry.answer(), ago(1)))
        for one in items
        if one.disk_key.startswith(wanted.prefix)
    ]
    return [one.name for one in wanted.choose(pairs, judge())]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_finds_what_fnmatch_would_though_only_a_range_is_read(pattern: str) -> None:
    items = [item(name) for name in NAMES]
    plain = pattern.lower().removesuffix(".")
    expected = [f"{name}." for name in NAMES if fnmatch.fnmatchcase(name, plain)]
    assert chosen(Wanted(pattern=pattern), items) == expected


def test_pattern_with_a_literal_domain_reads_no_other_domain() -> None:
    assert Wanted(pattern="*.example.com").prefix == b"com\0example\0"
    assert Wanted(pattern="www.example.com.").prefix == b"com\0example\0www\0"
    assert Wanted(pattern="*example.com").prefix == b"com\0"
    assert Wanted(pattern="*").prefix == b""
    assert Wanted(pattern=r"*.a\.b").prefix == b""


def test_conditions_have_to_hold_together() -> None:
    items = [item(name) for name in NAMES]
    under = parse_name("example.com")
    assert chosen(Wanted(under=under, pattern="w*"), items) == ["www.example.com."]
    assert chosen(Wanted(under=under, qtype=28), items) == []
    assert chosen(Wanted(pattern="com", state="stale"), items) == []


def test_type_that_reads_like_a_label_does_not_lie_under_a_domain() -> None:
    under = Wanted(under=parse_name("x.example"))
    value = value_of(answer_from(reply(address())), ago(1))
    shorter = disk_key(Key(parse_name("example"), 0x7800).join())  # in its range: x and a zero
    assert shorter.startswith(under.prefix)
    assert list(under.choose([(shorter, value)], judge())) == []


def test_damaged_entries_are_counted_and_left_out() -> None:
    wanted = Wanted()
    good = disk_key(key()), value_of(answer_from(reply(address())), ago(1))
    assert len(list(wanted.choose([good, (good[0], good[1][:-1]), (b"", good[1])], judge()))) == 1
    assert wanted.damaged == 2


@pytest.mark.parametrize("by", SORTS)
def test_sorting_gives_the_best_first_with_any_limit(tmp_path: Path, by: str) -> None:
    rng = random.Random(by)
    values = {}
    for number in range(700):
        name = f"n{number}.example"
        answer = answer_from(
            reply(address(rng.randrange(1, 90_000)), *[address()] * rng.randrange(3), qname=name),
            LIMITS,
            key(name),
        )
        values[key(name)] = value_of(
            answer, ago(rng.randrange(200_000)), hits=rng.choice([0, 1, 2**32 - 1])
        )
    write_disk(tmp_path, values)
    rank = {
        "ttl": lambda one: one.until_expiry,
        "hits": lambda one: -one.entry.hits,
        "size": lambda one: -one.entry.size,
        "age": lambda one: -one.age,
    }[by]
    now = judge()
    with Reader(tmp_path) as reader:
        everything = [one for some in find(reader, Wanted(), now) for one in some]
        expected = sorted(map(rank, everything))
        for limit in (None, 1, 300, 5000):
            seen: list[int] = []
            found = [
                one
                for some in find_sorted(reader, Wanted(), now, by=by, limit=limit, seen=seen.append)
                for one in some
            ]
            assert list(map(rank, found)) == pytest.approx(expected[:limit], abs=0.01)
            assert sum(seen) == 700


def test_ttl_and_state_fall_with_age() -> None:
    last, first = item(ttl=300, stored=ago(299)), item(ttl=300, stored=ago(301))
    assert (last.ttl, last.state) == (1, "fresh")
    assert (first.ttl, first.state) == (0, "stale")
    assert item(ttl=300, stored=ago(3901)).state == "expired"


def test_clock_that_was_set_right_since_does_not_move_the_time_of_storing() -> None:
    now = Moment.now()
    in_1970 = Moment(5_000, now.boot_ms - 2_000, now.boot)
    found = item(stored=in_1970)
    assert found.age == pytest.approx(2, abs=0.5)
    assert found.stored_at == pytest.approx(now.wall_ms / 1000 - 2, abs=0.5)


def test_time_of_storing_is_as_it_was_told_where_the_clocks_agree() -> None:
    stored = ago(60)
    assert item(stored=stored).stored_at == stored.wall_ms / 1000


def test_records_of_an_entry_of_unknown_age_have_no_ttl_left() -> None:
    found = item(stored=Moment(0, 0, 0))
    assert [one.ttl for one in found.records()] == [0]
    assert found.as_json()["age"] is None


def test_entry_is_the_one_that_was_packed() -> None:
    found = item(hits=9)
    assert isinstance(found.entry, DiskEntry)
    assert found.as_json()["hits"] == 9
