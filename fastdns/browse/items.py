"""Entries for people: which ones are wanted, in which order, and as a line of JSON."""

from __future__ import annotations

import fnmatch
import heapq
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs

from .._clock import Moment
from .._entry import DiskEntry
from .._key import cache_key, is_under, range_of, type_of
from .._rules import Rules
from ..config.names import parse_name
from ..upstream.known_groups import Groups
from .names import Key, spell_class, spell_name, spell_rcode, spell_type
from .reader import Pair, Reader
from .records import Record, read_records, relevant

SORTS = ("ttl", "hits", "size", "age")
STATES = ("fresh", "stale", "expired")

DEFAULT_GROUP = 0

_RANK = struct.Struct("!Q")
_NO_SIGN = 1 << 63  # added, so that byte strings sort like the numbers
_GLOB = re.compile(r"(?<!\\)(\\\\)*[*?\[]")
_JITTER = 1.0  # seconds by which a wall clock may drift against the clock of the boot


@attrs.frozen
class Judge:
    """The moment and settings that entries are judged by."""

    now: Moment  # for which ages are calculated
    stale: int  # seconds past its TTL that an entry may be used
    origin: int = 0  # the fingerprint of the current default upstreams; 0: unknown
    groups: Groups = attrs.Factory(dict)  # the other groups
    knows_all: bool = False  # a daemon runs, and has no other groups than these
    rules: Rules = attrs.Factory(Rules)

    def origin_of(self, key: Key) -> int:
        """Return the origin of current answers to a question; 0: unknown."""
        if key.group == DEFAULT_GROUP:
            origin = self.origin
        else:
            origin = self.groups[key.group].origin if key.group in self.groups else 0
        return origin and origin ^ self.mark_of(key)

    def mark_of(self, key: Key) -> int:
        """Return the mark of the rule that concerns a question."""
        return self.rules.mark_of(key.name, key.qtype, key.qclass)


@attrs.frozen(slots=True)
class Item:
    """One entry and its state at one moment."""

    disk_key: bytes
    key: Key
    entry: DiskEntry
    judge: Judge

    @property
    def name(self) -> str:
        return spell_name(self.key.name)

    @property
    def age(self) -> float | None:
        """Seconds since it was stored; None if no clock can tell."""
        return self.entry.age(self.judge.now)

    @property
    def state(self) -> str:
        return self.entry.state(self.judge.now, self.judge.stale)

    @property
    def is_foreign(self) -> bool:
        """True if it came from other upstreams than the current ones, or under another rule.

        Then it is usable as stale only.
        """
        return self.judge.origin_of(self.key) not in (0, self.entry.origin)

    @property
    def group(self) -> str | None:
        """The name of the group of upstreams; None: the default or an unknown group."""
        known = self.judge.groups.get(self.key.group)
        return known.name if known else None

    @property
    def is_of_no_group(self) -> bool:
        """True if the daemon does not have this group any more."""
        group = self.key.group
        return group != DEFAULT_GROUP and self.judge.knows_all and group not in self.judge.groups

    @property
    def ttl(self) -> int:
        """The remaining seconds, as dig would show them: 0 if it is not fresh."""
        return max(0, self.until_expiry)

    @property
    def until_expiry(self) -> int:
        """The remaining seconds of its TTL; negative after that."""
        age = self.age
        return 0 if age is None else self.entry.ttl - int(age)

    @property
    def stored_at(self) -> float:
        """Unix time. If the wall clock was corrected later, that is taken into account."""
        now, told, age = self.judge.now.wall_ms / 1000, self.entry.stored_wall_ms / 1000, self.age
        if age is None or abs(now - told - age) <= _JITTER:
            return told
        return round(now - age, 3)

    def records(self) -> list[Record]:
        """All records with their remaining TTLs; of stale ones 0."""
        entry, age = self.entry, self.age
        gone = entry.ttl if age is None else int(age)
        return list(read_records(entry.message, entry.ttl_offsets, self.key.name, gone))

    def as_json(self) -> dict[str, Any]:
        """The fields that `ls`, `get` and `export` show, in this order."""
        age = self.age
        return {
            "name": self.name,
            "type": spell_type(self.key.qtype),
            "class": spell_class(self.key.qclass),
            "do": self.key.do,
            "cd": self.key.cd,
            "view": self.key.group,
            "group": self.group,
            "rcode": spell_rcode(self.entry.rcode),
            "ttl": self.ttl,
            "age": None if age is None else round(age, 3),
            "stored_at": self.stored_at,
            "expires_at": None if age is None else round(self.stored_at + self.entry.ttl, 3),
            "hits": self.entry.hits,
            "size": self.entry.size,
            "upstream": self.entry.upstream,
            "rtt_ms": self.entry.rtt_us / 1000 or None,
            "state": self.state,
            "records": [
                {"name": one.name, "type": one.type, "ttl": one.ttl, "data": one.data}
                for one in relevant(self.records())
            ],
        }


