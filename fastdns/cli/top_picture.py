"""The content of `fastdns top`: what happened between two readings, as small tables."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Sequence

import attrs

from .. import __version__
from .._counters import UpstreamState
from .._query import TRANSPORT_NAMES
from ..config.text import escape
from ..counters import QUERIES, Pages, quantile
from .figures import (
    QUANTILES,
    in_a_word,
    in_days,
    in_number,
    in_octets,
    in_rate,
    in_share,
    in_time,
    is_well,
)
from .health import BLOCKED, CACHE

RCODES = ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR", "NOTIMP", "OTHER")
SECONDS_MIN = 0.001  # an interval of 0: the clock was set, or the daemon has just started
SILENT_SECONDS = (
    3.0  # a process that has published nothing for so long is stopped, or has no upstreams
)
HISTORY = 50  # intervals
BARS = " ▁▂▃▄▅▆▇█"
SERVFAIL_ALARMING = 0.05  # of all responses
FRACTION = re.compile(r"\d+\.\d")  # of a rate, which has no unit
ENCRYPTED = ("tls", "https")  # shown once a client has used them
RCODES_ALWAYS = 3  # rows that are shown even if they are 0


@attrs.frozen
class Reading:
    """All figures of a daemon at one moment."""

    pid: int
    started_at: float
    up: float  # seconds since its start
    at: float  # by a clock that cannot be set
    totals: dict[str, int]
    hits: list[int]
    misses: list[int]
    upstreams: list[UpstreamState]
    tables: list[tuple[float, list[UpstreamState]]]  # of upstreams, by process: when it showed them
    limits: dict[str, int] = attrs.field(factory=dict)  # octets of "cache" and "disk", if known

    @classmethod
    def of(
        cls, pages: Pages, now: float, at: float, limits: dict[str, int] | None = None
    ) -> Reading:
        """Take one at `now` by the clock of the daemon's start, and `at` by the one for
        differences.
        """
        hits, misses = pages.latency()
        up = max(now - pages.started_at, 0.0)
        upstreams, tables = pages.upstreams(), pages.upstream_tables()
        totals = pages.totals()
        return cls(
            *(pages.pid, pages.started_at, up, at, totals, hits, misses, upstreams, tables),
            limits=limits or {},
        )

    def follows(self, other: Reading) -> bool:
        """Return True if both are of the same daemon."""
        return (self.pid, self.started_at) == (other.pid, other.started_at)


@attrs.frozen
class Busiest:
    """The names asked most, with type and answers per second; or why there are none."""

    names: list[tuple[str, str, float]] = attrs.field(factory=list)
    problem: str = ""


@attrs.frozen
class Block:
    """A small table. The first heading is its title; a note follows the rows."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""
    words: int = 1  # so many columns, from the left, are words; the others are figures
    alarming: frozenset[int] = frozenset()  # numbers of rows

    @property
    def aligned(self) -> list[tuple[str, ...]]:
        """The rows; if some rates of a column have a fraction, all get its width."""
        columns = list(zip(*self.rows, strict=True))
        for number, column in enumerate(columns[self.words :], self.words):
            if any(map(FRACTION.fullmatch, column)):
                columns[number] = tuple(
                    one if FRACTION.fullmatch(one) else f"{one}  " for one in column
                )
        return list(zip(*columns, strict=True))

    @property
    def height(self) -> int:
        return 1 + len(self.rows) + bool(self.note)

    def first_rows(self, height: int) -> Block:
        """Leave out the last rows, so that it fits that height."""
        return attrs.evolve(self, rows=self.rows[: max(height - 1 - bool(self.note), 0)])

    def first_columns(self, count: int) -> Block:
        """Leave out the others."""
        rows = [row[:count] for row in self.rows]
        return attrs.evolve(self, headings=self.headings[:count], rows=rows)


@attrs.frozen
class Picture:
    """The tables and lines to show."""

    about: str
    details: str
    left: list[Block]
    right: list[Block]
    upstreams: Block
    busiest: Block
    history: str = ""  # how many queries there were in each of the last intervals
    notice: str = ""

    @property
    def blocks(self) -> list[Block]:
        """All of them, the most useful first."""
        return [*self.left, *self.right, self.upstreams, self.busiest]


