"""`fastdns stats`: the counters, read from the daemon's shared pages without its help."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from .._counters import COUNTERS
from ..config.load import load_places
from ..config.text import escape
from ..counters import Pages, per_day, quantile
from ..listen.certificate_in_use import InUse, read_in_use
from . import options
from .console import plain_console
from .figures import QUANTILES, in_a_word, in_days, in_octets, in_share, in_time, is_well
from .health import summary
from .output import emit
from .owner import become_owner
from .running import newest_pages
from .wrapping import wrapped

GROUPS = ("asked", "answered", "memory", "disk", "upstreams", "trouble")
FIGURES = 9  # characters of a column of counts
MEANINGS = max(len(meaning) for *_, meaning in COUNTERS)
# Names for answers that are not from memory, disk or an upstream.
TIERS = {
    "none": "no upstream answered",
    "access": "client not allowed",
    "limit": "client above its limit",
    "wire": "malformed query",
    "local": "fastdns itself",
}
A_DAY = "disk_written_bytes_per_day"


@click.command()
@options.config_file
@options.state
@click.option("--all", "every", is_flag=True, help="Also show counters that are 0.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(path: Path | None, state: str | None, every: bool, as_json: bool) -> None:
    """Print the counters of the running daemon, totals since its start.

    On a terminal: in groups, without counters that are 0. In a pipe: all counters, a name and a
    value on each line. Exit status 1: no daemon runs.
    """
    places = load_places(path, state=state)
    become_owner(places.state_dir)
    pages = newest_pages(places)
    totals = pages.totals()
    if as_json:
        about = {"pid": pages.pid, "start_time_seconds": pages.started_at}
        figures = (
            about
            | totals
            | _written(pages, totals)
            | _certificate(read_in_use(places.certificate))
            | _latency(pages)
            | {"outcomes": _outcomes(pages), "upstreams": _upstreams(pages)}
        )
        emit(json.dumps(figures) + "\n")
    elif sys.stdout.isatty():
        _print_tables(pages, totals, every=every)
        if (one := read_in_use(places.certificate)) is not None:
            emit(f"\ndays until the certificate ends: {one.days_left(time.time())}\n")
    else:
        certificate = _certificate(read_in_use(places.certificate))
        emit("".join(f"{name} {value}\n" for name, value in _lines(pages, totals, certificate)))


def _written(pages: Pages, totals: dict[str, int]) -> dict[str, float | None]:
    """The bytes that a day at the rate since the start writes, by metric name; None: unknown."""
    return {A_DAY: per_day(totals["disk_written_bytes_total"], time.time() - pages.started_at)}


def _certificate(one: InUse | None) -> dict[str, float | None]:
    """When the certificate in use ends, in Unix time and in days from now; None: there is none."""
    return {
        "certificate_not_after_seconds": None if one is None else one.not_after,
        "certificate_days_left": None if one is None else one.days_left(time.time()),
    }


def _latency(pages: Pages) -> dict[str, float | None]:
    """The number and the durations of timed answers, by metric name; None: unknown."""
    figures: dict[str, float | None] = {}
    for kind, buckets in zip(("hits", "misses"), pages.latency(), strict=True):
        figures[f"latency_{kind}_count"] = sum(buckets)
        for percent in QUANTILES:
            seconds = quantile(buckets, percent / 100)
            name = f"latency_{kind}_p{percent}_seconds"
            figures[name] = None if seconds is None else round(seconds, 9)
    return figures


def _outcomes(pages: Pages) -> list[dict[str, str | int]]:
    """The number of queries by outcome; the tier is the source, or has refused the client."""
    return [
        {"transport": transport, "tier": tier, "rcode": rcode, "queries_total": count}
        for (transport, tier, rcode), count in pages.outcomes().items()
    ]


def _upstreams(pages: Pages) -> list[dict[str, str | float | None]]:
    return [
        {
            "name": upstream.name,
            "alive": upstream.alive,
            "rtt_seconds": upstream.rtt,
            "queries_total": upstream.queries,
            "failures_total": upstream.failures,
            "edns": upstream.edns,
        }
        for upstream in pages.upstreams()
    ]


def _lines(
    pages: Pages, totals: dict[str, int], certificate: dict[str, float | None]
) -> list[tuple[str, str]]:
    """Names, padded to a column, and values."""
    figures: dict[str, str | float | None] = {
        **totals,
        **_written(pages, totals),
        **certificate,
        **_latency(pages),
    }
    for outcome in _outcomes(pages):
        count = outcome.pop("queries_total")
        label = ",".join(f'{name}="{value}"' for name, value in outcome.items())
        figures[f"outcome_queries_total{{{label}}}"] = count
    for upstream in _upstreams(pages):
        label = f'{{upstream="{escape(str(upstream.pop("name")))}"}}'
        figures |= {f"upstream_{name}{label}": value for name, value in upstream.items()}
    width = max(map(len, figures))
    return [(f"{name:<{width}}", _plain(value)) for name, value in figures.items()]


def _plain(value: str | float | None) -> str:
    """A number for scripts; NaN for an unknown one, as Prometheus writes it."""
    if value is None:
        return "NaN"
    return f"{value:.9f}" if isinstance(value, float) else f"{value:d}"


def _print_tables(pages: Pages, totals: dict[str, int], *, every: bool) -> None:
    up = time.time() - pages.started_at
    console = plain_console()
    console.print(wrapped(summary(pages, totals)))
    console.print(f"since the start {in_days(up)} ago (pid {pages.pid})")
    counters = _counters(totals, every=every)
    for table in (_latency_table(pages), _tiers_table(pages), _upstreams_table(pages), *counters):
        console.print()
        console.print(table)
    written = _written(pages, totals)[A_DAY]
    if written is not None:
        console.print(f"{in_octets(written):>{FIGURES}}  per day at this rate ({A_DAY})")
    if not every:
        console.print("\ncounters that are 0 are left out: fastdns stats --all shows them")


def _counters(totals: dict[str, int], *, every: bool) -> Iterator[Table]:
    """Yield a table for each group with a counter that is not 0."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, group, meaning in COUNTERS:
        if totals[name] or every:
            groups.setdefault(group, []).append((name, meaning))
    for group in sorted(groups, key=GROUPS.index):
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column(Text(group, justify="left"), justify="right", min_width=FIGURES)
        table.add_column("", min_width=MEANINGS)
        table.add_column("", style="dim")
        for name, meaning in groups[group]:
            count = in_octets(totals[name]) if "bytes" in name else f"{totals[name]:,}"
            style = "bold red" if group == "trouble" and totals[name] else None
            table.add_row(count, meaning, name, style=style)
        yield table


