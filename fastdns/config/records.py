"""Resource records as zone files have them: "nas.lan. 300 A 192.168.1.10".

dnspython reads the data of a record. It is imported with the first record: a daemon that has none
does not keep it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from ipaddress import ip_address
from typing import Any

import attrs

from .files import absolute_path
from .names import parse_name
from .text import describe, escape, nearest, quote, shorten
from .types import TYPES
from .values import MAX_TTL, Record, RecordFile

TTL_DEFAULT = 60  # seconds
DATA_MAX = 16384  # bytes; all records of a name have to fit an answer
CLASS_IN = 1
_CLASSES = frozenset({"IN", "CH", "HS"})
_PSEUDO = frozenset({41, 128, 249, 250, 251, 252, 253, 254, 255})  # OPT, NXNAME, TKEY … ANY
_TTL = re.compile(r"\d{1,10}|(\d{1,10}[smhdwSMHDW])+")
_TTL_PART = re.compile(r"(\d+)([a-zA-Z]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EXAMPLE = "nas.lan. 300 A 192.168.1.10"
_EXAMPLES = {
    "A": "192.168.1.10",
    "AAAA": "fd00::10",
    "CNAME": "nas.lan.",
    "PTR": "nas.lan.",
    "MX": "10 mail.lan.",
    "SRV": "0 0 5060 phone.lan.",
    "TXT": "hello",
}


@attrs.frozen
class Problem:
    """A line of a file that is not a record; `reason` is one phrase."""

    line: int
    reason: str


@attrs.frozen
class Defaults:
    """What a record has that does not say so itself: $ORIGIN and $TTL of a zone file."""

    origin: str = ""
    ttl: int = TTL_DEFAULT


def parse_records(text: str) -> Record | RecordFile:
    """Return the record, or the file of records, that is named. ValueError with one phrase."""
    if text.startswith("file:"):
        return RecordFile(absolute_path(text.removeprefix("file:")))
    return parse_record(text)


def parse_record(text: str, defaults: Defaults | None = None) -> Record:
    """Return the record of a line. ValueError with one phrase.

    TTL and class may be left out, and stand in either order. A name without a final dot is below
    the origin, which is the root unless a zone file has another.
    """
    defaults = defaults or Defaults()
    owner, *words = text.split() or [""]
    if not owner or "\n" in text:
        raise ValueError(f"{describe(text)} is not one record (try {quote(_EXAMPLE)})")
    ttl, used = defaults.ttl, 1
    for word in words[:2]:
        if word.upper() in _CLASSES:
            if word.upper() != "IN":
                raise ValueError(f"{describe(text)}: the class of a local record is IN")
        elif _TTL.fullmatch(word):
            ttl = _ttl(word)
        else:
            break
        used += 1
    kind, data = [*text.split(maxsplit=used + 1)[used:], "", ""][:2]
    if not defaults.origin and (remedy := _reversed(owner, kind, data)):
        raise ValueError(f"{describe(text)}: {describe(owner)} is an address ({remedy})")
    name = parse_name(_absolute(owner, defaults.origin))
    rtype = _type_of(kind, text)
    return Record(text, name, rtype, ttl, _data(rtype, kind.upper(), data, text, defaults.origin))


def read_records(text: str) -> Iterator[tuple[int, Record] | Problem]:
    """Yield the records of a file, each with its line, and what is wrong with the other lines.

    One record a line. Comments (";" or "#"), $ORIGIN and $TTL are as in zone files; a line that
    begins with a space has the name of the record before.
    """
    defaults = Defaults()
    owner = ""
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip()
        if not content or content[0] in "#;":
            continue
        try:
            if content[0] == "$":
                defaults = _directive(content, defaults)
                continue
            if line[0].isspace() and owner:
                content = f"{owner} {content}"
            owner = content.split()[0]
            record = parse_record(content, defaults)
        except ValueError as error:
            yield Problem(number, str(error))
        else:
            yield number, record


def _directive(line: str, defaults: Defaults) -> Defaults:
    word, *values = line.split(";", maxsplit=1)[0].split()
    if word.upper() == "$ORIGIN" and len(values) == 1:
        origin = _absolute(values[0], defaults.origin)
        parse_name(origin)
        return attrs.evolve(defaults, origin=origin)
    if word.upper() == "$TTL" and len(values) == 1 and _TTL.fullmatch(values[0]):
        return attrs.evolve(defaults, ttl=_ttl(values[0]))
    raise ValueError(f"{describe(line)} is not a directive (try $ORIGIN lan. or $TTL 1h)")


def _absolute(name: str, origin: str) -> str:
    if name == "@":
        return origin or "."
    if name.endswith(".") and not name.endswith("\\."):
        return name
    return f"{name}.{origin}".rstrip(".") + "."


def _ttl(word: str) -> int:
    ttl = sum(int(number) * _UNITS[unit.lower()] for number, unit in _TTL_PART.findall(word))
    if ttl > MAX_TTL:
        raise ValueError(f"{describe(word)} is not a TTL (at most {MAX_TTL:.0f} seconds)")
    return ttl


def _dnspython(name: str) -> Any:
    """Return one of its modules."""
    try:
        return import_module(f"dns.{name}")
    except ImportError as error:  # a daemon that is no longer root may not read it
        raise ValueError(
            f"records need dnspython, which this process cannot read ({error}); install "
            "python3-dnspython, and start fastdns again"
        ) from None


def _type_of(kind: str, text: str) -> int:
    types = _dnspython("rdatatype")
    try:
        rtype = int(types.from_text(kind))
    except Exception:  # which errors a text causes differs by version of dnspython
        rtype = 0
    if not rtype:
        what = f"{describe(kind)} is not a type of records" if kind else "the type is missing"
        near = nearest(kind.upper(), _EXAMPLES) or nearest(kind.upper(), TYPES)
        remedy = f"try {quote(_example('A', text, kind))}"
        if near:
            remedy = f"did you mean {near}?"
        raise ValueError(f"{describe(text)}: {what} ({remedy})")
    if types.is_metatype(rtype) or rtype in _PSEUDO:
        raise ValueError(f"{describe(text)}: no record has the type {kind.upper()}")
    return rtype


def _data(rtype: int, kind: str, data: str, text: str, origin: str) -> bytes:
    """Return the data in wire form, without compressed names."""
    rdata, names = _dnspython("rdata"), _dnspython("name")
    try:
        # Unlike the owner's name, those in the data may be in letters beyond ASCII.
        above = names.from_text(origin or ".")
        record = rdata.from_text(CLASS_IN, rtype, data, origin=above, relativize=False)
        octets: bytes = record.to_wire(origin=above)
    except Exception as error:  # which errors a text causes differs by version of dnspython
        what = f"{describe(data)} is not the data of a record of type {kind}"
        if not data:
            what = f"the data of type {kind} is missing"
        hint = f"try {quote(_example(kind, text))}" if kind in _EXAMPLES else _reason(str(error))
        raise ValueError(f"{describe(text)}: {what}{hint and data and f' ({hint})'}") from None
    if len(octets) > DATA_MAX:
        raise ValueError(f"{describe(text)}: the data has more than {DATA_MAX} bytes")
    # The names in a chain of CNAME records are looked up as they are.
    return octets.lower() if kind == "CNAME" else octets


def _reason(error: str) -> str:
    """Return what dnspython says of data, in our words."""
    reason = error.rstrip(".").replace("octet", "byte").replace("Text input", "it")
    if "expecting" in reason or "ended unexpectedly" in reason:
        return "something is missing"
    return escape(shorten(reason))


def _reversed(owner: str, kind: str, data: str) -> str:
    """Return the remedy for an address in place of a name; "": it is a name."""
    try:
        name = f"{ip_address(owner.rstrip('.')).reverse_pointer}."
    except ValueError:
        return ""
    if kind.upper() == "PTR":
        return f"try {quote(f'{name} PTR {shorten(data)}')}"
    if kind.upper() in TYPES:
        return f"its name is {quote(name)}"
    return f"try {quote(str(_example('A', kind, owner)))}"  # as hosts files have it


def _example(kind: str, text: str, data: str = "") -> str:
    """Return a record of that type for the name in the text; with `data` if it is an address."""
    try:
        address = ip_address(data.rstrip("."))
        kind, example = ("A", str(address)) if address.version == 4 else ("AAAA", str(address))
    except ValueError:
        example = _EXAMPLES[kind]
    return f"{shorten([*text.split(maxsplit=1), 'nas.lan.'][0])} {kind} {example}"
