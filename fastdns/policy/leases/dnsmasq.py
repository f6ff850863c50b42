"""dnsmasq.leases: "expiry MAC address name client-id", then "duid …" and the leases of IPv6.

A client without a name has "*". Expiry 0 means never. Where the machine has no clock (OpenWrt),
dnsmasq writes how long the lease is in place of its end: it takes ended leases out itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .lease import Lease, WrongLine, hardware_address, packed, whole_lines

_TIME = re.compile(r"[0-9]{1,15}")
_EARLIEST = 1_000_000_000  # a time before 2001 is none


def leases(text: str) -> Iterator[Lease | WrongLine]:
    """Yield the leases of clients that have a name, and the lines that are no leases."""
    for number, line in enumerate(whole_lines(text), start=1):
        words = line.split()
        if not words or words[0] == "duid":
            continue
        address = packed(words[2]) if len(words) >= 4 and _TIME.fullmatch(words[0]) else None
        if address is None:
            yield WrongLine(number, line)
        elif words[3] != "*":
            expires = int(words[0])
            until = expires if expires >= _EARLIEST else None
            # In leases of IPv6 an IAID stands there.
            yield Lease(words[3], address, until, number, hardware_address(words[1]))


def is_it(text: str) -> bool:
    """Whether a file looks like this."""
    words = text.split("\n", 1)[0].split()
    if words[:1] == ["duid"]:
        return True
    return len(words) >= 4 and bool(_TIME.fullmatch(words[0])) and packed(words[2]) is not None
