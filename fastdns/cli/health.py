"""The health of the running daemon: a summary line, and a line for each problem."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from .._counters import COUNTERS
from ..config.text import escape
from ..counters import KEEPER_SLOT, QUERIES, Pages, Silent, quantile
from .figures import in_a_word, in_number, in_time, is_silent, is_well

CACHE = ("cache_hits_total", "disk_hits_total", "cache_stale_total")
SILENT_SECONDS = {"worker": 3.0, "keeper": 6.0}  # they report every second, or every two
BLOCKED = ("blocked_lists_total", "blocked_rules_total", "blocked_patterns_total")
BY_STRANGERS = {"tls_failed_total", "http_errors_total"}  # any port scanner causes them
TROUBLE = tuple(
    (name, meaning)
    for name, group, meaning in COUNTERS
    if group == "trouble" and name not in BY_STRANGERS
)


def blocked(totals: Mapping[str, int]) -> int:
    """Return how many queries were answered as a block list or a rule says."""
    return sum(totals[name] for name in BLOCKED)


def summary(pages: Pages, totals: Mapping[str, int], *, others: int = 0) -> str:
    """Return the summary: "2,857 queries, 82 % from the cache, p50 12 µs, 1 upstream alive …"."""
    parts = [in_number(sum(totals[name] for name in QUERIES), "query", "queries")]
    looked_up = totals["cache_hits_total"] + totals["cache_misses_total"]
    if looked_up:
        held = sum(totals[name] for name in CACHE)
        parts.append(f"{100 * held / looked_up:.0f} % from the cache")
        hits, misses = pages.latency()
        buckets = [one + other for one, other in zip(hits, misses, strict=True)]
        parts.append(f"p50 {in_time(quantile(buckets, 0.5))}")
    upstreams = pages.upstreams()
    alive = sum(map(is_well, upstreams))
    if upstreams and alive == len(upstreams):
        parts.append(f"{in_number(alive, 'upstream')} alive")
    elif upstreams:
        state = "answers well" if any(one.rcode for one in upstreams) else "alive"
        parts.append(f"{alive or 'none'} of {in_number(len(upstreams), 'upstream')} {state}")
    wrong = others + sum(1 for _ in warnings(pages, totals))
    told = len(upstreams) - alive  # a warning for each
    if not wrong:
        parts.append("nothing wrong")
    elif wrong > told:
        parts.append(in_number(wrong - told, "warning" if not told else "other warning"))
    return ", ".join(parts)


def warnings(pages: Pages, totals: Mapping[str, int]) -> Iterator[str]:
    """Yield the current problems, and then those since the start."""
    for silent in pages.silent(time.monotonic()):
        if silent.seconds > SILENT_SECONDS[silent.name]:
            yield _hangs(silent)
    if not pages.alive_at(KEEPER_SLOT):
        yield "no keeper runs at the moment: new answers are not saved to disk"
    for one in pages.upstreams():
        if not one.alive:
            yield f"upstream {escape(one.name)} does not answer"
        elif is_silent(one):
            yield f"upstream {escape(one.name)} has not replied to any query yet"
        elif one.rcode:
            yield f"upstream {escape(one.name)} {in_a_word(one)} to everything"
    for name, meaning in TROUBLE:
        if totals[name]:
            yield f"{totals[name]:,} {meaning} since the start ({name})"


def _hangs(one: Silent) -> str:
    loss = "new answers are not saved" if one.name == "keeper" else "its queries wait"
    return (
        f"the {one.name} (pid {one.pid}) has not responded for {one.seconds:.0f} s, and "
        f"{loss}; if it stays so: kill -9 {one.pid} (another one takes over)"
    )
