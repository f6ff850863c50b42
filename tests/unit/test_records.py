"""Records of a message as dig prints them."""

from __future__ import annotations

import struct

import pytest
from messages import (
    AAAA,
    CNAME,
    NAME,
    OPAQUE,
    SOA,
    TXT,
    A,
    address,
    answer_from,
    key,
    name,
    record,
    reply,
    soa,
)

from fastdns._clock import Moment
from fastdns._entry import DiskEntry, pack
from fastdns.browse.records import Record, read_records, relevant

URI, CAA, HINFO = 256, 257, 13


def records_of(wire: bytes, *, qtype: int = A, age: int = 0) -> list[Record]:
    """The records of a reply, once it has been kept."""
    entry = DiskEntry.parse(pack(answer_from(wire, of=key(qtype=qtype)), Moment.now()))
    return list(read_records(entry.message, entry.ttl_offsets, name(NAME), age))


def test_addresses_are_spelled_as_everywhere() -> None:
    wire = reply(record(AAAA, bytes(15) + b"\1"), qtype=AAAA)
    (found,) = records_of(wire, qtype=AAAA)
    assert found == (f"{NAME}.", "AAAA", 300, "::1", "IN", "ANSWER")


def test_ttls_are_what_is_left_of_them_and_never_negative() -> None:
    wire = reply(address(ttl=300), address(ttl=20))
    assert [one.ttl for one in records_of(wire, age=30)] == [270, 0]


def test_owner_of_each_record_is_its_own() -> None:
    wire = reply(
        record(CNAME, name("Target.example")), address(owner=name("target.example")), address()
    )
    # The last one does not belong to the chain, but stands here for any pointer to the question.
    records = records_of(reply(record(CNAME, name("Target.example"))))
    assert records[0].data == "Target.example."
    records = records_of(wire)
    assert [one.name for one in records] == [f"{NAME}.", "target.example.", f"{NAME}."]


def test_sections_are_told_apart() -> None:
    wire = reply(address(), authority=(soa(300, 60),), additional=(address(),))
    records = records_of(wire)
    assert [(one.section, one.type) for one in records] == [
        ("ANSWER", "A"),
        ("AUTHORITY", "SOA"),
        ("ADDITIONAL", "A"),
    ]
    assert relevant(records) == records[:1]
    assert relevant(records[1:]) == records[1:2]


@pytest.mark.parametrize(
    ("rtype", "rdata", "text"),
    [
        (TXT, b'\3a b\2"\\', r'"a b" "\"\\"'),
        (TXT, b"\4\x1b[2J", r'"\027[2J"'),
        (TXT, b"\2\xc3\xbc", r'"\195\188"'),
        (HINFO, b"\1\x07\1x", r'"\007" "x"'),
        (CAA, b"\0\5issue\x1b]0;", r'0 issue "\027]0;"'),
        (OPAQUE, b"\x1b[2J", r"\# 4 1b5b324a"),
        (OPAQUE, b"", r"\# 0"),
        (SOA, name("a\x1b.b") + name("") + bytes(20), r"a\027.b. . 0 0 0 0 0"),
        (99, b"\2\x1b\x9b", r'"\027\155"'),
    ],
)
def test_data_is_spelled_in_printable_ascii(rtype: int, rdata: bytes, text: str) -> None:
    wire = reply(record(rtype, rdata), qtype=rtype)
    (found,) = records_of(wire, qtype=rtype)
    assert found.data == text


@pytest.mark.parametrize("target", [b"http\x1b[2J", b"\xff\xfe", b"\x9b31m"])
def test_what_dnspython_would_print_as_it_is_stays_printable(target: bytes) -> None:
    wire = reply(record(URI, struct.pack("!HH", 1, 1) + target), qtype=URI)
    (found,) = records_of(wire, qtype=URI)
    assert found.data.isascii()
    assert found.data.isprintable()


def test_data_that_cannot_be_read_is_shown_as_octets() -> None:
    wire = reply(record(65, b"\0\1\0\0\1\0\1x"), qtype=65)  # a parameter that is not as it must be
    (found,) = records_of(wire, qtype=65)
    assert found.data == r"\# 8 0001000001000178"


@pytest.mark.parametrize(
    ("rtype", "rdata", "shown"),
    [
        (14, b"\xc0\x0c\x01e\xc0\x0c", "www.demo. e.www.demo."),
        (7, b"\xc0\x0c", "www.demo."),
        (7, b"\xc0\x0c\0", r"\# 3 c00c00"),
        (14, b"", r"\# 0"),
        (42, b"", r"\# 0"),
    ],
)
def test_names_of_old_types_are_spelled_out_of_their_message(
    rtype: int, rdata: bytes, shown: str
) -> None:
    """They may be compressed, and would mean nothing as octets."""
    name = b"\3www\4demo\0"
    head = bytes.fromhex("000081800001000100000000") + name + struct.pack("!HH", rtype, 1)
    message = head + b"\xc0\x0c" + struct.pack("!HHIH", rtype, 1, 60, len(rdata)) + rdata
    (record,) = read_records(message, [len(head) + 6], name, 0)
    assert record.data == shown
