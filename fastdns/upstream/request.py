"""What an upstream is asked: the question of a canonical key, with an OPT of our own."""

from __future__ import annotations

import struct

from dnslib import DNSLabel

from .._fastpath import key_parts

UDP_SIZE = 1232  # what arrives whole over any IPv6 path (DNS flag day 2020)

_TYPE_OPT = 41
_FLAG_RD = 0x0100
_FLAG_AD = 0x0020
_FLAG_CD = 0x0010
_DO = 0x8000


class Request:
    """One question, ready to be sent under any id; nothing of the client but DO and CD is in it."""

    __slots__ = ("_qtype", "_tail", "key", "name")

    def __init__(self, key: bytes, trust_ad: bool) -> None:
        self.key = key
        self.name, self._qtype, qclass, dnssec_ok, checking_disabled = key_parts(key)
        flags = _FLAG_RD
        if trust_ad:  # asks for the AD bit in return: RFC 6840 section 5.7
            flags |= _FLAG_AD
        if checking_disabled:
            flags |= _FLAG_CD
        opt = struct.pack("!BHHBBHH", 0, _TYPE_OPT, UDP_SIZE, 0, 0, _DO if dnssec_ok else 0, 0)
        counts = struct.pack("!HHHHH", flags, 1, 0, 0, 1)
        self._tail = counts + self.name + struct.pack("!HH", self._qtype, qclass) + opt

    def __str__(self) -> str:
        return f"{DNSLabel(_labels(self.name))} TYPE{self._qtype}"

    def message(self, query_id: int) -> bytes:
        """The query in wire form."""
        return query_id.to_bytes(2, "big") + self._tail


def _labels(name: bytes) -> list[bytes]:
    """Split a name in wire form, which `_wire` has found good."""
    labels = []
    at = 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return labels


PROBE_KEY = b"\0" + struct.pack("!HHBH", 2, 1, 0, 0)  # ". IN NS": every resolver knows it
