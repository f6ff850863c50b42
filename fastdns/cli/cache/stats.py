"""`fastdns cache stats`: what the cache on disk holds, summed up."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from ...browse.survey import as_json as sums_as_json
from ...browse.survey import survey
from .. import options
from ..figures import in_date, in_days, in_octets, in_share
from ..output import emit
from .progress import progress
from .site import find_site

BAR = 40  # characters


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.config_file
@options.state
def stats(as_json: bool, path: Path | None, state: str | None) -> None:
    """Count entries by state and TTL left, and tell sizes and what is written a day."""
    show = _show_tables if sys.stdout is not None and sys.stdout.isatty() else _show_lines
    site = find_site(path, state)
    with site.reading() as reader:
        facts = reader.facts()
        with progress("reading", facts.entries) as advance:
            sums = survey(reader, site.judge(), advance)
    told = sums_as_json(sums, facts, str(site.path))
    if as_json:
        emit(json.dumps(told) + "\n")
    else:
        show(told)


def _show_lines(told: dict[str, Any]) -> None:
    words: dict[str, Any] = {}
    if (since := told["written_since"]) is not None:
        words["written_since"] = in_date(since, time.time())
    if (oldest := told["oldest_seconds"]) is not None:
        words["oldest_seconds"] = f"{oldest:.0f} ({in_days(oldest)})"
    lines = [(name, value) for name, value in (told | words).items() if not isinstance(value, list)]
    for one in told["ttl_histogram"]:
        lines.append((f"ttl_from_{one['from']}", one["entries"]))
    for one in told["origins"]:
        lines.append((f"origin_{one['origin']}", one["entries"]))
    width = max(len(name) for name, _ in lines)
    emit("".join(f"{name:<{width}} {_plain(value)}\n" for name, value in lines))


def _plain(value: object) -> str:
    return "NaN" if value is None else str(value)


def _show_tables(told: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a pipe does not pay for it
    from rich.table import Table  # noqa: PLC0415

    console = Console(emoji=False, markup=False, highlight=False)
    table = Table(title=f"disk cache {told['path']}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for row in _rows(told):
        table.add_row(*row)
    console.print(table)
    bars = Table(title="TTL left of fresh entries")
    bars.add_column("seconds")
    bars.add_column("entries", justify="right")
    bars.add_column("", min_width=BAR)
    most = max((one["entries"] for one in told["ttl_histogram"]), default=0) or 1
    for one in told["ttl_histogram"]:
        span = f"{one['from']} and more" if one["below"] is None else f"under {one['below']}"
        bars.add_row(span, f"{one['entries']:,}", "#" * round(BAR * one["entries"] / most))
    console.print(bars)


def _since(told: dict[str, Any]) -> str:
    since = told["written_since"]
    return "" if since is None else f"since {in_date(since, time.time())}"


def _rows(told: dict[str, Any]) -> list[tuple[str, str, str]]:
    entries = told["entries"]
    rows = [("entries", f"{entries:,}", "")]
    for name in ("fresh", "stale", "expired", "negative"):
        rows.append((name, f"{told[name]:,}", in_share(told[name], entries)))
    if told["damaged"]:
        rows.append(("damaged", f"{told['damaged']:,}", "see fastdns cache verify"))
    oldest, written = told["oldest_seconds"], told["written_bytes_per_day"]
    live, room = told["live_bytes"], told["map_bytes"]
    rows += [
        ("hits", f"{told['hits']:,}", "answers served, kept over restarts"),
        ("oldest", "-" if oldest is None else in_days(oldest), ""),
        ("entries take", in_octets(told["entry_bytes"]), ""),
        ("map in use", in_octets(live), in_share(live, room)),
        ("map", in_octets(room), f"file {in_octets(told['file_bytes'])}"),
        ("written a day", "-" if written is None else in_octets(written), _since(told)),
    ]
    if len(told["origins"]) > 1:
        rows.append(("groups of upstreams", str(len(told["origins"])), "only one is in use"))
    return rows
