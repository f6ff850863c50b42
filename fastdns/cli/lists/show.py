"""`fastdns lists` alone: each list, its state and its figures."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import click

from ...config.text import path_text
from ...config.values import AnyList
from ...counters import Pages
from ...lists.schedule import due, fits
from ...lists.state import State
from ...policy.block_lists.hits import counted
from ..figures import in_days, in_number, in_octets
from ..output import emit
from ..owner import become_owner
from ..wrapping import wrapped
from .site import ListsSite, check_readable, find_lists

HEADINGS = ("state", "checked", "entries", "left out", "faulty", "hits")
LATE = 1.5  # times the time between two checks: then it is old
INDENT = 2


def show(path: Path | None, state: str | None, *, as_json: bool) -> None:
    """Print the lists."""
    site = find_lists(path, state)
    become_owner(site.places.state_dir)
    check_readable(site)
    now = time.time()
    states = [(one, site.store.state(one)) for one in site.lists]
    hits = hits_of(site)
    if as_json:
        emit(json.dumps(_told(site, states, hits, now)) + "\n")
        return
    emit("".join(f"{line}\n" for line in _lines(site, states, hits, now)))


def hits_of(site: ListsSite) -> Mapping[AnyList, int]:
    """Return how often each list has blocked a name since the daemon started, if one knows it."""
    try:
        started_at = Pages.attach(site.places.counters).started_at
    except (OSError, ValueError):
        return {}
    found = counted(site.places.run_dir, started_at)
    return {one: found.get(str(one), 0) for one in site.lists}


def word_of(one: AnyList, state: State, update: float, now: float) -> str:
    """Return the state of a list in a word."""
    if not state.digest:
        return "failed" if state.failures else "waiting"
    if state.is_expired(now):
        return "expired"
    if state.failures:
        return "kept"  # the last good copy
    is_late = due(one, state, update, now) < now - update * (LATE - 1)
    return "old" if is_late else "fresh"


def _told(
    site: ListsSite,
    states: Sequence[tuple[AnyList, State]],
    hits: Mapping[AnyList, int],
    now: float,
) -> dict[str, object]:
    update = site.config.block.update
    return {
        "compiled": {
            "file": str(site.store.compiled),
            "is_current": fits(site.store, site.lists, now),
            "size": _size(site.store.compiled),
        },
        "lists": [
            {
                "list": str(one),
                "state": word_of(one, state, update, now),
                "fetched_at": state.fetched_at or None,
                "checked_at": state.checked_at or None,
                "tried_at": state.tried_at or None,
                "due_at": None if math.isinf(at := due(one, state, update, now)) else at,
                "size": state.octets,
                "taken": state.figures.taken,
                "left_out": state.figures.left_out,
                "faulty": state.figures.faulty,
                "first_faulty": [attrs.asdict(each) for each in state.figures.first_faulty],
                "hits": hits.get(one),
                "error": state.error,
            }
            for one, state in states
        ],
    }


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _lines(
    site: ListsSite,
    states: Sequence[tuple[AnyList, State]],
    hits: Mapping[AnyList, int],
    now: float,
) -> Iterator[str]:
    update = site.config.block.update
    rows = [_cells(one, state, hits, update, now) for one, state in states]
    headings = HEADINGS if hits else HEADINGS[:-1]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    heading = _row(headings, widths)
    room = _columns() - len(heading) - len("  ")
    is_broken = any(len(path_text(one)) > room for one, _ in states)
    yield heading + ("" if is_broken else "  list")
    for (one, state), cells in zip(states, rows, strict=True):
        line = _row(cells, widths) + ("" if is_broken else f"  {path_text(one)}")
        yield click.style(line, fg="red", bold=True) if cells[0] not in GOOD else line
        if is_broken:
            yield f"{'':{INDENT}}{path_text(one)}"
        yield from _details(state, due(one, state, update, now), now)
    yield ""
    size = _size(site.store.compiled)
    if size is None:
        yield "nothing is compiled yet: no name of a list is blocked"
    else:
        total = in_octets(size)
        late = "" if fits(site.store, site.lists, now) else "; it is being renewed"
        yield f"compiled: {total}{late}"


GOOD = ("fresh", "waiting")


def _cells(
    one: AnyList, state: State, hits: Mapping[AnyList, int], update: float, now: float
) -> list[str]:
    figures = state.figures
    has_copy = bool(state.digest)
    cells = [
        word_of(one, state, update, now),
        f"{in_days(now - state.checked_at)} ago" if has_copy else "-",
        f"{figures.taken:,}" if has_copy else "-",
        f"{sum(figures.left_out.values()):,}" if has_copy else "-",
        f"{figures.faulty:,}" if has_copy else "-",
    ]
    return [*cells, f"{hits.get(one, 0):,}"] if hits else cells


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = [f"{cell:<{width}}" for cell, width in zip(cells[:2], widths, strict=False)]
    rest = [f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True)]
    return "  ".join([*first, *rest])


def _columns() -> float:
    """Return how wide the terminal is; a pipe has no end."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf


def _details(state: State, due_at: float, now: float) -> Iterator[str]:
    figures = state.figures
    if state.error:
        tries = f" ({in_number(state.failures, 'try', 'tries')})" if state.failures > 1 else ""
        again = "" if math.isinf(due_at) else f"; next try {_when(due_at, now)}"
        yield _detail(f"last try: it {path_text(state.error)}{tries}{again}")
    for reason, count in sorted(figures.left_out.items(), key=lambda item: -item[1]):
        yield _detail(f"left out: {count:,} ({reason})")
    for one in figures.first_faulty:
        yield _detail(f"line {one.line} {path_text(one.reason)}: {path_text(one.text)}")
    if figures.faulty > len(figures.first_faulty):
        yield _detail(f"and {figures.faulty - len(figures.first_faulty):,} more faulty lines")


def _when(at: float, now: float) -> str:
    return f"in {in_days(at - now)}" if at > now else "as soon as the daemon runs"


def _detail(text: str) -> str:
    return " " * INDENT + wrapped(text, INDENT)
