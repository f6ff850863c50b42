"""dhcpd.leases of ISC dhcpd, to which it appends: the last entry of an address counts.

lease 192.168.1.20 {                  ia-na "…" {
  ends 4 2030/01/02 03:04:05;           iaaddr 2001:db8::20 {
  binding state active;                   binding state active;
  client-hostname "laptop";               ends 4 2030/01/02 03:04:05;
}                                         set ddns-fwd-name = "laptop.lan";
                                        }
                                      }
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from .lease import Lease, hardware_address, packed, whole_lines

_BEGIN = re.compile(r"\s*(?:lease|iaaddr)\s+(\S+)\s*\{")
_ENDS = re.compile(r"ends\s+(?:epoch\s+(\d+)|\d\s+(\d+)/(\d+)/(\d+)\s+(\d+):(\d+):(\d+))\s*;")
_NAME = re.compile(r'(?:client-hostname|set\s+ddns-fwd-name\s*=)\s+"([^"]*)"')
_HELD = "active"
_NEVER = "ends never"


def leases(text: str) -> Iterator[Lease]:
    """Yield the leases of clients that have a name. An entry that is not whole is left out."""
    found: dict[bytes, Lease | None] = {}
    address: bytes | None = None
    first = 0
    name, is_held = "", True
    mac: bytes | None = None
    expires: float | None = 0.0
    for number, line in enumerate(whole_lines(text), start=1):
        if begin := _BEGIN.match(line):
            address = packed(begin[1])
            name, expires, is_held, first, mac = "", 0.0, True, number, None
        elif address is None:
            continue
        elif "}" in line and '"' not in line:
            found.pop(address, None)
            is_named = name and is_held
            found[address] = Lease(name, address, expires, first, mac) if is_named else None
            address = None
        else:
            words = line.strip()
            if words.startswith("ends"):
                expires = _expiry(words)
            elif words.startswith("binding state"):
                is_held = words.split()[2:] == [_HELD + ";"]
            elif words.startswith("hardware ethernet"):
                mac = hardware_address(words.split()[-1].removesuffix(";"))
            elif words.startswith("abandoned"):
                is_held = False
            elif (match := _NAME.match(words)) and (not name or words.startswith("set")):
                name = match[1]
    yield from (one for one in found.values() if one is not None)


def _expiry(words: str) -> float | None:
    """Return the time, which is in UTC; 0: it is not one, so that the lease is over."""
    if words.startswith(_NEVER):
        return None
    match = _ENDS.match(words)
    if match is None:
        return 0.0
    if match[1]:
        return float(match[1])
    try:
        year, month, day, hour, minute, second = (int(one) for one in match.groups()[1:])
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def is_it(text: str) -> bool:
    """Whether a file looks like this."""
    head = text[:4096]
    return "dhcpd.leases(5)" in head or any(
        line.startswith(("lease ", "ia-na ", "ia-ta ", "server-duid ", "authoring-byte-order "))
        for line in head.split("\n")
    )
