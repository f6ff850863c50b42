"""The table, the bars, and the spread of a ratio over the rounds."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Round = dict[str, dict[str, Any]]  # server → what was measured of it
Spread = dict[str, float]
MIB = 1 << 20


def figure(one: Round, server: str, path: str) -> float | None:
    """Return what `path` ("latency/latency_us/p99") leads to; None when it was not measured."""
    found: Any = one.get(server)
    for key in path.split("/"):
        if found is None:
            return None
        found = found.get(key)
    return found


def figures(rounds: list[Round], server: str, path: str) -> list[float]:
    found = (figure(one, server, path) for one in rounds)
    return [number for number in found if number is not None]


def paired(
    rounds: list[Round],
    combine: Callable[[float, float], float],
    path: str,
    first: str,
    second: str,
    *,
    second_path: str = "",
) -> list[float]:
    """Return combine(first's figure, second's) of each round that has both.

    A round is compared within itself: the machine's mood changes from one to the next.
    """
    pairs = ((figure(one, first, path), figure(one, second, second_path or path)) for one in rounds)
    return [combine(a, b) for a, b in pairs if a is not None and b is not None]


def over_the_best(rounds: list[Round], path: str, server: str) -> list[float]:
    """Return the server's figure over the greatest of all others', of each round that has both."""
    found = []
    for one in rounds:
        mine = figure(one, server, path)
        others = [figure(one, other, path) for other in one if other != server]
        best = max((other for other in others if other is not None), default=None)
        if mine is not None and best:
            found.append(mine / best)
    return found


def spread(numbers: list[float]) -> Spread | None:
    if not numbers:
        return None
    return {"min": min(numbers), "median": median(numbers), "max": max(numbers)}


RATIOS: tuple[tuple[str, str], ...] = (
    ("hits/cpu_us", "floor"),
    ("hits/qps", "floor"),
    ("latency/20000/latency_us/p99", "floor"),
    ("tcp/8x16/cpu_us", "dnsdist"),
    ("miss/cpu_us", "dnsdist"),
    ("mixed/cpu_us", "dnsdist"),
    ("mixed/qps", "dnsdist"),
    ("million/cpu_us", "floor"),
)


def ratios(rounds: list[Round], servers: Iterable[str]) -> dict[str, dict[str, Spread | None]]:
    """Return for each server the spread of its ratios to the floor, else to dnsdist."""
    return {
        server: {
            f"{path} over {other}": spread(paired(rounds, operator.truediv, path, server, other))
            for path, other in RATIOS
        }
        for server in servers
    }


@dataclass(frozen=True)
class Bar:
    """One promise: the median of the rounds' `numbers` is at most (or at least) `limit`."""

    text: str
    unit: str
    limit: float
    numbers: list[float]
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if not self.numbers:
            return None
        middle = median(self.numbers)
        return middle >= self.limit if self.at_least else middle <= self.limit

    def summary(self) -> dict[str, Any]:
        figures_of_it = spread(self.numbers) or {}
        return {"bar": self.text, **figures_of_it, "limit": self.limit, "met": self.met}

    def line(self) -> str:
        if not self.numbers:
            return f"  {self.text:<58} not measured"
        low, middle, high = (f"{f(self.numbers):.3g}" for f in (min, median, max))
        limit = f"{'at least' if self.at_least else 'at most'} {self.limit:g}"
        verdict = "met" if self.met else "missed"
        return f"  {self.text:<58} {middle} {self.unit} ({low} to {high}), {limit}: {verdict}"


def bars(rounds: list[Round], rate: int, entries: int) -> list[Bar]:
    """Return what fastdns promises, with this run's figures."""
    return (
        bars_beside_peers(rounds, rate) + bars_alone(rounds) + bars_of_disk(rounds, rate, entries)
    )