class Wanted:
    """The conditions of a search, all of which must hold."""

    def __init__(
        self,
        *,
        pattern: str | None = None,
        under: bytes | None = None,
        qtype: int | None = None,
        state: str | None = None,
        rcode: int | None = None,
        negative: bool = False,
    ) -> None:
        self._pattern = None if pattern is None else _compiled(pattern)
        self._under = under
        self._qtype = qtype
        self._state = state
        self._rcode = rcode
        self._negative = negative
        domain = under if under is not None or pattern is None else _domain_of(pattern)
        self.prefix = b"" if domain is None else range_of(domain)
        self.damaged = 0  # entries that could not be read

    @property
    def everything(self) -> bool:
        conditions = (self._pattern, self._under, self._qtype, self._state, self._rcode)
        return not self._negative and all(one is None for one in conditions)

    def choose(self, pairs: Iterable[Pair], judge: Judge) -> Iterator[Item]:
        """Yield the wanted entries; damaged ones are counted and left out."""
        for disk_key, value in pairs:
            if self._qtype is not None and type_of(disk_key) != self._qtype:
                continue
            try:
                item = read_item(disk_key, value, judge)
            except ValueError:
                self.damaged += 1
                continue
            if self._fits(item):
                yield item

    def _fits(self, item: Item) -> bool:
        if self._under is not None and not is_under(item.key.join(), self._under):
            return False
        if self._pattern is not None and not self._pattern(item.name[:-1]):
            return False
        if self._rcode is not None and item.entry.rcode != self._rcode:
            return False
        if self._negative and not item.entry.negative:
            return False
        return self._state is None or item.state == self._state


def read_item(disk_key: bytes, value: bytes, judge: Judge) -> Item:
    """Return the entry; ValueError says what is wrong with its key or its value."""
    return Item(disk_key, Key.split(cache_key(disk_key)), DiskEntry.parse(value), judge)


def find(reader: Reader, wanted: Wanted, judge: Judge) -> Iterator[list[Item]]:
    """Yield the wanted entries in the order of the disk, some at a time."""
    for batch in reader.batches(wanted.prefix):
        yield list(wanted.choose(batch, judge))


def find_sorted(
    reader: Reader,
    wanted: Wanted,
    judge: Judge,
    *,
    by: str,
    limit: int | None,
    seen: Callable[[int], None],
) -> Iterator[list[Item]]:
    """Yield the wanted entries, sorted; with a limit only that many are kept in memory.

    Most hits and largest first, oldest first, and soonest expiry first. `seen` is called with the
    number of entries read.
    """
    ranks = _ranks(reader, wanted, judge, by, seen)
    best = sorted(ranks) if limit is None else heapq.nsmallest(limit, ranks)
    for batch in reader.values([rank[_RANK.size :] for rank in best]):
        yield list(wanted.choose(batch, judge))


def _ranks(
    reader: Reader, wanted: Wanted, judge: Judge, by: str, seen: Callable[[int], None]
) -> Iterator[bytes]:
    """Yield one string for each entry that sorts as asked: it takes a tenth of its memory."""
    for batch in reader.batches(wanted.prefix):
        for item in wanted.choose(batch, judge):
            yield _RANK.pack(_rank(item, by) + _NO_SIGN) + item.disk_key
        seen(len(batch))


def _rank(item: Item, by: str) -> int:
    if by == "ttl":
        return item.until_expiry
    if by == "age":
        return -int((item.age or 0) * 1000)
    return -int(getattr(item.entry, by))


def is_pattern(text: str) -> bool:
    """Return whether it is a glob and not a name; a backslash makes the next character literal."""
    return bool(_GLOB.search(text))


def _compiled(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(_without_final_dot(pattern).lower())).match


def _without_final_dot(text: str) -> str:
    return text[:-1] if text.endswith(".") and not text.endswith("\\.") else text


def _domain_of(pattern: str) -> bytes | None:
    """Return the domain above all names that match the pattern; None: there is none."""
    literal = re.split(r"[*?\[\]]", pattern)
    tail = literal[-1] if len(literal) == 1 else literal[-1].partition(".")[2]
    if not tail or "\\" in pattern:
        return None
    try:
        return parse_name(tail)
    except ValueError:
        return None
