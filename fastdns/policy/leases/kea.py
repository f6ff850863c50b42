"""Kea's memfile: CSV to which it appends, with a header that names the columns.

The lease file cleanup (LFC) moves the file to FILE.1 and writes what is left of it and of FILE.2 to
FILE.completed, which becomes FILE.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .lease import Lease, hardware_address, packed, whole_lines

_ENDLESS = 0xFFFFFFFF  # valid_lifetime
_HELD = frozenset({"", "0", "4"})  # states: assigned; registered by the client (RFC 9686)
_PREFIX = "2"  # lease_type of IPv6: a prefix that is delegated


def leases(text: str) -> Iterator[Lease]:
    """Yield the leases of clients that have a name. The last entry of an address counts."""
    found: dict[bytes, Lease | None] = {}
    columns: list[str] = []
    for line in whole_lines(text):
        words = line.rstrip("\r").split(",")
        if words[0] == "address":
            columns = words
        elif address := packed(words[0]):
            entry = dict(zip(columns, words, strict=False))
            found.pop(address, None)
            found[address] = _lease(entry, address)
    yield from (one for one in found.values() if one is not None)


def _lease(entry: dict[str, str], address: bytes) -> Lease | None:
    name = entry.get("hostname", "")
    if not name or entry.get("state", "") not in _HELD or entry.get("lease_type") == _PREFIX:
        return None
    try:
        lifetime, expires = int(entry.get("valid_lifetime", "")), int(entry.get("expire", ""))
    except ValueError:
        return None
    if not lifetime:  # so Kea writes that the client has given it back
        return None
    mac = hardware_address(entry.get("hwaddr", ""))
    return Lease(name, address, None if lifetime == _ENDLESS else expires, mac=mac)


def beside(path: Path) -> tuple[Path, ...]:
    """Return the files that come before this one."""
    completed = Path(f"{path}.completed")
    if completed.exists():
        return (completed,)
    return (Path(f"{path}.2"), Path(f"{path}.1"))


def is_it(text: str) -> bool:
    """Whether a file looks like this."""
    return text.startswith("address,") and "valid_lifetime" in text[:200]
