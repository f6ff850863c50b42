"""The records of an answer as dig prints them.

Addresses, which are most of a cache, are printed here; dnspython prints the others, and is imported
for the first of them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..config.names import parse_name
from ..config.types import TYPES
from .names import CLASSES, spell_class, spell_name, spell_type

SECTIONS = ("ANSWER", "AUTHORITY", "ADDITIONAL")

_HEADER = 12
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, RDLENGTH
_TTL_AT = 4  # the position of the TTL in that
_TO_QUESTION = b"\xc0\x0c"  # a compression pointer to the name of the question
# Types whose RDATA is only names; RFC 1035 allows compressing them, so that the bytes have no
# meaning outside of their message.
NAMES = {TYPES["MINFO"]: 2, TYPES["TALINK"]: 2} | {
    TYPES[name]: 1 for name in ("MD", "MF", "MB", "MG", "MR")
}
_ADDRESSES = {TYPES["A"]: (socket.AF_INET, 4), TYPES["AAAA"]: (socket.AF_INET6, 16)}


class Record(NamedTuple):
    """One record: owner, type and class as text, remaining seconds, RDATA as in a zone file."""

    name: str
    type: str
    ttl: int
    data: str
    record_class: str
    section: str


def read_records(
    message: bytes, ttl_offsets: Sequence[int], name: bytes, age: int
) -> Iterator[Record]:
    """Yield the records of a well-formed message, TTLs reduced by the age.

    `name` is that of the question, in wire form: owners that point to it are printed like it.
    """
    spelled = spell_name(name)
    start = _HEADER + len(name) + 4
    for section, ttl_at in zip(_sections(message), ttl_offsets, strict=False):
        fixed_at = ttl_at - _TTL_AT
        rtype, rclass, ttl, length = _FIXED.unpack_from(message, fixed_at)
        at = fixed_at + _FIXED.size
        yield Record(
            spelled if message[start:fixed_at] == _TO_QUESTION else _owner(message, start),
            spell_type(rtype),
            max(0, ttl - age),
            _data(message, at, length, rtype, rclass),
            spell_class(rclass),
            section,
        )
        start = at + length


def spell_data(rtype: int, data: bytes) -> str:
    """Return RDATA of class IN that stands alone, without compressed names, as in a zone file."""
    return _data(data, 0, len(data), rtype, CLASSES["IN"])


def relevant(records: Sequence[Record]) -> list[Record]:
    """Return the answer section; of an answer without one, its SOA."""
    answers = [record for record in records if record.section == "ANSWER"]
    return answers or [record for record in records if record.section == "AUTHORITY"]


def targets_of(records: Iterable[Record]) -> Iterator[bytes]:
    """Yield the names in wire form to which CNAME records of an answer lead."""
    for record in records:
        if record.section == "ANSWER" and record.type == "CNAME":
            yield parse_name(record.data)


def _sections(message: bytes) -> Iterator[str]:
    for section, count in zip(SECTIONS, struct.unpack_from("!3H", message, 6), strict=True):
        for _ in range(count):
            yield section


def _owner(message: bytes, at: int) -> str:
    import dns.name  # noqa: PLC0415 - see above

    name = dns.name.from_wire(message, at)[0]
    return spell_name(name.to_wire() or b"\0")


def _data(message: bytes, at: int, length: int, rtype: int, rclass: int) -> str:
    family, octets = _ADDRESSES.get(rtype, (None, 0))
    if family is not None and rclass == CLASSES["IN"] and length == octets:
        return socket.inet_ntop(family, message[at : at + length])
    import dns.exception  # noqa: PLC0415
    import dns.rdata  # noqa: PLC0415
    from dns.rdataclass import RdataClass  # noqa: PLC0415
    from dns.rdatatype import RdataType  # noqa: PLC0415

    kind = RdataClass.make(rclass), RdataType.make(rtype)
    try:
        if rtype in NAMES:
            return _names(message, at, at + length, NAMES[rtype])
        read = dns.rdata.from_wire(*kind, message, at, length)
        # Some versions print the bytes of a type that they do not know in groups.
        text = "" if isinstance(read, dns.rdata.GenericRdata) else read.to_text()
    except (dns.exception.DNSException, ValueError, LookupError, struct.error):
        text = ""
    # dnspython copies the bytes of some types unescaped, and a zone's owner chooses them.
    if not text or not (text.isascii() and text.isprintable()):
        return _opaque(message[at : at + length])
    return text.rstrip()


def _names(message: bytes, at: int, end: int, count: int) -> str:
    import dns.name  # noqa: PLC0415

    names = []
    for _ in range(count):
        name, octets = dns.name.from_wire(message, at)
        names.append(spell_name(name.to_wire() or b"\0"))
        at += octets
    if at != end:
        raise ValueError("there is more than names in it")
    return " ".join(names)


def _opaque(data: bytes) -> str:
    """RFC 3597 section 5."""
    return f"\\# {len(data)} {data.hex()}".rstrip()


def import_all() -> None:
    """Import now what printing records may need: later its files may not be readable."""
    import dns.name  # noqa: F401, PLC0415
    from dns.rdata import get_rdata_class  # noqa: PLC0415
    from dns.rdataclass import IN  # noqa: PLC0415
    from dns.rdatatype import RdataType  # noqa: PLC0415

    for rtype in TYPES.values():
        get_rdata_class(IN, RdataType.make(rtype))  # type: ignore[no-untyped-call]
