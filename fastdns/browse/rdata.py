"""RDATA from the text of a zone file, of every type and as odd as upstreams send it.

It reads what dnspython prints, but dnspython also validates: it refuses types without a text form,
empty RDATA and an `ech` that is not an ECHConfigList. We only store others' answers; the code that
reads answers judges them on the wire.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from ..config.types import TYPES
from .records import NAMES

_SERVICES = (TYPES["SVCB"], TYPES["HTTPS"])
_ECH = 5  # RFC 9460 section 14.3.2
_ECH_PARAMETER = re.compile(r"""(?:^|\s)ech(?:=("[^"]*"|\S*))?(?=\s|$)""")
_GENERIC = re.compile(r"\\#\s+(\d+)((?:\s+[0-9A-Fa-f]+)*)\s*(?:;.*)?")  # RFC 3597 section 5
_PARAMETER = struct.Struct("!HH")


def parse_rdata(rclass: str, rtype: str, text: str) -> dns.rdata.Rdata:
    """Return the RDATA of the text; no text: empty RDATA. ValueError: it is not valid."""
    kind = dns.rdataclass.from_text(rclass), type_of(rtype)
    if not text:
        return dns.rdata.GenericRdata(*kind, b"")
    if generic := _GENERIC.fullmatch(text):
        octets = bytes.fromhex(generic[2])
        if len(octets) != int(generic[1]):
            raise ValueError("the RDATA is not as long as it states")
        return dns.rdata.GenericRdata(*kind, octets)
    if kind[1] in NAMES:
        return dns.rdata.GenericRdata(*kind, _names(text, NAMES[kind[1]]))
    if kind[1] in _SERVICES and (ech := _ECH_PARAMETER.search(text)):
        rest = text[: ech.start()] + text[ech.end() :]
        return dns.rdata.GenericRdata(*kind, _with_ech(_read(*kind, rest), ech[1] or ""))
    return _read(*kind, text)


def type_of(word: str) -> dns.rdatatype.RdataType:
    """Return the type of this name: dnspython's oldest version does not know all."""
    number = TYPES.get(word.upper())
    return dns.rdatatype.from_text(word) if number is None else dns.rdatatype.RdataType.make(number)


def _read(rclass: int, rtype: int, text: str) -> dns.rdata.Rdata:
    try:
        return dns.rdata.from_text(rclass, rtype, text)  # type: ignore[arg-type]
    except (ValueError, dns.exception.DNSException):
        raise
    except Exception as error:  # which errors such a text causes differs by version
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _names(text: str, count: int) -> bytes:
    words = text.partition(";")[0].split()
    if len(words) != count:
        raise ValueError(f"has {len(words)} names instead of {count}")
    return b"".join(dns.name.from_text(word).to_wire() or b"\0" for word in words)


def _with_ech(rdata: dns.rdata.Rdata, value: str) -> bytes:
    """Return the RDATA of a service with this parameter, whatever its value."""
    try:
        ech = base64.b64decode(value.strip('"'), validate=True)
    except binascii.Error as error:
        raise ValueError(f"ech is not base64: {error}") from None
    octets = rdata.to_wire() or b""
    _, used = dns.name.from_wire(octets, 2)
    at = 2 + used
    while at < len(octets):
        key, length = _PARAMETER.unpack_from(octets, at)
        if key > _ECH:
            break
        at += _PARAMETER.size + length
    return octets[:at] + _PARAMETER.pack(_ECH, len(ech)) + ech + octets[at:]