def picture(
    before: Reading | None,
    after: Reading,
    upstream_rates: dict[str, float],
    busiest: Busiest,
    history: History | None = None,
) -> Picture:
    """Show what happened between the readings; without the first one, since the daemon's start."""
    change = _Change(before, after)
    if history is not None and before is not None:
        history.add(sum(map(change.rate, QUERIES)))
    return Picture(
        about=f"fastdns {__version__}, pid {after.pid}, up {in_days(after.up)}",
        details=_details(change),
        left=[_traffic(change), _tiers(change)],
        right=[_latency(change), _cache(after), _responses(change)],
        upstreams=_upstreams(after, upstream_rates),
        busiest=_busiest(busiest),
        history=str(history or ""),
    )


class History:
    """Queries per second in the last intervals, as a row of bars."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=HISTORY)

    def __bool__(self) -> bool:
        return bool(self._rates)

    def __str__(self) -> str:
        """Return the bars, the highest of which is the busiest interval; a tenth of it is seen."""
        most = max(self._rates, default=0.0)
        bars = "".join(
            BARS[math.ceil(rate / most * (len(BARS) - 1)) if most else 0] for rate in self._rates
        )
        return f"{bars:>{HISTORY}}  at most {in_rate(most)} queries/s"

    def add(self, rate: float) -> None:
        """Add another interval."""
        self._rates.append(rate)


class _Change:
    """What happened between two readings of one daemon."""

    def __init__(self, before: Reading | None, after: Reading) -> None:
        self.after = after
        self.since_start = before is None
        self.seconds = max(after.at - before.at if before else after.up, SECONDS_MIN)
        self._totals = before.totals if before else dict.fromkeys(after.totals, 0)
        self.latencies = {
            "hits": _less(after.hits, before.hits) if before else after.hits,
            "misses": _less(after.misses, before.misses) if before else after.misses,
        }

    def rate(self, name: str) -> float:
        """Events of a counter per second."""
        return max(self.after.totals[name] - self._totals[name], 0) / self.seconds


class UpstreamRates:
    """Queries to each upstream per second.

    Processes publish their counts about once a second, each at its own moments: between two
    readings they may have done so twice or not at all.
    """

    def __init__(self) -> None:
        self._former: list[tuple[float, dict[str, int]]] = []
        self._rates: list[dict[str, float]] = []

    def after(self, reading: Reading) -> dict[str, float]:
        """Return them by name; after the first reading of a daemon, those since its start."""
        tables = [(at, {one.name: one.queries for one in shown}) for at, shown in reading.tables]
        if not self._former:
            self._former = list(tables)
            self._rates = [_rates({}, counts, reading.up) for _, counts in tables]
        for slot, (at, counts) in enumerate(tables):
            before, former = self._former[slot]
            if at > before:
                self._former[slot] = at, counts
                self._rates[slot] = _rates(former, counts, at - before)
            elif reading.at - at > SILENT_SECONDS:
                self._rates[slot] = {}
        together: Counter[str] = Counter()
        for rates in self._rates:
            together.update(rates)
        return dict(together)


def _rates(before: dict[str, int], after: dict[str, int], seconds: float) -> dict[str, float]:
    seconds = max(seconds, SECONDS_MIN)
    return {name: max(count - before.get(name, 0), 0) / seconds for name, count in after.items()}


def _less(after: Sequence[int], before: Sequence[int]) -> list[int]:
    return [max(late - early, 0) for late, early in zip(after, before, strict=True)]


def _details(change: _Change) -> str:
    over = "since its start" if change.since_start else f"the last {change.seconds:.1f} s"
    totals = change.after.totals
    asked = change.rate("cache_hits_total") + change.rate("cache_misses_total")
    held = sum(change.rate(name) for name in CACHE)
    parts = [
        f"{in_share(held, asked)} from the cache" if asked else "no queries",
        f"{totals['in_flight']:,} in flight",
        in_number(totals["tcp_connections"], "TCP connection"),
    ]
    parts += [
        in_number(totals[f"{transport}_connections"], f"{transport.upper()} connection")
        for transport in ENCRYPTED
        if totals[f"{transport}_connections"]
    ]
    return f"{over}: {', '.join(parts)}"


def _traffic(change: _Change) -> Block:
    rates = {
        transport.upper(): change.rate(name)
        for transport, name in zip(TRANSPORT_NAMES, QUERIES, strict=True)
        if transport not in ENCRYPTED or change.after.totals[name]
    }
    rates["all"] = sum(rates.values())
    if change.after.totals["queries_refused_total"]:
        rates["refused"] = change.rate("queries_refused_total")
    if any(change.after.totals[name] for name in BLOCKED):
        rates["blocked"] = sum(map(change.rate, BLOCKED))
    return Block(("queries", "queries/s"), [(name, in_rate(rate)) for name, rate in rates.items()])


def _tiers(change: _Change) -> Block:
    """The sources of answers. Queries without a tier went to an upstream."""
    tiers = {
        "memory": change.rate("cache_hits_total"),
        "disk": change.rate("disk_hits_total"),
        "stale": change.rate("cache_stale_total"),
    }
    asked = change.rate("cache_hits_total") + change.rate("cache_misses_total")
    tiers["upstream"] = max(asked - sum(tiers.values()), 0.0)
    rows = [(name, in_rate(rate), in_share(rate, asked)) for name, rate in tiers.items()]
    return Block(("answered from", "queries/s", "share"), rows)


def _latency(change: _Change) -> Block:
    rows = [
        (name, *(in_time(quantile(buckets, percent / 100)) for percent in QUANTILES))
        for name, buckets in change.latencies.items()
    ]
    return Block(("latency", *(f"p{percent}" for percent in QUANTILES)), rows)


def _cache(after: Reading) -> Block:
    rows = [
        (
            name,
            f"{after.totals[f'{tier}_entries']:,}",
            in_octets(after.totals[f"{tier}_bytes"]),
            in_octets(after.limits[tier]) if after.limits.get(tier) else "-",
        )
        for name, tier in (("memory", "cache"), ("disk", "disk"))
    ]
    return Block(("cache", "entries", "size", "limit"), rows)


def _responses(change: _Change) -> Block:
    counters = {rcode: f"responses_{rcode.lower()}_total" for rcode in RCODES}
    shown = [
        rcode
        for number, rcode in enumerate(RCODES)
        if number < RCODES_ALWAYS or change.after.totals[counters[rcode]]
    ]
    rates = {rcode: change.rate(counters[rcode]) for rcode in shown}
    every = sum(rates.values())
    rows = [(rcode, in_rate(rate), in_share(rate, every)) for rcode, rate in rates.items()]
    failing = every > 0 and rates["SERVFAIL"] / every > SERVFAIL_ALARMING
    alarming = frozenset({shown.index("SERVFAIL")} if failing else ())
    return Block(("responses", "queries/s", "share"), rows, alarming=alarming)


def _upstreams(after: Reading, rates: dict[str, float]) -> Block:
    """The dead ones first: they matter most, and the last rows may not fit."""
    upstreams = sorted(after.upstreams, key=is_well)
    bad = frozenset(number for number, one in enumerate(upstreams) if not is_well(one))
    rows = [
        (
            escape(one.name),
            in_a_word(one),
            in_time(one.rtt if one.alive else None),
            in_rate(rates.get(one.name, 0.0)),
            f"{one.queries:,}",
            f"{one.failures:,}",
        )
        for one in upstreams
    ]
    headings = ("upstreams", "state", "rtt", "queries/s", "queries", "failures")
    return Block(headings, rows, words=2, alarming=bad)


def _busiest(busiest: Busiest) -> Block:
    rows = [(name, qtype, in_rate(rate)) for name, qtype, rate in busiest.names]
    return Block(("busiest names", "type", "queries/s"), rows, busiest.problem, words=2)
