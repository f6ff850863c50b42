"""Sums over a whole cache."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from ..counters import per_day
from .items import Judge, Wanted, find
from .reader import Facts, Reader

# Upper ends, in seconds, of the classes of remaining TTLs; the last has none.
TTL_CLASSES = (60, 300, 900, 3600, 6 * 3600, 24 * 3600)


@attrs.define
class Survey:
    """The figures of a cache."""

    entries: int = 0
    octets: int = 0  # of values; pages also hold keys and gaps
    negative: int = 0
    damaged: int = 0
    hits: int = 0
    oldest: float | None = None  # seconds
    states: Counter[str] = attrs.Factory(Counter)
    ttls: Counter[int] = attrs.Factory(Counter)  # of fresh entries, by index in TTL_CLASSES
    origins: Counter[tuple[int, int]] = attrs.Factory(Counter)  # group, fingerprint
    groups: dict[int, str] = attrs.Factory(dict)  # names of those that are known


def survey(reader: Reader, judge: Judge, seen: Callable[[int], None]) -> Survey:
    """Read every entry; `seen` is called with their number."""
    sums = Survey(groups={number: one.name for number, one in judge.groups.items()})
    wanted = Wanted()
    for items in find(reader, wanted, judge):
        for item in items:
            entry = item.entry
            sums.entries += 1
            sums.octets += entry.size
            sums.negative += entry.negative
            sums.hits += entry.hits
            sums.origins[item.key.group, entry.origin ^ judge.mark_of(item.key)] += 1
            state = item.state
            sums.states[state] += 1
            if state == "fresh":
                sums.ttls[_class_of(item.ttl)] += 1
            age = item.age
            if age is not None and (sums.oldest is None or age > sums.oldest):
                sums.oldest = age
        seen(len(items))
    sums.damaged = wanted.damaged
    return sums


def as_json(sums: Survey, facts: Facts, path: str) -> dict[str, Any]:
    """Return everything by name: sizes in bytes, times in seconds."""
    return {
        "path": path,
        "entries": sums.entries,
        "fresh": sums.states["fresh"],
        "stale": sums.states["stale"],
        "expired": sums.states["expired"],
        "damaged": sums.damaged,
        "negative": sums.negative,
        "negative_share": round(sums.negative / sums.entries, 4) if sums.entries else 0.0,
        "hits": sums.hits,
        "entry_bytes": sums.octets,
        "live_bytes": facts.live_octets,
        "map_bytes": facts.map_octets,
        "map_use": round(facts.live_octets / facts.map_octets, 4),
        "file_bytes": facts.file_octets,
        "oldest_seconds": None if sums.oldest is None else round(sums.oldest, 3),
        "written_bytes": facts.written_octets,
        "written_since": facts.written_since,
        "written_bytes_per_day": None
        if facts.written_since is None
        else per_day(facts.written_octets, time.time() - facts.written_since),
        "ttl_histogram": [
            {"from": first, "below": end, "entries": sums.ttls[number]}
            for number, (first, end) in enumerate(classes())
        ],
        "origins": [
            {
                "origin": f"{origin:016x}",
                "view": group,
                "group": sums.groups.get(group),
                "entries": count,
            }
            for (group, origin), count in sums.origins.most_common()
        ],
    }


def classes() -> list[tuple[int, int | None]]:
    """Return the classes of TTLs: from, below."""
    ends: list[int | None] = [*TTL_CLASSES, None]
    return list(zip((0, *TTL_CLASSES), ends, strict=True))


def _class_of(ttl: int) -> int:
    return sum(ttl >= end for end in TTL_CLASSES)
