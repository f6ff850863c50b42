"""How the running daemon is: a sentence that says it all, and what is wrong, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .._counters import COUNTERS
from ..config.text import escape
from ..counters import Pages, quantile
from .figures import in_number, in_time

CACHE = ("cache_hits_total", "disk_hits_total", "cache_stale_total")
TROUBLE = tuple((name, meaning) for name, group, meaning in COUNTERS if group == "trouble")


def summary(pages: Pages, totals: Mapping[str, int]) -> str:
    """Say it in one line: "2,857 queries, 82 % from the cache, p50 12 µs, 1 upstream alive …"."""
    parts = [
        in_number(totals["queries_udp_total"] + totals["queries_tcp_total"], "query", "queries")
    ]
    looked_up = totals["cache_hits_total"] + totals["cache_misses_total"]
    if looked_up:
        held = sum(totals[name] for name in CACHE)
        parts.append(f"{100 * held / looked_up:.0f} % from the cache")
        hits, misses = pages.latency()
        buckets = [one + other for one, other in zip(hits, misses, strict=True)]
        parts.append(f"p50 {in_time(quantile(buckets, 0.5))}")
    upstreams = pages.upstreams()
    alive = sum(one.alive for one in upstreams)
    if upstreams and alive == len(upstreams):
        parts.append(f"{in_number(alive, 'upstream')} alive")
    elif upstreams:
        parts.append(f"{alive or 'none'} of {in_number(len(upstreams), 'upstream')} alive")
    if not any(warnings(pages, totals)):
        parts.append("nothing wrong")
    return ", ".join(parts)


def warnings(pages: Pages, totals: Mapping[str, int]) -> Iterator[str]:
    """Yield what is wrong now, and then what has gone wrong since the start."""
    for one in pages.upstreams():
        if not one.alive:
            yield f"upstream {escape(one.name)} does not answer"
    for name, meaning in TROUBLE:
        if totals[name]:
            yield f"{totals[name]:,} {meaning} since the start ({name})"
