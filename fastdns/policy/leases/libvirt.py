"""What libvirt's DHCP servers (dnsmasq) keep for each bridge: INTERFACE.status, as JSON.

INTERFACE.macs beside it tells which guest has which hardware address: a guest that tells no name
has that of its domain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .lease import Lease, hardware_address, packed


def leases(text: str, macs: str = "") -> Iterator[Lease]:
    """Yield the leases of clients that have a name. ValueError: a text is not whole."""
    guests = dict(_guests(json.loads(macs))) if macs.strip() else {}
    content = json.loads(text) if text.strip() else []
    for entry in content if isinstance(content, list) else ():
        if isinstance(entry, dict) and (lease := _lease(entry, guests)):
            yield lease


def _guests(content: Any) -> Iterator[tuple[str, str]]:
    """Yield hardware addresses and their guests."""
    for entry in content if isinstance(content, list) else ():
        domain = entry.get("domain") if isinstance(entry, dict) else None
        found = entry.get("macs") if isinstance(entry, dict) else None
        if isinstance(domain, str) and isinstance(found, list):
            for mac in found:
                if isinstance(mac, str):
                    yield mac.lower(), domain


def _lease(entry: dict[str, Any], guests: dict[str, str]) -> Lease | None:
    name = entry.get("hostname") or guests.get(str(entry.get("mac-address")).lower())
    address = packed(str(entry.get("ip-address")))
    expires = entry.get("expiry-time")
    if not isinstance(name, str) or not address:
        return None
    until = expires if isinstance(expires, int) and expires > 0 else None
    return Lease(name, address, until, mac=hardware_address(str(entry.get("mac-address"))))


def beside(path: Path) -> tuple[Path, ...]:
    """Return the file that tells the guests."""
    return (path.with_suffix(".macs"),)


def is_it(text: str) -> bool:
    """Whether a file looks like this."""
    return text.lstrip().startswith("[") and ('"ip-address"' in text or text.strip() == "[]")
