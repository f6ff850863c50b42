"""A day of a household's queries, and the questions that a forwarder sends upstream for them.

A model with assumptions, not a recording: the declarations below set how many queries, of which
names, at which hours, with which TTLs. The same seed gives the same day.
"""

import bisect
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from fastdns._answer import Answer, Limits, Reading

DAY = 86400.0
HOURS = (3, 2, 1, 1, 1, 2, 5, 8, 7, 6, 6, 6, 7, 7, 6, 6, 8, 10, 12, 14, 15, 14, 10, 6)  # weights
# TTL in seconds, how many names of a hundred have it: names of CDNs live short, others for hours.
TTLS = ((30, 15), (60, 20), (300, 35), (3600, 20), (86400, 10))
KINDS = ((1, 55), (28, 30), (65, 15))  # A, AAAA, HTTPS: of a hundred queries
NEW_SHARE = 0.03  # of the queries: for names that nobody asks again
HAS_AAAA = 0.5  # of the names; the others, and all for HTTPS, say that there is no such record
LIMITS = Limits(0, 86400, 3600, 5, False)
PREFETCH_SHARE = 0.1  # of a TTL, at its end
SOA = b"\x02ns\xc0\x0c\x05admin\xc0\x0c" + b"".join(
    number.to_bytes(4, "big") for number in (1, 7200, 900, 1209600, 300)
)


@dataclass(frozen=True)
class Stored:
    """An upstream's answer as it arrives, `at` seconds into the days."""

    at: float
    key: bytes
    answer: Answer


@dataclass
class Household:
    """Yields what the cache would be told, and counts on the way."""

    queries: int  # a day
    names: int
    seed: int = 1
    asked: int = 0
    hits: dict[bytes, int] = field(default_factory=dict)  # since somebody last took them

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._known: dict[bytes, tuple[float, float]] = {}  # key → stored, TTL
        self._ranks = list(accumulate(1 / rank for rank in range(1, self.names + 1)))
        self._hours = list(accumulate(HOURS))
        self._new = 0

    def days(self, first: int, last: int) -> Iterator[Stored]:
        """Yield the answers that come from upstream in these days, as they come."""
        for day in range(first, last):
            moments = sorted(day * DAY + self._moment() for _ in range(self.queries))
            for now in moments:
                if (answer := self._ask(now)) is not None:
                    yield answer

    def _moment(self) -> float:
        hour = bisect.bisect(self._hours, self._random.random() * self._hours[-1])
        return (hour + self._random.random()) * DAY / 24

    def _ask(self, now: float) -> Stored | None:
        self.asked += 1
        name = self._name()
        qtype = self._random.choices(*zip(*KINDS, strict=True))[0]
        key = wire_name(name) + qtype.to_bytes(2, "big") + b"\0\1\0\0\0"
        stored, ttl = self._known.get(key, (0.0, 0.0))
        if now < stored + ttl:
            self.hits[key] = self.hits.get(key, 0) + 1
            if now < stored + ttl * (1 - PREFETCH_SHARE):
                return None
        answer = self._answer(name, qtype, key)
        self._known[key] = (now, answer.ttl)
        return Stored(now, key, answer)

    def _name(self) -> str:
        if self._random.random() < NEW_SHARE:
            self._new += 1
            return (
                f"x{self._new:x}-{self._random.randrange(1 << 32):08x}.cdn{self._new % 7}.example"
            )
        rank = bisect.bisect(self._ranks, self._random.random() * self._ranks[-1])
        return f"h{rank % 4}.d{rank * 2654435761 % (1 << 32):08x}.example"

    def _answer(self, name: str, qtype: int, key: bytes) -> Answer:
        its = random.Random(f"{name} {self.seed}")  # what is the name's stays the same
        full = its.choices(*zip(*TTLS, strict=True))[0]
        has_aaaa, count = its.random() < HAS_AAAA, its.randint(1, 4)
        # The upstream is a resolver with a cache of its own: part of the TTL is gone.
        ttl = self._random.randint(1, full).to_bytes(4, "big")
        if qtype == 1 or (qtype == 28 and has_aaaa):
            data = self._random.randbytes(4 if qtype == 1 else 16)
            head = b"\xc0\x0c" + qtype.to_bytes(2, "big") + b"\0\1" + ttl
            body = (head + len(data).to_bytes(2, "big") + data) * count
            counts = count.to_bytes(2, "big") + b"\0\0\0\0"
        else:
            body = b"\xc0\x0c\0\6\0\1" + ttl + len(SOA).to_bytes(2, "big") + SOA
            counts = b"\0\0\0\1\0\0"
        reply = b"\0\0\x81\x80\0\1" + counts + key[:-3] + body
        reading = Reading()
        if not reading.read(reply, 0, key):
            raise ValueError(f"not an answer: {reply.hex()}")
        return reading.answer(LIMITS)


def wire_name(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