def _latency_table(pages: Pages) -> Table:
    percents = [f"p{percent}" for percent in QUANTILES]
    table = Table("time to the answer", box=None, pad_edge=False, header_style="bold")
    for heading in ("answers", *percents):
        table.add_column(heading, justify="right")
    for kind, buckets in zip(("hits", "misses"), pages.latency(), strict=True):
        times = [in_time(quantile(buckets, percent / 100)) for percent in QUANTILES]
        table.add_row(kind, f"{sum(buckets):,}", *times)
    return table


def _tiers_table(pages: Pages) -> Table:
    """The sources of answers; every query counts once."""
    tiers: Counter[str] = Counter()
    for (_, tier, _), count in pages.outcomes().items():
        tiers[tier] += count
    table = Table("answered from", box=None, pad_edge=False, header_style="bold")
    for heading in ("queries", "share"):
        table.add_column(heading, justify="right")
    for tier, count in tiers.most_common():
        table.add_row(TIERS.get(tier, tier), f"{count:,}", in_share(count, tiers.total()))
    return table


def _upstreams_table(pages: Pages) -> Table:
    table = Table("upstream", "state", box=None, pad_edge=False, header_style="bold")
    for heading in ("round trip", "queries", "failures"):
        table.add_column(heading, justify="right")
    for one in pages.upstreams():
        figures = (in_time(one.rtt if one.alive else None), f"{one.queries:,}", f"{one.failures:,}")
        style = None if is_well(one) else "bold red"
        table.add_row(escape(one.name), in_a_word(one), *figures, style=style)
    return table
