"""odhcpd's state file, and the hosts files that it writes for dnsmasq.

    # br-lan 00010001… 1f laptop 1767323045 123 128 fd00::123/128
    # br-lan 0:11:22:33:44:55 ipv4 laptop 1767323045 c0a80114 32 192.168.1.20/32
    192.168.1.20	laptop.lan	laptop

Older versions write both kinds of lines into one file.
"""

from __future__ import annotations

from collections.abc import Iterator

from .lease import Lease, hardware_address, packed, whole_lines

_ENDLESS = -1
_FEWEST = 9  # words of a line of state
_WHOLE = {4: "32", 16: "128"}  # the length of what is an address and not a prefix


def leases(text: str) -> Iterator[Lease]:
    """Yield the leases of clients that have a name."""
    hosts: dict[bytes, Lease] = {}
    state: set[bytes] = set()
    for number, line in enumerate(whole_lines(text), start=1):
        words = line.split()
        if words[:1] == ["#"]:
            for lease in _of_state(words, number):
                state.add(lease.address)
                if lease.name:
                    yield lease
        elif len(words) >= 2 and (address := packed(words[0])):
            hosts.setdefault(address, Lease(words[1], address, None, number))
    yield from (lease for address, lease in hosts.items() if address not in state)


def _of_state(words: list[str], number: int) -> Iterator[Lease]:
    if len(words) < _FEWEST:
        return
    # A name that odhcpd itself found wrong begins with broken\x20.
    name = "" if words[4] == "-" or "\\" in words[4] else words[4]
    try:
        until = int(words[5])
    except ValueError:
        return
    for word in words[8:]:
        text, _, length = word.partition("/")
        address = packed(text)
        if address and length == _WHOLE[len(address)]:
            mac = hardware_address(words[2])  # in leases of IPv6 a DUID stands there
            yield Lease(name, address, None if until == _ENDLESS else until, number, mac)


def is_it(text: str) -> bool:
    """Whether a file looks like this."""
    words = text.split("\n", 1)[0].split()
    if words[:1] == ["#"]:
        return len(words) >= _FEWEST - 1 and words[5].lstrip("-").isdecimal()
    return len(words) >= 2 and packed(words[0]) is not None
