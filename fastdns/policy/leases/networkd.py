"""What systemd-networkd's DHCP server keeps for each interface, as JSON (since version 256)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .lease import Lease

_ENDLESS = (1 << 64) - 1
_MICRO = 1_000_000


def leases(text: str) -> Iterator[Lease]:
    """Yield the leases of clients that have a name. ValueError: the text is not whole."""
    content = json.loads(text)
    entries = content.get("Leases") if isinstance(content, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and (lease := _lease(entry)):
            yield lease


def _lease(entry: dict[str, Any]) -> Lease | None:
    name, octets = entry.get("Hostname"), entry.get("Address")
    expires = entry.get("ExpirationRealtimeUSec")
    if not (isinstance(name, str) and name and isinstance(octets, list) and len(octets) in (4, 16)):
        return None
    if not all(isinstance(one, int) and 0 <= one <= 255 for one in octets):
        return None
    if not isinstance(expires, int) or not 0 < expires < _ENDLESS:
        return Lease(name, bytes(octets), None)
    return Lease(name, bytes(octets), expires / _MICRO)


def is_it(text: str) -> bool:
    """Whether a file looks like this."""
    return text.lstrip().startswith("{") and ('"Leases"' in text or '"BootID"' in text)
