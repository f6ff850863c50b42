"""Compiled block lists: what each of them says of each domain."""

from __future__ import annotations

import mmap
import random
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from fastdns._block_set import (
    ALLOWS,
    ANSWER_NXDOMAIN,
    IMPORTANT,
    ITSELF,
    UNDER,
    BlockSet,
    BlockSetBuilder,
    Entry,
    Pattern,
)
from fastdns._domain_sorter import DomainSorter
from fastdns._domains import DomainSet

BOTH = ITSELF | UNDER
A, AAAA = 1, 28


def wire(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


@pytest.fixture
def builder() -> BlockSetBuilder:
    return BlockSetBuilder()


def entries(lists: BlockSet, name: str) -> list[tuple[int, bool, list[Entry]]]:
    return [tuple(found) for found in lists.find(wire(name))]  # type: ignore[misc]


# ---- what is found


def test_each_domain_above_a_name_is_found_with_all_that_the_lists_say_of_it(
    builder: BlockSetBuilder,
) -> None:
    builder.add(wire("ads.demo"), 2, BOTH)
    builder.add(wire("ads.demo"), 0, ITSELF | ALLOWS)
    builder.add(wire("x.ads.demo"), 1, ITSELF, ANSWER_NXDOMAIN, (AAAA, A))
    lists = BlockSet(builder.compile())
    assert len(lists) == 2
    assert entries(lists, "x.ads.demo") == [
        (3, True, [Entry(1, ITSELF, ANSWER_NXDOMAIN, (A, AAAA))]),
        (2, False, [Entry(0, ITSELF | ALLOWS, 0, ()), Entry(2, BOTH, 0, ())]),
    ]
    assert entries(lists, "demo") == []


def test_order_in_which_lists_are_read_makes_no_difference() -> None:
    said = [(5, BOTH, 0, ()), (1, ITSELF, 0, (A,)), (1, BOTH | IMPORTANT, 0, ()), (3, UNDER, 2, ())]
    told = []
    for drawn in range(20):
        builder = BlockSetBuilder()
        for one in random.Random(drawn).sample(said, len(said)):
            builder.add(wire("a.demo"), *one)
        told.append(entries(BlockSet(builder.compile()), "a.demo"))
    assert [entry.source for entry in told[0][0][2]] == [1, 1, 3, 5]
    assert told == told[:1] * 20


def test_list_that_names_a_domain_and_what_is_under_it_says_so_once(
    builder: BlockSetBuilder,
) -> None:
    for flags in (UNDER, ITSELF, UNDER):
        builder.add(wire("a.demo"), 0, flags)
    assert entries(BlockSet(builder.compile()), "a.demo") == [(2, True, [Entry(0, BOTH, 0, ())])]


def test_set_of_types_is_those_or_all_but_those(builder: BlockSetBuilder) -> None:
    builder.add(wire("a.demo"), 0, BOTH, 0, (A, 65))
    builder.add(wire("b.demo"), 0, BOTH, 0, (-AAAA, -AAAA))
    lists = BlockSet(builder.compile())
    assert entries(lists, "b.demo") == [(2, True, [Entry(0, BOTH, 0, (-AAAA,))])]
    for number, members in ((0, {A, AAAA, 65, 16}), (1, {A, 65}), (2, {A, 65, 16}), (3, set())):
        assert {t for t in (A, AAAA, 65, 16) if lists.holds_for(number, t)} == members


def test_sources_and_patterns_are_told_as_they_were_given(builder: BlockSetBuilder) -> None:
    builder.add_pattern("^ad[sx]\\.", 1, BOTH | ALLOWS, 0, (A,))
    sources = [{"url": "https://a.demo/ü"}, {"url": "file:///b"}]
    lists = BlockSet(builder.compile(sources))
    assert lists.sources == sources
    assert lists.patterns == [Pattern("^ad[sx]\\.", 1, BOTH | ALLOWS, 0, (A,))]


@pytest.mark.parametrize("lists", [BlockSet(), BlockSet(BlockSetBuilder().compile())])
def test_without_lists_nothing_is_found(lists: BlockSet) -> None:
    assert (len(lists), entries(lists, "a.demo"), lists.sources, lists.patterns) == (0, [], [], [])
    assert lists.is_whole()


# ---- many


def test_every_domain_of_many_lists_that_overlap_is_found_with_its_own_lists() -> None:
    drawn = random.Random(15)
    zones = ("test", "x.example")
    names = [f"{drawn.getrandbits(32):x}.{drawn.choice(zones)}" for _ in range(9000)]
    expected = defaultdict(set)
    builder = BlockSetBuilder()
    for source in range(12):
        for name in drawn.sample(names, 3000):
            flags = drawn.choice((ITSELF, UNDER, BOTH))
            builder.add(wire(name), source, flags)
            expected[name].add((source, flags))
    block = builder.compile()
    lists = BlockSet(block)
    assert len(lists) == len(expected)
    for name, said in expected.items():
        (found,) = lists.find(wire(name))
        assert {(entry.source, entry.flags) for entry in found.entries} == said
        assert lists.find(wire(f"x{name}")) == []


def test_domain_of_hundreds_of_lists_has_all_of_them_in_one_combination() -> None:
    builder = BlockSetBuilder()
    for number in range(50):
        for source in random.Random(number).sample(range(400), 400):
            builder.add(wire(f"n{number}.demo"), source, BOTH)
    block = builder.compile()
    for number in range(50):
        (found,) = BlockSet(block).find(wire(f"n{number}.demo"))
        assert [entry.source for entry in found.entries] == list(range(400))
    assert len(block) < 400 * 8 * 400  # of the combinations that were made on the way, few


def test_domain_takes_less_than_12_bytes_whatever_lists_it_is_on() -> None:
    builder = BlockSetBuilder()
    for number in range(30_000):
        for source in range(number % 4):
            builder.add(wire(f"n{number}.demo"), source, BOTH)
    assert len(builder.compile()) < 12 * 22_500 + 1000


def test_parts_that_are_written_are_the_compiled_block(tmp_path: Path) -> None:
    builder = BlockSetBuilder()
    for number in range(20_000):
        builder.add(wire(f"n{number}.demo"), 0, BOTH)
    path = tmp_path / "compiled"
    with path.open("wb") as file:
        builder.write_to(file.write)
    assert path.read_bytes() == builder.compile()
    with path.open("rb") as file:
        lists = BlockSet(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert lists.is_whole()
    assert [found.labels for found in lists.find(wire("www.n7.demo"))] == [2]


@pytest.mark.parametrize("count", [1, 5, 6, 11, 12, 100, 1000, 1024, 1025, 5000])
def test_set_of_any_size_has_all_its_domains(count: int) -> None:
    for _ in range(3):  # with a key of its own each time
        sorter = DomainSorter()
        for number in range(count):
            sorter.add_domain(wire(f"n{number}.demo"), number + 1)
            sorter.add_domain(wire(f"n{number // 2}.demo"), number // 2 + 1)
        block = bytearray()
        assert sorter.write(block.extend) == len(block)
        domains = DomainSet(block)
        assert len(domains) == count
        for number in range(count):
            assert domains.find(wire(f"n{number}.demo")) == [(2, number + 1)]


# ---- what is refused


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ((b"a", 0, BOTH), "wire form"),
        ((b"\1A\0", 0, BOTH), "wire form"),
        ((b"\1a\0", -1, BOTH), "0 to 65534"),
        ((b"\1a\0", 65535, BOTH), "0 to 65534"),
        ((b"\1a\0", 0, 0), "flags"),
        ((b"\1a\0", 0, ALLOWS), "flags"),
        ((b"\1a\0", 0, 16 | BOTH), "flags"),
        ((b"\1a\0", 0, BOTH, 5), "action"),
        ((b"\1a\0", 0, BOTH, 0, (0,)), "set of types"),
        ((b"\1a\0", 0, BOTH, 0, (65536,)), "set of types"),
        ((b"\1a\0", 0, BOTH, 0, (-1, 28)), "set of types"),
    ],
)
def test_entry_that_says_nothing_is_refused(
    builder: BlockSetBuilder, entry: tuple[bytes, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        builder.add(*entry)
    assert len(BlockSet(builder.compile())) == 0


def with_checksum(block: bytes) -> bytes:
    """What a file has whose writer was wrong."""
    (domains_at,) = struct.unpack("=Q", block[40:48])
    return block[:16] + struct.pack("=I", zlib.crc32(block[20:domains_at])) + block[20:]


def changed(at: int, value: int) -> Callable[[bytes], bytes]:
    return lambda block: with_checksum(block[:at] + struct.pack("=I", value) + block[at + 4 :])


@pytest.mark.parametrize(
    "damage",
    [
        lambda block: b"",
        lambda block: block[:63],
        lambda block: block[:-1],
        lambda block: block[: len(block) // 2],
        lambda block: block + b"\0",
        lambda block: b"x" + block[1:],
        lambda block: block[:70] + b"\1" + block[71:],
        changed(20, 2**32 - 1),  # combinations
        changed(24, 2**32 - 1),  # memberships
        changed(24, 1),
        changed(28, 2**32 - 1),  # sets of types
        changed(32, 2**32 - 1),  # types in them
        changed(36, 2**32 - 1),  # JSON
        changed(64, 1),  # where the first combination begins
        changed(68, 9),  # the second
        changed(68, 0),
    ],
)
def test_damaged_block_is_refused(
    builder: BlockSetBuilder, damage: Callable[[bytes], bytes]
) -> None:
    builder.add(wire("a.demo"), 0, BOTH, 0, (A,))
    builder.add(wire("b.demo"), 1, BOTH)
    block = bytes(builder.compile())
    assert len(BlockSet(with_checksum(block))) == 2
    with pytest.raises(ValueError, match="compiled"):
        BlockSet(damage(block))


def test_damaged_table_of_domains_is_recognized_and_finds_no_lists_that_are_not_there(
    builder: BlockSetBuilder,
) -> None:
    for number in range(100):
        builder.add(wire(f"n{number}.demo"), 0, BOTH)
    block = builder.compile()
    (domains_at,) = struct.unpack("=Q", block[40:48])
    for at in range(domains_at + 128, len(block) - 8, 8):
        block[at : at + 3] = b"\xff\xff\xff"  # the value
    lists = BlockSet(block)
    assert not lists.is_whole()
    for number in range(100):
        (found,) = lists.find(wire(f"n{number}.demo"))
        assert found.entries == []
