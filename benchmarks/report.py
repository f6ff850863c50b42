"""The table, the bars, and the spread of a ratio over the rounds."""

import operator
from collections.abc import Callable, Iterable
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
) -> list[float]:
    """Return combine(first's figure, second's) of each round that has both.

    A round is compared within itself: the machine's mood changes from one to the next.
    """
    pairs = ((figure(one, first, path), figure(one, second, path)) for one in rounds)
    return [combine(a, b) for a, b in pairs if a is not None and b is not None]


def spread(numbers: list[float]) -> Spread | None:
    if not numbers:
        return None
    return {"min": min(numbers), "median": median(numbers), "max": max(numbers)}


def ratios(rounds: list[Round], servers: Iterable[str]) -> dict[str, dict[str, Spread | None]]:
    """Return for each server the spread of its ratios to the floor."""
    paths = ("hits/cpu_us", "hits/qps", "latency/latency_us/p99")
    return {
        server: {
            path: spread(paired(rounds, operator.truediv, path, server, "floor")) for path in paths
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

    def line(self) -> str:
        if not self.numbers:
            return f"  {self.text:<50} not measured"
        low, middle, high = (f"{f(self.numbers):.3g}" for f in (min, median, max))
        verdict = "met" if self.met else "missed"
        return f"  {self.text:<50} {middle} {self.unit} ({low} to {high}): {verdict}"


def bars(rounds: list[Round], rate: int, entries: int) -> list[Bar]:
    """Return what fastdns promises, with this run's figures."""
    return bars_of_hits(rounds, rate) + bars_of_disk(rounds, rate, entries)


def bars_of_hits(rounds: list[Round], rate: int) -> list[Bar]:
    cpu = "hits/cpu_us"
    later = paired(rounds, operator.sub, "latency/latency_us/p99", "fastdns", "floor")
    return [
        Bar(
            "hits: CPU a query at most 1.3 times the floor's",
            "times",
            1.3,
            paired(rounds, operator.truediv, cpu, "fastdns", "floor"),
        ),
        Bar(
            "hits: CPU a query below dnsdist's",
            "times",
            1.0,
            paired(rounds, operator.truediv, cpu, "fastdns", "dnsdist"),
        ),
        Bar(
            "hits: the plain forwarder's CPU at least 35 times",
            "times",
            35.0,
            paired(rounds, operator.truediv, cpu, "baseline", "fastdns"),
            at_least=True,
        ),
        Bar(
            "PSS with all names warm at most 48 MiB",
            "MiB",
            48.0,
            [octets / MIB for octets in figures(rounds, "fastdns", "memory/pss")],
        ),
        Bar(
            f"p99 at {rate:,} q/s within 1 ms of the floor's",
            "ms above",
            1.0,
            [microseconds / 1000 for microseconds in later],
        ),
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


DISK_ROWS: tuple[tuple[str, str, str], ...] = (
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


def disk_table(rounds: list[Round]) -> str:
    """Return a line a figure of the disk cache: the rounds' median, least and most."""
    lines = []
    for text, path, form in DISK_ROWS:
        if found := spread(figures(rounds, "fastdns", path)):
            low, middle, high = (format(found[key], form) for key in ("min", "median", "max"))
            lines.append(f"{text:<40}{middle:>10} ({low} to {high})\n")
    return "".join(lines)


COLUMNS: tuple[tuple[str, str, str, float], ...] = (
    ("q/s", "hits/qps", ",.0f", 1),
    ("CPU µs", "hits/cpu_us", ".2f", 1),
    ("busy", "hits/busy", ".0%", 1),
    ("lost", "hits/lost_share", ".2%", 1),
    ("PSS MiB", "memory/pss", ".1f", 1 / MIB),
    ("p50 µs", "latency/latency_us/p50", ",.0f", 1),
    ("p99 µs", "latency/latency_us/p99", ",.0f", 1),
    ("miss q/s", "miss/qps", ",.0f", 1),
    ("miss CPU", "miss/cpu_us", ".2f", 1),
    ("miss lost", "miss/lost_share", ".2%", 1),
)


def table(rounds: list[Round], servers: list[str]) -> str:
    """Return a line a server: medians of the rounds, and the spread of its CPU over the floor's."""
    over_floor = "CPU / floor"
    lines = [f"{'server':<9}{over_floor:>20}" + "".join(f"{c[0]:>11}" for c in COLUMNS)]
    for server in servers:
        cells = []
        for _, path, form, scale in COLUMNS:
            numbers = figures(rounds, server, path)
            cells.append(format(median(numbers) * scale, form) if numbers else "-")
        ratio = spread(paired(rounds, operator.truediv, "hits/cpu_us", server, "floor"))
        text = f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "-"
        lines.append(f"{server:<9}{text:>20}" + "".join(f"{cell:>11}" for cell in cells))
    return "\n".join(lines)
