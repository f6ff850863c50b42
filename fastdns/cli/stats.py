"""`fastdns stats`: the counters, read from the daemon's shared pages without its help."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
from rich.table import Table

from .._counters import COUNTERS
from ..config.load import load_places
from ..config.text import escape
from ..counters import Pages, per_day, quantile
from . import options
from .console import plain_console
from .figures import QUANTILES, in_a_word, in_octets, in_time
from .output import emit
from .owner import become_owner
from .running import await_newest, pages_of_running

A_DAY = "disk_written_bytes_per_day"


@click.command()
@options.config_file
@options.state
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def stats(path: Path | None, state: str | None, as_json: bool) -> None:
    """Print the counters of the running daemon, totals since its start; exit 1 when none runs."""
    places = load_places(path, state=state)
    become_owner(places.state_dir)
    pages = pages_of_running(places)
    await_newest(pages, places)
    totals = pages.totals()
    if as_json:
        about = {"pid": pages.pid, "start_time_seconds": pages.started_at}
        figures = (
            about
            | totals
            | _written(pages, totals)
            | _latency(pages)
            | {"outcomes": _outcomes(pages), "upstreams": _upstreams(pages)}
        )
        emit(json.dumps(figures) + "\n")
    elif sys.stdout.isatty():
        _print_tables(pages, totals)
    else:
        emit("".join(f"{name} {value}\n" for name, value in _lines(pages, totals)))


def _written(pages: Pages, totals: dict[str, int]) -> dict[str, float | None]:
    """What a day at the rate since the start writes to disk, by metric name; None: not known."""
    return {A_DAY: per_day(totals["disk_written_bytes_total"], time.time() - pages.started_at)}


def _latency(pages: Pages) -> dict[str, float | None]:
    """How many answers were timed and how long they took, by metric name; None: nothing known."""
    figures: dict[str, float | None] = {}
    for kind, buckets in zip(("hits", "misses"), pages.latency(), strict=True):
        figures[f"latency_{kind}_count"] = sum(buckets)
        for percent in QUANTILES:
            seconds = quantile(buckets, percent / 100)
            name = f"latency_{kind}_p{percent}_seconds"
            figures[name] = None if seconds is None else round(seconds, 9)
    return figures


def _outcomes(pages: Pages) -> list[dict[str, str | int]]:
    """How many queries ended how; the tier is who has answered, or has sent the client away."""
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


def _lines(pages: Pages, totals: dict[str, int]) -> list[tuple[str, str]]:
    """Names, padded to a column, and values."""
    figures: dict[str, str | float | None] = {
        **totals,
        **_written(pages, totals),
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
    """A number that scripts can read; NaN for an unknown one, as Prometheus writes it."""
    if value is None:
        return "NaN"
    return f"{value:.9f}" if isinstance(value, float) else f"{value:d}"


def _print_tables(pages: Pages, totals: dict[str, int]) -> None:
    up = time.time() - pages.started_at
    counters = Table(title=f"fastdns, pid {pages.pid}, up {up:.0f} s")
    counters.add_column("counter")
    counters.add_column("value", justify="right")
    counters.add_column("meaning")
    meanings = dict(COUNTERS)
    for name, value in totals.items():
        counters.add_row(name, f"{value:,}", meanings[name])
    written = _written(pages, totals)[A_DAY]
    meaning = "what a day at this rate writes to disk"
    counters.add_row(A_DAY, "-" if written is None else in_octets(written), meaning)
    console = plain_console()
    for table in (counters, _latency_table(pages), _upstreams_table(pages)):
        console.print(table)


def _latency_table(pages: Pages) -> Table:
    percents = [f"p{percent}" for percent in QUANTILES]
    table = Table("", title="time to the answer")
    for heading in ("answers", *percents):
        table.add_column(heading, justify="right")
    for kind, buckets in zip(("hits", "misses"), pages.latency(), strict=True):
        times = [in_time(quantile(buckets, percent / 100)) for percent in QUANTILES]
        table.add_row(kind, f"{sum(buckets):,}", *times)
    return table


def _upstreams_table(pages: Pages) -> Table:
    table = Table("upstream", "state", title="upstreams")
    for heading in ("round trip", "queries", "failures"):
        table.add_column(heading, justify="right")
    for one in pages.upstreams():
        figures = (in_time(one.rtt), f"{one.queries:,}", f"{one.failures:,}")
        table.add_row(escape(one.name), in_a_word(one), *figures)
    return table
