"""`fastdns status`: the state of the running daemon on one screen."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..config.load import load_places
from ..config.text import escape, path_text
from ..counters import QUERIES, Pages
from ..lists.trouble import lists_in_trouble
from ..policy.override_file import read
from . import options
from .figures import (
    in_a_word,
    in_date,
    in_days,
    in_number,
    in_octets,
    in_share,
    in_time,
    is_well,
)
from .health import blocked, summary, warnings
from .output import emit
from .overrides import paused
from .owner import become_owner
from .running import newest_pages, told_by_supervisor
from .wrapping import wrapped

INDENT = 12


@click.command()
@options.config_file
@options.state
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(path: Path | None, state: str | None, as_json: bool) -> None:
    """Show the state of the running daemon on one screen; exit 1 when none runs."""
    places = load_places(path, state=state)
    become_owner(places.state_dir)
    pages = newest_pages(places)
    told, problem = told_by_supervisor(places)
    certificate = told.get("certificate") or {}
    totals = pages.totals()
    now = time.time()
    found = [
        *([problem] if problem else []),
        *_unreadable(told.pop("files", [])),
        *map(path_text, certificate.get("problems", [])),
        *paused(read(places.overrides), now),
        *lists_in_trouble(places, now),
    ]
    wrong = [*found, *warnings(pages, totals)]
    if as_json:
        about = {
            "pid": pages.pid,
            "start_time_seconds": pages.started_at,
            "summary": summary(pages, totals, others=len(found)),
            "blocked": blocked(totals),
            "upstreams": [{"name": one.name, "alive": one.alive} for one in pages.upstreams()],
            "warnings": wrong,
        }
        emit(json.dumps(about | told) + "\n")
        return
    first = summary(pages, totals, others=len(found))
    emit("".join(f"{line}\n" for line in _lines(pages, totals, told, first, wrong)))


def _lines(
    pages: Pages, totals: dict[str, int], told: dict[str, Any], first: str, wrong: list[str]
) -> list[str]:
    now = time.time()
    up = in_days(now - pages.started_at)
    version = told.get("version", __version__)
    workers = f", {in_number(told['workers'], 'worker')}" if told else ""
    lines = [
        f"fastdns {version}, pid {pages.pid}, up {up}{workers}",
        wrapped(first),
        "",
    ]
    if told:
        lines += _named("listens on", told["addresses"])
    if told.get("certificate"):
        lines += _named("certificate", [_certificate(told["certificate"], now)])
    lines += _named("started", [in_date(pages.started_at, now)])
    lines += _named("upstreams", _upstreams(pages) or ["not known yet"])
    lines += _named(
        "cache",
        [
            f"{_entries(totals['cache_entries'])} in memory, "
            f"{_of(totals['cache_bytes'], told.get('memory_limit_bytes'))}",
            f"{_entries(totals['disk_entries'])} on disk, "
            f"{_of(totals['disk_bytes'], told.get('disk_limit_bytes'))}",
        ],
    )
    if told.get("blocks") or blocked(totals):
        lines += _named("blocked", [_blocked(totals)])
    if told and told["reloaded_at"] is not None:
        refused = ", refused" if told["reload_problem"] else ""
        lines += _named("last reload", [f"{in_date(told['reloaded_at'], now)}{refused}"])
    warned = [click.style(wrapped(one, INDENT + 1), fg="red", bold=True) for one in wrong]
    return lines + _named("warnings", warned or ["none"])


def _certificate(told: dict[str, Any], now: float) -> str:
    """Return whose certificate TLS and HTTPS clients get, and for how long."""
    if told["not_after"] is None:
        return "none"
    first, *others = map(escape, told["names"] or ["no name"])
    more = f" and {in_number(len(others), 'more name')}" if others else ""
    if (told.get("not_before") or 0) > now:
        return f"{first}{more}, not valid yet"
    left = told["not_after"] - now
    return f"{first}{more}, " + (f"{in_days(left)} left" if left > 0 else "has ended")


def _unreadable(files: Iterable[str]) -> Iterator[str]:
    """Yield a line for each list or local file that the daemon's user cannot read."""
    for file in dict.fromkeys(files):
        try:
            os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except (OSError, ValueError) as error:
            yield f"{path_text(file)}: cannot be read: {getattr(error, 'strerror', error)}"


def _blocked(totals: dict[str, int]) -> str:
    count, every = blocked(totals), sum(totals[name] for name in QUERIES)
    share = f" ({in_share(count, every)})" if every else ""
    return f"{count:,} of {in_number(every, 'query', 'queries')}{share}"


def _upstreams(pages: Pages) -> list[str]:
    known = [(escape(one.name), one) for one in pages.upstreams()]
    width = max((len(name) for name, _ in known), default=0)
    lines = []
    for name, one in known:
        state = in_a_word(one)
        if one.alive and one.rtt is not None:
            state += f", round trip {in_time(one.rtt)}"
        line = f"{name:<{width}}  {state}"
        lines.append(line if is_well(one) else click.style(line, fg="red", bold=True))
    return lines


def _named(name: str, values: list[str]) -> list[str]:
    """Return a line for each value, the first with the name before it."""
    return [f"{name if number == 0 else '':<{INDENT}} {one}" for number, one in enumerate(values)]


def _entries(count: int) -> str:
    return in_number(count, "entry", "entries")


def _of(octets: int, limit: int | None) -> str:
    return f"{in_octets(octets)} of {in_octets(limit)}" if limit else in_octets(octets)
