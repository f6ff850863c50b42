"""What an upstream is asked: the question of a canonical key, with an OPT of our own or none."""

from __future__ import annotations

from dnslib import DNSLabel

from .._key import make_key, split_key
from .._upstream import query_message


class Request:
    """One question, ready to be sent under any id; nothing of the client but DO and CD is in it."""

    __slots__ = ("_trust_ad", "key")

    def __init__(self, key: bytes, trust_ad: bool) -> None:
        self.key = key
        self._trust_ad = trust_ad

    def __str__(self) -> str:
        name, qtype, *_ = split_key(self.key)
        return f"{DNSLabel(_labels(name))} TYPE{qtype}"

    def message(self, query_id: int, *, has_opt: bool = True) -> bytes:
        """The query in wire form."""
        return query_message(query_id, self.key, self._trust_ad, has_opt)


def _labels(name: bytes) -> list[bytes]:
    """Split a name in wire form, which `_wire` has found good."""
    labels = []
    at = 0
    while name[at]:
        labels.append(name[at + 1 : at + 1 + name[at]])
        at += 1 + name[at]
    return labels


PROBE_KEY = make_key(b"\0", 2)  # ". IN NS": every resolver knows it
