"""`fastdns cache stats`: the sums of the cache on disk."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
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
NAMES = 14
DEFAULT = "default"
UNKNOWN_RATE = "known 10 min after"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.config_file
@options.state
def stats(as_json: bool, path: Path | None, state: str | None) -> None:
    """Count entries by state and remaining TTL; show sizes and the bytes written per day."""
    show = _show_words if sys.stdout is not None and sys.stdout.isatty() else _show_lines
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
        group = f"_of_{_group_of(one)}" if one["view"] else ""
        lines.append((f"origin_{one['origin']}{group}", one["entries"]))
    width = max(len(name) for name, _ in lines)
    emit("".join(f"{name:<{width}} {_plain(value)}\n" for name, value in lines))


def _plain(value: object) -> str:
    return "NaN" if value is None else str(value)


def _show_words(told: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - a pipe does not pay for it

    console = Console(emoji=False, markup=False, highlight=False)
    console.print(f"disk cache {told['path']}\n", soft_wrap=True)
    for name, text in _rows(told):
        console.print(f"{name:<{NAMES}} {text}", soft_wrap=True)
    if not told["fresh"]:
        return
    console.print("\nremaining TTL of the fresh entries")
    most = max((one["entries"] for one in told["ttl_histogram"]), default=0) or 1
    for one in told["ttl_histogram"]:
        from_, below = one["from"], one["below"]
        span = f"{in_days(from_)} or longer" if below is None else f"under {in_days(below)}"
        bar = "#" * round(BAR * one["entries"] / most)
        console.print(f"{span:<{NAMES}} {one['entries']:>9,} {bar}".rstrip())


def _rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the names and texts of the lines."""
    entries = told["entries"]
    states = ", ".join(f"{told[name]:,} {name}" for name in ("fresh", "stale", "expired"))
    oldest, written = told["oldest_seconds"], told["written_bytes_per_day"]
    rows = [("entries", f"{entries:,}: {states}" if entries else "none")]
    if told["negative"]:
        share = in_share(told["negative"], entries)
        rows.append(("negative", f"{told['negative']:,} of them ({share}): NXDOMAIN or no data"))
    if told["damaged"]:
        rows.append(("damaged", f"{told['damaged']:,} more; see fastdns cache verify"))
    used = f"{in_octets(told['live_bytes'])} of {in_octets(told['map_bytes'])} used"
    rows += [
        ("disk", f"{used} ({in_share(told['live_bytes'], told['map_bytes'])})"),
        ("file", in_octets(told["file_bytes"])),
    ]
    if told["hits"]:
        text = f"{told['hits']:,} answers served from these entries, including before restarts"
        rows.append(("hits", text))
    if oldest is not None:
        rows.append(("oldest entry", in_days(oldest)))
    if (since := told["written_since"]) is not None:
        begun = in_date(since, time.time())
        rate = f"{in_octets(written)} at the rate since" if written is not None else UNKNOWN_RATE
        rows.append(("written per day", f"{rate} {begun}"))
    groups = Counter[str]()
    for one in told["origins"]:
        groups[_group_of(one)] += one["entries"]
    if groups.keys() - {DEFAULT}:
        rows.append(("groups", ", ".join(f"{n:,} {name}" for name, n in groups.most_common())))
    sets = Counter(_group_of(one) for one in told["origins"])
    for group, count in sets.items():
        if count > 1:
            of = "" if group == DEFAULT else f" of group {group}"
            rows.append(("upstreams", f"entries of {count} sets of upstreams{of}; one is in use"))
    return rows


def _group_of(origin: dict[str, Any]) -> str:
    return origin["group"] or (f"number {origin['view']}" if origin["view"] else DEFAULT)
