"""`fastdns cache ls`: entries as they are found, the first at once however many there are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...browse.items import SORTS, STATES, Item, Judge, Wanted, find, find_sorted
from ...browse.names import spell_class, spell_rcode, spell_type
from ...browse.reader import Reader
from .. import options
from ..output import counted, emit, fail, warn
from . import arguments
from .progress import progress
from .site import find_site

if TYPE_CHECKING:
    from rich.console import Console

# The name is the last, so that columns stand straight without knowing what is still to come.
COLUMNS = (
    ("STATE", 7),
    ("TTL", -6),
    ("AGE", -6),
    ("HITS", -6),
    ("SIZE", -5),
    ("RCODE", 8),
    ("TYPE", 9),
    ("FLAGS", 5),
    ("NAME", 0),
)
WIDEST = 2000  # characters of a line; a name may have a thousand
COLORS = {"fresh": "green", "stale": "yellow", "expired": "red"}


@click.command()
@click.argument("pattern", required=False)
@arguments.under
@arguments.qtype_option
@click.option("--state-is", type=click.Choice(STATES), help="Only entries of this state.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    help="First what expires soonest, has most hits, is largest, is oldest.",
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most so many entries.")
@arguments.as_json
@options.config_file
@options.state
def ls(
    *,
    pattern: str | None,
    under: bytes | None,
    qtype: int | None,
    state_is: str | None,
    sort: str | None,
    limit: int | None,
    as_json: bool,
    path: Path | None,
    state: str | None,
) -> int:
    """List entries, all of them or those whose names fit PATTERN.

    PATTERN is a glob (*, ?, [a-z]) for whole names as they are printed, in small or capital
    letters, with or without the final dot. Exit status 1 when nothing fits.
    """
    show = _shown_as(as_json)
    wanted = Wanted(pattern=pattern, under=under, qtype=qtype, state=state_is)
    site = find_site(path, state, shows_records=as_json)
    with site.reading() as reader:
        shown = _print(_found(reader, wanted, site.judge(), sort, limit), limit, show)
    if wanted.damaged:
        damaged = counted(wanted.damaged, "damaged entry was", "damaged entries were")
        warn(f"{damaged} left out (see fastdns cache verify)")
    if shown or wanted.damaged:
        return 0
    if wanted.everything:
        click.echo(f"the cache {site.path} is empty", err=True)
        return 0
    return fail("no entry fits")


def _found(
    reader: Reader, wanted: Wanted, judge: Judge, sort: str | None, limit: int | None
) -> Iterator[list[Item]]:
    if sort is None:
        yield from find(reader, wanted, judge)
        return
    with progress("reading", reader.facts().entries) as advance:
        best = find_sorted(reader, wanted, judge, by=sort, limit=limit, seen=advance)
        first = next(best, [])
    yield first
    yield from best


def _print(
    found: Iterable[list[Item]], limit: int | None, show: Callable[[list[Item]], None]
) -> int:
    """Show what was found, a batch at a time; return how many."""
    shown = 0
    for batch in found:
        some = batch if limit is None else batch[: limit - shown]
        if some:
            show(some)
        shown += len(some)
        if shown == limit:
            break
    return shown


def _shown_as(as_json: bool) -> Callable[[list[Item]], None]:
    """Return what prints a batch: lines of JSON, a table on a terminal, else plain columns."""
    if as_json:
        return lambda items: emit("".join(json.dumps(item.as_json()) + "\n" for item in items))
    if sys.stdout is not None and sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - a pipe does not pay for it

        # Plain text only: emoji would be imported when we may no longer read where rich lies.
        # As wide as it comes out: a long name goes on in the next line, and nothing is cut.
        return _Table(Console(emoji=False, markup=False, highlight=False, width=WIDEST)).show
    return _Columns().show


class _Columns:
    """Lines of aligned columns."""

    def __init__(self) -> None:
        self._heading = [tuple(title for title, _ in COLUMNS)]

    def show(self, items: list[Item]) -> None:
        rows = [*self._heading, *map(_cells, items)]
        self._heading = []
        emit("".join(_aligned(row) + "\n" for row in rows))


class _Table:
    """A table a batch, each with the same columns, the heading over the first."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._has_heading = False

    def show(self, items: list[Item]) -> None:
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=None, show_header=not self._has_heading, pad_edge=False)
        self._has_heading = True
        for title, width in COLUMNS:
            table.add_column(
                title,
                justify="right" if width < 0 else "left",
                min_width=abs(width),
                no_wrap=True,
            )
        for item in items:
            table.add_row(*_cells(item), style=COLORS[item.state])
        self._console.print(table)


def _cells(item: Item) -> tuple[str, ...]:
    key, age = item.key, item.age
    spelled = spell_type(key.qtype)
    flags = [word for word, is_set in (("DO", key.do), ("CD", key.cd)) if is_set]
    return (
        item.state,
        str(item.ttl),
        "-" if age is None else str(int(age)),
        str(item.entry.hits),
        str(item.entry.size),
        spell_rcode(item.entry.rcode),
        spelled if key.qclass == 1 else f"{spell_class(key.qclass)}/{spelled}",
        "+".join(flags) or "-",
        item.name,
    )


def _aligned(cells: tuple[str, ...]) -> str:
    return "  ".join(
        cell.rjust(-width) if width < 0 else cell.ljust(width)
        for cell, (_, width) in zip(cells, COLUMNS, strict=True)
    )