def bars_beside_peers(rounds: list[Round], rate: int) -> list[Bar]:
    def times(path: str, other: str, other_path: str = "") -> list[float]:
        return paired(rounds, operator.truediv, path, "fastdns", other, second_path=other_path)

    later = paired(rounds, operator.sub, f"latency/{rate}/latency_us/p99", "fastdns", "floor")
    plain = paired(rounds, operator.truediv, "hits/cpu_us", "baseline", "fastdns")
    return [
        Bar("hits: CPU a query, over the floor's", "times", 1.2, times("hits/cpu_us", "floor")),
        Bar("hits: over dnsdist's", "times", 1.0, times("hits/cpu_us", "dnsdist")),
        Bar("a million names: over the floor's", "times", 1.2, times("million/cpu_us", "floor")),
        Bar("a million names: over dnsdist's", "times", 1.0, times("million/cpu_us", "dnsdist")),
        Bar("hits: the plain forwarder's CPU over ours", "times", 35.0, plain, at_least=True),
        Bar(
            "misses: CPU a query of all but the keeper, over dnsdist's",
            "times",
            1.0,
            times("miss/workers_us", "dnsdist", "miss/cpu_us"),
        ),
        Bar(
            "mixed: queries a second, over the best peer's",
            "times",
            1.0,
            over_the_best(rounds, "mixed/qps", "fastdns"),
            at_least=True,
        ),
        Bar(
            f"p99 at {rate:,} q/s, above the floor's",
            "ms",
            1.0,
            [microseconds / 1000 for microseconds in later],
        ),
    ]


def bars_alone(rounds: list[Round]) -> list[Bar]:
    def mebibytes(path: str) -> list[float]:
        return [octets / MIB for octets in figures(rounds, "fastdns", path)]

    return [
        Bar(
            "two workers: times one's hits, of what is possible here",
            "",
            0.85,  # 1.7 times where twice as much is possible
            figures(rounds, "fastdns", "workers/share"),
            at_least=True,
        ),
        Bar(
            "the same with a quarter of a core granted to each",
            "times",
            1.7,
            figures(rounds, "fastdns", "workers/granted_ratio"),
            at_least=True,
        ),
        Bar("PSS with all names warm", "MiB", 38.0, mebibytes("memory/pss")),
        Bar("PSS of each further worker", "MiB", 15.0, mebibytes("workers/further_pss")),
    ]


def bars_of_disk(rounds: list[Round], rate: int, entries: int) -> list[Bar]:
    def bar(text: str, unit: str, limit: float, path: str, scale: float = 1.0) -> Bar:
        numbers = [number * scale for number in figures(rounds, "fastdns", path)]
        return Bar(text, unit, limit, numbers)

    return [
        bar(f"start with {entries:,} entries, to an answer of theirs", "ms", 500, "start/many_ms"),
        bar("start: times that with a hundredth of them", "times", 1.2, "start/ratio"),
        bar("a hit from disk: CPU above one from memory", "µs", 4, "disk_hits/more_us"),
        bar("keeper: CPU an entry written", "µs", 15, "keeper/new/cpu_us"),
        bar(f"a commit: p99 at {rate:,} q/s moves", "ms", 1, "keeper/commit/more_us", 1e-3),
        bar("cache ls --limit 10", "ms", 300, "browse/limited_ms"),
        bar(f"cache ls: p99 at {rate:,} q/s moves", "ms", 1, "browse/more_us", 1e-3),
        bar("cache ls: the map grows", "times", 1.0, "browse/growth"),
    ]


OWN_ROWS: tuple[tuple[str, str, str], ...] = (
    ("miss, all but the keeper, CPU µs", "miss/workers_us", ".2f"),
    ("miss, the keeper, CPU µs", "miss/keeper_us", ".2f"),
    ("miss, answers that were not written to disk", "miss/ring_shed_total", ",.0f"),
    ("one worker, hits a second", "workers/one/qps", ",.0f"),
    ("two workers, hits a second", "workers/two/qps", ",.0f"),
    ("times one worker's", "workers/ratio", ".2f"),
    ("times that this machine allows", "workers/allowed", ".2f"),
    ("two workers, CPU µs a hit", "workers/two/cpu_us", ".2f"),
    ("one, a quarter of a core granted, a second", "workers/one/granted/qps", ",.0f"),
    ("two, a quarter of a core for each, a second", "workers/two/granted/qps", ",.0f"),
    ("hit, everybody may ask, CPU µs", "access/everybody/cpu_us", ".2f"),
    ("under the default rules, CPU µs", "access/default/cpu_us", ".2f"),
    ("under ten thousand prefixes, CPU µs", "access/prefixes/cpu_us", ".2f"),
    ("under a limit, CPU µs", "access/limit/cpu_us", ".2f"),
    ("under a limit, exempt, CPU µs", "access/exempt/cpu_us", ".2f"),
    ("start, many entries, ms", "start/many_ms", ",.0f"),
    ("start, few, ms", "start/few_ms", ",.0f"),
    ("start, many, file not in memory, ms", "start/cold_ms", ",.0f"),
    ("hit from disk, CPU µs", "disk_hits/disk_us", ".2f"),
    ("the same names from memory, CPU µs", "disk_hits/memory_us", ".2f"),
    ("keeper, CPU µs an entry", "keeper/new/cpu_us", ".1f"),
    ("commit beside hits, s", "keeper/commit/commit_seconds", ".2f"),
    ("p99 without it, µs", "keeper/commit/quiet_us", ",.0f"),
    ("p99 with it, µs", "keeper/commit/busy_us", ",.0f"),
    ("cache ls --limit 10, ms", "browse/limited_ms", ",.0f"),
    ("the same, daemon stopped, ms", "browse/limited_stopped_ms", ",.0f"),
    ("cache ls, s", "browse/all_seconds", ".1f"),
    ("p99 without it, µs", "browse/quiet_us/p99", ",.0f"),
    ("p99 with it, µs", "browse/busy_us/p99", ",.0f"),
    ("p99 with a process that only counts, µs", "browse/idler_us/p99", ",.0f"),
)


