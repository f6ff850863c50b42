"""Names, types and classes: as people write and read them, and as keys of the cache have them.

Text is as in zone files (RFC 1035 section 5.1): `\\.` is a dot inside a label, `\\DDD` any byte.
Names are printed with their final dot, and with everything escaped that could affect a terminal.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .._key import make_key, split_key
from ..config.text import describe
from ..config.types import TYPES, number_of

RCODE_MAX = 4095  # with EDNS, RFC 6891 section 6.1.3

_PLAIN = re.compile(rb"[A-Za-z0-9_*/+-]*")  # printed as they are
_SPECIAL = b'"().;\\@$'  # printed behind a backslash, as dig does

CLASSES = {"IN": 1, "CH": 3, "HS": 4, "NONE": 254, "ANY": 255}
RCODES = (
    *("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"),
    *("YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"),
)
_TYPE_NAMES = {number: name for name, number in TYPES.items()}
_CLASS_NAMES = {number: name for name, number in CLASSES.items()}


class Key(NamedTuple):
    """The parts of an entry's key; `name` is in wire form, lower case.

    `group` is the number of the group of upstreams, which a key on disk has in place of a view.
    """

    name: bytes
    qtype: int
    qclass: int = 1
    do: bool = False
    cd: bool = False
    group: int = 0

    @classmethod
    def split(cls, key: bytes) -> Key:
        """Split a key of the cache."""
        return cls(*split_key(key))

    @property
    def flags(self) -> int:
        """DO and CD as in the key."""
        return self.do | self.cd << 1

    def join(self) -> bytes:
        """Return the key as in the cache."""
        return make_key(self.name, self.qtype, self.qclass, do=self.do, cd=self.cd, view=self.group)


def spell_name(wire: bytes) -> str:
    """Return the text of a name in wire form, with its final dot, as dig prints it."""
    if len(wire) == 1:
        return "."
    labels = []
    at = 0
    while at < len(wire) and wire[at]:
        label = wire[at + 1 : at + 1 + wire[at]]
        at += 1 + wire[at]
        labels.append(
            label.decode("ascii") if _PLAIN.fullmatch(label) else "".join(map(_escape, label))
        )
    return ".".join(labels) + "."


def _escape(octet: int) -> str:
    if octet in _SPECIAL:
        return "\\" + chr(octet)
    return chr(octet) if 0x20 < octet < 0x7F else f"\\{octet:03d}"


def parse_class(text: str) -> int:
    """Return the number of a class given by name or as CLASS65280; ValueError with one phrase."""
    number = number_of(text, "CLASS", CLASSES)
    if number is None:
        raise ValueError(f"{describe(text)} is not a class (try IN)")
    return number


def parse_rcode(text: str) -> int:
    """Return the number of an RCODE given by name or as RCODE12; ValueError with one phrase."""
    spelled = text.upper()
    if spelled in RCODES:
        return RCODES.index(spelled)
    numbered = re.fullmatch("RCODE([0-9]{1,4})", spelled)
    if numbered and int(numbered[1]) <= RCODE_MAX:
        return int(numbered[1])
    raise ValueError(f"{describe(text)} is not an RCODE (try NXDOMAIN)")


def spell_type(number: int) -> str:
    """Return the name of a type, TYPE65280 for one without a name (RFC 3597 section 5)."""
    return _TYPE_NAMES.get(number) or f"TYPE{number}"


def spell_class(number: int) -> str:
    """Return the name of a class, CLASS65280 for one without a name (RFC 3597 section 5)."""
    return _CLASS_NAMES.get(number) or f"CLASS{number}"


def spell_rcode(number: int) -> str:
    """Return the name of an RCODE, RCODE12 for one without a name."""
    return RCODES[number] if number < len(RCODES) else f"RCODE{number}"
