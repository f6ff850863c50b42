"""Packets put together by hand, so that they can be wrong in any way a test wants."""

from __future__ import annotations

import struct

QUERY_RD = 0x0100
REPLY = 0x8180  # QR, RD, RA, NOERROR
A, NS, CNAME, SOA, MX, TXT, AAAA, OPT = 1, 2, 5, 6, 15, 16, 28, 41
TO_QUESTION = b"\xc0\x0c"  # a compression pointer to the name of the question


def header(id_: int, flags: int, *counts: int) -> bytes:
    """QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT in counts; those left out are 0."""
    return struct.pack("!6H", id_, flags, *counts, *[0] * (4 - len(counts)))


def name(text: str | bytes) -> bytes:
    """A name in wire form, uncompressed; its labels are split at dots and not checked."""
    octets = text.encode() if isinstance(text, str) else text
    labels = [label for label in octets.split(b".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(text: str | bytes, rdtype: int = A, rdclass: int = 1) -> bytes:
    return name(text) + struct.pack("!HH", rdtype, rdclass)


def rr(
    owner: bytes,
    rdtype: int,
    rdata: bytes,
    ttl: int = 300,
    *,
    rdclass: int = 1,
    rdlength: int | None = None,
) -> bytes:
    """A record; owner is in wire form, and rdlength says the truth unless a test lets it lie."""
    length = len(rdata) if rdlength is None else rdlength
    return owner + struct.pack("!HHIH", rdtype, rdclass, ttl, length) + rdata


def opt(
    size: int = 1232,
    *,
    extended_rcode: int = 0,
    version: int = 0,
    flags: int = 0,
    rdata: bytes = b"",
) -> bytes:
    ttl = extended_rcode << 24 | version << 16 | flags
    return rr(b"\0", OPT, rdata, ttl=ttl, rdclass=size)


def id_of(wire: bytes) -> int:
    return struct.unpack_from("!H", wire)[0]


def question_of(wire: bytes) -> bytes:
    """The question section of a query, octet by octet, whatever its spelling."""
    end = 12
    while wire[end]:
        end += 1 + wire[end]
    return wire[12 : end + 5]


def reply_to(
    query: bytes, *answers: bytes, flags: int = REPLY, counts: tuple[int, ...] | None = None
) -> bytes:
    """A reply to query with these answer records; flags and counts are true unless given."""
    shown = counts or (1, len(answers), 0, 0)
    return header(id_of(query), flags, *shown) + question_of(query) + b"".join(answers)


def a_record(address: str, owner: bytes = TO_QUESTION, ttl: int = 300) -> bytes:
    return rr(owner, A, bytes(map(int, address.split("."))), ttl)