def own_table(rounds: list[Round]) -> str:
    """Return a line a figure of fastdns alone: the rounds' median, least and most."""
    lines = []
    for text, path, form in OWN_ROWS:
        if found := spread(figures(rounds, "fastdns", path)):
            low, middle, high = (format(found[key], form) for key in ("min", "median", "max"))
            lines.append(f"{text:<44}{middle:>10} ({low} to {high})\n")
    return "".join(lines)


STREAM_HITS = tuple(f"{over}/{way}" for over in ("tcp", "dot", "doh") for way in ("8x1", "8x16"))
MOST_UPSTREAM_US = 0.2  # of nsd's CPU a hit: checks of its health, a packet lost while warming


def no_hits(rounds: list[Round], servers: Iterable[str]) -> list[str]:
    """Return a line for each server that asked upstream for what it should have had."""
    lines = []
    for server in servers:
        for scenario in ("hits", *STREAM_HITS, "million"):
            asked = figures(rounds, server, f"{scenario}/upstream_us")
            if asked and median(asked) > MOST_UPSTREAM_US:
                lines.append(f"{server}, {scenario}: not all hits; it asked the upstream again")
    return lines


Column = tuple[str, str, str, float]  # heading, path, form, scale


def columns(rates: Sequence[int]) -> list[Column]:
    return [
        ("hit q/s", "hits/qps", ",.0f", 1),
        ("CPU µs", "hits/cpu_us", ".2f", 1),
        ("1M CPU", "million/cpu_us", ".2f", 1),
        ("TCP q/s", "tcp/8x16/qps", ",.0f", 1),
        ("CPU µs", "tcp/8x16/cpu_us", ".2f", 1),
        ("miss q/s", "miss/qps", ",.0f", 1),
        ("CPU µs", "miss/cpu_us", ".2f", 1),
        ("lost", "miss/lost_share", ".1%", 1),
        ("mix q/s", "mixed/qps", ",.0f", 1),
        ("CPU µs", "mixed/cpu_us", ".2f", 1),
        ("PSS MiB", "memory/pss", ".1f", 1 / MIB),
        *((f"p99@{rate / 1000:g}k", f"latency/{rate}/latency_us/p99", ",.0f", 1) for rate in rates),
    ]


def table(rounds: list[Round], servers: list[str], rates: Sequence[int]) -> str:
    """Return a line a server: medians of the rounds, and ratios of CPU with their spread.

    Hits over the floor's; misses, which the floor has not, over dnsdist's. Latencies in µs.
    """
    shown = [
        column for column in columns(rates) if any(figures(rounds, s, column[1]) for s in servers)
    ]
    heads = [f"{'server':<10}", f"{'hit / floor':>18}", f"{'miss / dnsdist':>18}"]
    lines = ["".join(heads) + "".join(f"{column[0]:>9}" for column in shown)]
    for server in servers:
        cells = [
            f"{server:<10}",
            f"{ratio_cell(rounds, 'hits/cpu_us', server, 'floor'):>18}",
            f"{ratio_cell(rounds, 'miss/cpu_us', server, 'dnsdist'):>18}",
        ]
        for _, path, form, scale in shown:
            numbers = figures(rounds, server, path)
            cells.append(f"{format(median(numbers) * scale, form) if numbers else '-':>9}")
        lines.append("".join(cells))
    return "\n".join(lines)


def ratio_cell(rounds: list[Round], path: str, server: str, other: str) -> str:
    ratio = spread(paired(rounds, operator.truediv, path, server, other))
    return f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "-"
