"""The compiled set of domains: which suffixes of a name are in it."""

from __future__ import annotations

import mmap
import random
import struct
from pathlib import Path

import pytest

from fastdns._domain_lists import read_domains
from fastdns._domains import DomainHashes, DomainSet, DomainSetBuilder

DEEPEST = ".".join("a" * 127)  # 255 octets in wire form


def wire(name: str) -> bytes:
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def compiled(*names: str) -> DomainSet:
    builder = DomainSetBuilder()
    for number, name in enumerate(names):
        builder.add(wire(name), number + 1)
    return DomainSet(builder.compile())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("corp.example", [(2, 1)]),
        ("a.b.corp.example", [(2, 1)]),
        ("deep.corp.example", [(3, 2), (2, 1)]),
        ("x.deep.corp.example", [(3, 2), (2, 1)]),
        ("xcorp.example", []),
        ("example", []),
        ("corp.example.org", [(1, 3)]),
        ("org", [(1, 3)]),
        ("", []),
    ],
)
def test_suffixes_of_a_name_are_found_the_longest_first(
    name: str, found: list[tuple[int, int]]
) -> None:
    domains = compiled("corp.example", "deep.corp.example", "org")
    assert domains.find(wire(name)) == found


def test_root_is_a_suffix_of_every_name() -> None:
    domains = compiled("", "demo")
    assert domains.find(wire("a.demo")) == [(1, 2), (0, 1)]
    assert domains.find(wire("")) == [(0, 1)]


def test_longest_name_is_found_with_all_its_suffixes() -> None:
    suffixes = [".".join("a" * count) for count in range(1, 128)]
    domains = compiled(*suffixes)
    assert domains.find(wire(DEEPEST)) == [(count, count) for count in range(127, 0, -1)]


@pytest.mark.parametrize("domains", [DomainSet(), DomainSet(DomainSetBuilder().compile())])
def test_empty_set_has_nothing(domains: DomainSet) -> None:
    assert (len(domains), domains.find(wire("a.demo"))) == (0, [])


def test_domain_that_is_given_again_keeps_its_value() -> None:
    builder = DomainSetBuilder()
    assert builder.add(wire("a.demo"), 7) == 7
    assert builder.add(wire("a.demo"), 8) == 7
    assert len(builder) == 1
    assert DomainSet(builder.compile()).find(wire("a.demo")) == [(2, 7)]


def test_every_one_of_many_domains_is_found_and_no_other_in_less_than_12_octets_each() -> None:
    drawn = random.Random(14)
    names = list(
        {f"{drawn.getrandbits(40):x}.{drawn.choice(['test', 'example'])}" for _ in range(50_000)}
    )
    builder = DomainSetBuilder()
    for number, name in enumerate(names):
        builder.add(wire(name), number + 1)
    block = builder.compile()
    assert len(block) < 12 * len(names) + 256
    domains = DomainSet(block)
    for number, name in enumerate(names):
        assert domains.find(wire(f"www.{name}")) == [(2, number + 1)]
        assert domains.find(wire(f"x{name}")) == []


def test_name_is_found_in_a_mapped_file_as_in_memory(tmp_path: Path) -> None:
    builder = DomainSetBuilder()
    builder.add(wire("a.demo"), 1)
    path = tmp_path / "domains"
    path.write_bytes(builder.compile())
    with path.open("rb") as file:
        domains = DomainSet(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert domains.find(wire("www.a.demo")) == [(2, 1)]


@pytest.mark.parametrize("name", [b"", b"\1a", b"\1A\0", b"\1a\0\0", b"\100" + b"a" * 64 + b"\0"])
def test_what_is_no_name_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="wire form"):
        DomainSetBuilder().add(name, 1)
    with pytest.raises(ValueError, match="wire form"):
        DomainSet().find(name)


@pytest.mark.parametrize("value", [0, 2**24])
def test_value_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="1 to 16777215"):
        DomainSetBuilder().add(wire("a.demo"), value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda block: block[:-1],
        lambda block: block[:100],
        lambda block: block + b"\0",
        lambda block: b"",
        lambda block: b"x" + block[1:],
        lambda block: block[:40] + struct.pack("=Q", 2**40) + block[48:],  # lines
        lambda block: block[:64] + struct.pack("=I", 128) + block[68:],  # the deepest
        lambda block: block[:68] + struct.pack("=I", 65) + block[72:],  # the longest run
    ],
)
def test_damaged_block_is_refused(damage: object) -> None:
    builder = DomainSetBuilder()
    builder.add(wire("a.demo"), 1)
    block = bytes(builder.compile())
    assert callable(damage)
    with pytest.raises(ValueError, match="compiled set of domains"):
        DomainSet(damage(block))


def test_table_full_of_rubbish_ends_a_look_up(tmp_path: Path) -> None:
    builder = DomainSetBuilder()
    for number in range(100):
        builder.add(wire(f"n{number}.demo"), 1)
    block = builder.compile()
    block[128:] = b"\xff" * (len(block) - 128)
    assert DomainSet(block).find(wire("a.demo")) == []


# ---- lists


def test_list_is_put_into_another_set_without_its_names() -> None:
    first = DomainSetBuilder()
    listed, _, _ = read_domains(b"a.demo\nb.c.demo\na.demo\n", first.key, 9)
    assert (len(listed), listed.count) == (3, 3)
    second = DomainSetBuilder(first.key)
    second.add(wire("a.demo"), 7)
    assert second.add_all(listed, 1) == 2
    domains = DomainSet(second.compile())
    assert len(domains) == 2
    assert domains.find(wire("x.a.demo")) == [(2, 7)]
    assert domains.find(wire("x.b.c.demo")) == [(3, 1)]


def test_list_with_another_key_or_an_impossible_value_is_refused() -> None:
    builder = DomainSetBuilder()
    listed, _, _ = read_domains(b"a.demo\n", builder.key, 9)
    with pytest.raises(ValueError, match="another key"):
        DomainSetBuilder().add_all(listed, 1)
    with pytest.raises(ValueError, match="1 to 16777215"):
        builder.add_all(listed, 0)
    for key in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            DomainSetBuilder(key)
        with pytest.raises(ValueError, match="16 bytes"):
            DomainHashes(key)
