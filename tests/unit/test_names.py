"""Names, types and classes as people write them, and as they are printed."""

from __future__ import annotations

import dns.name
import dns.rdatatype
import pytest

from fastdns.browse.names import (
    Key,
    parse_class,
    spell_class,
    spell_name,
    spell_rcode,
    spell_type,
)
from fastdns.config.names import parse_name
from fastdns.config.types import parse_type


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (".", b"\0"),
        ("com", b"\3com\0"),
        ("com.", b"\3com\0"),
        ("WWW.Example.COM", b"\3www\7example\3com\0"),
        (r"a\.b.com", b"\3a.b\3com\0"),
        (r"a\.", b"\2a.\0"),
        (r"\000\001.com", b"\2\0\1\3com\0"),
        (r"\065\255", b"\2a\xff\0"),
        (r"\\\"\;.x", b'\3\\";\1x\0'),
        ("x" * 63, b"\x3f" + b"x" * 63 + b"\0"),
        ("_sip._udp.*.x", b"\4_sip\4_udp\1*\1x\0"),
    ],
)
def test_name_is_read_as_in_a_zone_file(text: str, wire: bytes) -> None:
    assert parse_name(text) == wire


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("..", "has an empty label"),
        (".com", "has an empty label"),
        ("a..b", "has an empty label"),
        ("x" * 64, "has a label of 64 bytes; a label has at most 63"),
        (".".join(["x" * 63] * 4), "has 257 bytes; a name has at most 255"),
        ("a\\", "has a lone backslash"),
        ("a\\25", "has a lone backslash"),
        ("\\256", r"\256 is not a byte"),
        ("bücher.example", "is not in ASCII; write its A-labels"),
        ("a\udcff", "is not in ASCII"),
    ],
)
def test_impossible_name_is_told_in_a_printable_phrase(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as told:  # noqa: PT011 - the phrase is looked at below
        parse_name(text)
    assert problem in str(told.value)
    assert str(told.value).isprintable()


def test_printed_name_is_plain_ascii_and_reads_back_whatever_its_octets() -> None:
    for octet in range(256):
        wire = bytes((3, octet, ord("a"), octet, 1, octet, 0))
        text = spell_name(wire)
        assert text.isascii()
        assert text.isprintable()
        assert " " not in text
        assert text.endswith(".")
        assert parse_name(text) == wire.lower()
        assert dns.name.from_text(text).to_wire() == wire


def test_names_are_printed_as_dnspython_does() -> None:
    for octet in range(256):
        wire = bytes((1, octet, 0))
        assert spell_name(wire) == dns.name.from_wire(wire, 0)[0].to_text()
    assert spell_name(b"\0") == "."


def test_types_have_the_names_that_dnspython_knows() -> None:
    for rtype in dns.rdatatype.RdataType:
        if rtype:
            assert spell_type(rtype) == dns.rdatatype.to_text(rtype)
            assert parse_type(dns.rdatatype.to_text(rtype).lower()) == rtype


def test_type_or_class_without_a_name_has_its_number() -> None:
    assert (spell_type(65280), parse_type("type65280")) == ("TYPE65280", 65280)
    assert (spell_class(65280), parse_class("class65280")) == ("CLASS65280", 65280)
    assert (parse_type("TYPE1"), parse_class("CLASS3")) == (1, 3)
    assert (spell_rcode(3), spell_rcode(12)) == ("NXDOMAIN", "RCODE12")


@pytest.mark.parametrize("text", ["", "BOGUS", "TYPE", "TYPE65536", "TYPE-1", "CLASS1", "1", "A "])
def test_unknown_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a record type"):
        parse_type(text)


@pytest.mark.parametrize("text", ["", "INTERNET", "CLASS65536", "TYPE1"])
def test_unknown_class_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a class"):
        parse_class(text)


@pytest.mark.parametrize(
    "key", [Key(b"\0", 1), Key(b"\3com\0", 65535, 65535, True, True, 65535), Key(b"\1a\0", 256, 3)]
)
def test_key_is_put_together_as_it_was_taken_apart(key: Key) -> None:
    assert Key.split(key.join()) == key
