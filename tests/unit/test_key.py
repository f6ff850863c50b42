"""Keys on disk: a domain and all names under it are one range, and no two questions share a key."""

from __future__ import annotations

import random

import pytest
from messages import AAAA, CHAOS, key, name

from fastdns._key import (
    cache_key,
    disk_key,
    is_under,
    make_key,
    name_of,
    range_of,
    split_key,
    type_of,
)

LMDB_MAX = 511
TAIL = b"\0\1\0\1\0\0\0"  # A, IN, no flags, no view


def wire(*labels: bytes) -> bytes:
    """A name of labels that may hold anything."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def longest(octet: bytes) -> bytes:
    """A name of 255 octets."""
    return wire(*[octet * length for length in (63, 63, 63, 61)])


NASTY = [
    wire(),
    wire(b"\0"),
    wire(b"\1"),
    wire(b"\2"),
    wire(b"\0", b"\0"),
    wire(b"\0\0"),
    wire(b"\1\1", b"\1"),
    wire(b"a\0b", b"com"),
    wire(b"b", b"a", b"com"),
    wire(b"a.b", b"com"),
    wire(b"\xff" * 63, b"com"),
    wire(*[b"x"] * 127),
    longest(b"\0"),
    longest(b"\1"),
    longest(b"\xff"),
]


def some_name(rng: random.Random) -> bytes:
    """A name out of few labels, so that many lie under each other."""
    labels = [b"a", b"b", b"\0", b"\1", b"\2", b"a\0", b"\0\1", b"ab", b"\0\1\0\1", b"com"]
    return wire(*rng.choices(labels, k=rng.randrange(5)))


def test_labels_stand_in_reverse_and_each_ends_with_a_zero_octet() -> None:
    assert disk_key(key("www.example.com")) == b"com\0example\0www\0" + TAIL


def test_root_is_its_tail_alone() -> None:
    assert disk_key(key("")) == TAIL
    assert cache_key(TAIL) == key("")


def test_octets_that_would_end_a_label_or_start_an_escape_are_escaped() -> None:
    assert disk_key(wire(b"\0\1\2") + TAIL) == b"\1\1\1\2\2\0" + TAIL


@pytest.mark.parametrize("qname", NASTY)
def test_key_comes_back_as_it_was(qname: bytes) -> None:
    assert cache_key(disk_key(qname + TAIL)) == qname + TAIL


def test_every_octet_of_the_tail_is_kept() -> None:
    for place in range(7):
        tail = bytes(0xFF if i == place else 0 for i in range(7))
        assert disk_key(name("example") + tail) == b"example\0" + tail
        assert cache_key(disk_key(name("example") + tail)) == name("example") + tail


def test_longest_name_of_nul_octets_has_a_key_that_lmdb_takes() -> None:
    assert len(disk_key(longest(b"\0") + TAIL)) == LMDB_MAX
    assert len(disk_key(longest(b"\1") + TAIL)) == LMDB_MAX


def test_no_two_questions_share_a_key() -> None:
    rng = random.Random(1)
    names = {some_name(rng) for _ in range(3000)} | set(NASTY)
    tails = {TAIL, b"\0\0\0\0\0\0\0", b"a\0a\0\0\0\0", b"\1\1\0\1\1\0\0"}
    keys = {qname + tail for qname in names for tail in tails}
    assert len({disk_key(one) for one in keys}) == len(keys)


def test_range_of_a_domain_has_it_and_all_under_it() -> None:
    rng = random.Random(2)
    keys = [some_name(rng) + TAIL for _ in range(400)]
    for domain in {some_name(rng) for _ in range(100)}:
        start = range_of(domain)
        inside = {one for one in keys if disk_key(one).startswith(start)}
        under = {one for one in keys if is_under(one, domain)}
        assert under == {one for one in keys if one[:-7].endswith(domain) and is_label(one, domain)}
        assert under <= inside


def is_label(key: bytes, domain: bytes) -> bool:
    """True when the domain starts where a label of the key starts."""
    starts = {0}
    at = 0
    while key[at]:
        at += key[at] + 1
        starts.add(at)
    return len(key) - 7 - len(domain) in starts


def test_range_of_the_root_is_everything() -> None:
    assert range_of(b"\0") == b""


def test_range_of_a_domain_leaves_its_neighbours_out() -> None:
    start = range_of(name("example.com"))
    for other in (
        "example.co",
        "examplf.com",
        "notexample.com",
        "example",
        "com",
        "example.com.au",
    ):
        assert not disk_key(key(other)).startswith(start)


def test_type_that_reads_like_a_label_is_in_the_range_but_not_under_the_domain() -> None:
    question = name("com") + b"ab\0\1\0\0\0"  # type 24930
    assert disk_key(question).startswith(range_of(name("ab.com")))
    assert not is_under(question, name("ab.com"))


@pytest.mark.parametrize(
    ("qname", "domain", "expected"),
    [
        (name("example.com"), name("example.com"), True),
        (name("www.example.com"), name("example.com"), True),
        (name("a.b.c.example.com"), name("example.com"), True),
        (name("www.example.com"), name(""), True),
        (name(""), name(""), True),
        (name("notexample.com"), name("example.com"), False),
        (name("com"), name("example.com"), False),
        (name(""), name("com"), False),
        (name("example.com.au"), name("example.com"), False),
        # The last octets are those of the domain, but in the midst of a label.
        (wire(b"x\7example\3com"), name("example.com"), False),
        (wire(b"x" + name("example.com")[:-1]), name("example.com"), False),
    ],
)
def test_under_goes_by_whole_labels(qname: bytes, domain: bytes, expected: bool) -> None:
    assert is_under(qname + TAIL, domain) is expected


def test_type_and_class_do_not_matter_to_under() -> None:
    assert is_under(key("www.example", AAAA, CHAOS, do=True), name("example"))


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        TAIL,  # no name
        b"\0" + TAIL[:-1],
        b"\3ab\0" + TAIL,  # a label that is longer than the name
        b"\3com" + TAIL,  # no root
        b"\3com\0\0" + TAIL,  # octets after the root
        b"\3Com\0" + TAIL,
        b"\x40" + b"a" * 64 + b"\0" + TAIL,
        b"\xc0\x0c" + TAIL,
        wire(*[b"x"] * 128) + TAIL,
        b"\0" * 263,
        b"\1x" * 40_000 + TAIL,
    ],
)
def test_what_is_no_cache_key_has_no_disk_key(bad: bytes) -> None:
    with pytest.raises(ValueError, match="not the key"):
        disk_key(bad)
    with pytest.raises(ValueError, match="not the key"):
        is_under(bad, b"\0")


@pytest.mark.parametrize(
    "bad",
    [b"", b"\3com", b"\3Com\0", b"\3com\0\0", b"\xc0\x0c", b"\0\0", wire(*[b"x"] * 128)],
)
def test_what_is_no_name_has_no_range(bad: bytes) -> None:
    with pytest.raises(ValueError, match="wire form"):
        range_of(bad)
    with pytest.raises(ValueError, match="wire form"):
        is_under(key(), bad)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        TAIL[:-1],
        b"com" + TAIL,  # a label without an end
        b"\0" + TAIL,  # an empty label
        b"com\0\0" + TAIL,
        b"com\1\0" + TAIL,  # half an escape
        b"com\1\3\0" + TAIL,
        b"com\1" + TAIL,
        b"Com\0" + TAIL,
        b"a" * 64 + b"\0" + TAIL,
        b"x\0" * 128 + TAIL,
        b"a" * 505 + TAIL,
    ],
)
def test_what_is_no_disk_key_is_said_to_be_none(bad: bytes) -> None:
    with pytest.raises(ValueError, match="not a key of this cache"):
        cache_key(bad)


def test_whatever_is_taken_for_a_disk_key_is_the_only_spelling_of_its_question() -> None:
    rng = random.Random(3)
    taken = 0
    for _ in range(30_000):
        octets = bytes(rng.choices((0, 1, 2, 3, 97, 65, 255), k=rng.randrange(24)))
        try:
            question = cache_key(octets)
        except ValueError:
            continue
        taken += 1
        assert disk_key(question) == octets
    assert taken > 1000


def test_key_is_made_of_the_parts_that_it_is_split_into() -> None:
    whole = make_key(wire(b"www", b"com"), 257, 3, do=True, cd=True, view=65535)

    assert split_key(whole) == (wire(b"www", b"com"), 257, 3, True, True, 65535)
    assert name_of(whole) == wire(b"www", b"com")
    assert type_of(whole) == type_of(disk_key(whole)) == 257


@pytest.mark.parametrize("octets", [b"", TAIL, wire(*[b"x"] * 128) + TAIL])
def test_what_is_no_key_is_not_split(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a key"):
        split_key(octets)
