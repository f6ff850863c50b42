"""A lease of a DHCP server, and the name that its client may have."""

from __future__ import annotations

import re
from math import inf
from socket import AF_INET, AF_INET6, inet_pton

import attrs

# What a client says of itself: one label that may stand in a host name (RFC 952, RFC 1123), and
# "_", which some devices have.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_MAC = re.compile(r"[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}")
# Names that programs look for by themselves: a client that had one could redirect all others.
_NEVER = frozenset({"wpad", "isatap", "localhost"})
# Alone they are domains of the Internet, or special names (RFC 6761), and not hosts.
_TOP_LEVEL = frozenset(
    {
        *("alt", "arpa", "com", "edu", "example", "gov", "home", "info", "int", "internal"),
        *("invalid", "lan", "local", "localdomain", "mil", "net", "onion", "org", "root", "test"),
    }
)
_SOUGHT = "programs look for that name by themselves"
_ODD = "that is not a host name"
_FAR = 1 << 40  # no lease ends so late
_COUNTRY = 2  # letters of the top-level domain of a country


def _time(value: float | None) -> float | None:
    return None if value is None or value > _FAR else float(value)


@attrs.frozen
class Lease:
    """An address that a client has until `expires` (Unix time); None: for ever.

    `name` is what the client said, `line` where the file has it, if it has lines.
    """

    name: str
    address: bytes  # 4 or 16 octets
    expires: float | None = attrs.field(converter=_time)
    line: int | None = None
    mac: bytes | None = None  # its hardware address, where the file has it

    @property
    def label(self) -> str:
        """The label that the client may have; "" if it may have none."""
        return "" if self.refusal else self._first_label

    @property
    def refusal(self) -> str:
        """Why the client gets no name; "": it may have one."""
        if not _LABEL.fullmatch(self._first_label):
            return _ODD
        return _SOUGHT if self._first_label in _NEVER else ""

    @property
    def _first_label(self) -> str:
        return self.name.partition(".")[0].lower()

    def is_over(self, now: float) -> bool:
        """Whether the client has lost the address."""
        return self.expires is not None and self.expires <= now

    def outlasts(self, other: Lease) -> bool:
        """Whether it ends later: of two leases with one name that is the newer one."""
        return _end(self) > _end(other)


@attrs.frozen
class WrongLine:
    """A line that is not what its format has there."""

    line: int
    text: str


def _end(lease: Lease) -> float:
    return inf if lease.expires is None else lease.expires


def is_top_level(label: str) -> bool:
    """Whether a name of this label alone may be a domain of the Internet."""
    return len(label) <= _COUNTRY or label in _TOP_LEVEL or label.startswith("xn--")


def packed(address: str) -> bytes | None:
    """Return the octets of an IP address; None if it is none."""
    try:
        return inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):  # ValueError: a NUL in it
        return None


def hardware_address(text: str) -> bytes | None:
    """Return the octets of a hardware address; None if it is none: "0:11:22:aa:bb:cc"."""
    if not _MAC.fullmatch(text):
        return None
    return bytes(int(one, 16) for one in text.split(":"))


def whole_lines(text: str) -> list[str]:
    """Return the lines, without a last one that is still being written."""
    return text.split("\n")[:-1]
