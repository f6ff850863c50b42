"""`fastdns cache ls`: entries as they are found, the first at once however many there are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...browse.items import SORTS, Item, Judge, Wanted, find, find_sorted, is_pattern
from ...browse.names import spell_class, spell_rcode, spell_type
from ...browse.reader import Reader
from ...config.names import parse_name
from .. import options
from ..figures import in_a_few_letters
from ..output import counted, emit, fail, warn
from . import arguments
from .obstacles import why_never
from .progress import progress
from .site import Site, find_site

if TYPE_CHECKING:
    from rich.console import Console

Columns = tuple[tuple[str, int], ...]  # a title, a width; a negative one: figures
# The name is the last column, so that the columns align without knowing the later rows.
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
GROUP = ("GROUP", 8)  # before the name, if there are groups of upstreams
# On a terminal without --long: the columns that fit in a line, and the name in the rest of it.
SHORT = (("STATE", 7), ("TTL", -3), ("HITS", -5), ("TYPE", 5), ("ANSWER", 8), ("NAME", 0))
NARROWEST = 20  # characters of a name
COLORS = {"stale": "yellow", "expired": "red"}


@click.command()
@click.argument("pattern", required=False)
@arguments.under
@arguments.qtype_option
@arguments.state_option
@arguments.rcode_option
@arguments.negative_option
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    help="Sort by soonest expiry, most hits, largest size or greatest age.",
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Stop after N entries.")
@click.option(
    "--long", "in_full", is_flag=True, help="Show all columns and full names on a terminal."
)
@arguments.as_json
@options.config_file
@options.state
def ls(
    *,
    pattern: str | None,
    under: bytes | None,
    qtype: int | None,
    state_is: str | None,
    rcode: int | None,
    negative: bool,
    sort: str | None,
    limit: int | None,
    in_full: bool,
    as_json: bool,
    path: Path | None,
    state: str | None,
) -> int:
    """List all entries, or those whose names match PATTERN.

    PATTERN is a shell pattern (*, ?, [a-z]). It must match the whole name; upper case and the final
    dot do not matter. Exit status 1: no entry matches.
    """
    wanted = Wanted(
        pattern=pattern, under=under, qtype=qtype, state=state_is, rcode=rcode, negative=negative
    )
    site = find_site(path, state, shows_records=as_json)
    columns = (*COLUMNS[:-1], GROUP, COLUMNS[-1]) if site.groups else COLUMNS
    show = _shown_as(as_json, columns, in_full=in_full)
    with site.reading() as reader:
        shown = _print(_found(reader, wanted, site.judge(), sort, limit), limit, show)
    if wanted.damaged:
        damaged = counted(wanted.damaged, "damaged entry was", "damaged entries were")
        warn(f"{damaged} left out (see fastdns cache verify)")
    if shown or wanted.damaged:
        return 0
    if wanted.everything:
        memory = "" if site.daemon is None else "; answers that are only in memory are not listed"
        click.echo(f"the cache {site.path} is empty{memory}", err=True)
        return 0
    return fail("no entry matches" + _why_never(site, pattern, qtype))


def _why_never(site: Site, pattern: str | None, qtype: int | None) -> str:
    """Return why there cannot be an entry of this one name, as far as that is known."""
    if pattern is None or is_pattern(pattern):
        return ""
    try:
        never = why_never(site, parse_name(pattern), qtype)
    except ValueError:
        return ""
    return never and f": {never}"


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


def _shown_as(as_json: bool, columns: Columns, *, in_full: bool) -> Callable[[list[Item]], None]:
    """Return the function that prints a batch: JSON lines, a table, or plain columns."""
    if as_json:
        return lambda items: emit("".join(json.dumps(item.as_json()) + "\n" for item in items))
    if sys.stdout is not None and sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - a pipe does not pay for it

        # Plain text only: emoji would be imported when the files of rich may not be readable.
        console = Console(emoji=False, markup=False, highlight=False)
        return _Lines(console, columns, in_full=in_full).show
    return _Columns(columns).show


class _Columns:
    """Lines of aligned columns."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._heading = [tuple(title for title, _ in columns)]

    def show(self, items: list[Item]) -> None:
        rows = [*self._heading, *(_cells(item, self._columns) for item in items)]
        self._heading = []
        emit("".join(_aligned(row, self._columns) + "\n" for row in rows))


class _Lines:
    """A line for each entry that fits the terminal: a long name is shortened in the middle.

    In full: all columns, and the name continues in the next line.
    """

    def __init__(self, console: Console, columns: Columns, *, in_full: bool) -> None:
        self._console = console
        self._in_full = in_full
        self._columns = columns if in_full else SHORT
        self._has_heading = False

    def show(self, items: list[Item]) -> None:
        if not self._has_heading:
            self._has_heading = True
            self._print(tuple(title for title, _ in self._columns), "bold")
        for item in items:
            cells = _cells(item, self._columns) if self._in_full else _short_cells(item)
            self._print(cells, COLORS.get(item.state, ""))

    def _print(self, cells: tuple[str, ...], style: str) -> None:
        *others, name = cells
        before = _aligned(tuple(others), self._columns[:-1])
        room = max(self._console.width - len(before) - 2, NARROWEST)
        if len(name) > room and not self._in_full:
            half = (room - 1) // 2
            name = f"{name[: room - 1 - half]}…{name[-half:]}"  # the end of a name shows its owner
        self._console.print(f"{before}  {name}", style=style, soft_wrap=True)


def _short_cells(item: Item) -> tuple[str, ...]:
    entry = item.entry
    answer = spell_rcode(entry.rcode)
    if entry.rcode == 0:
        answer = "NODATA" if entry.negative else ""
    hits = str(entry.hits) if entry.hits < 100_000 else f"{entry.hits // 1000}k"
    ttl = in_a_few_letters(item.ttl) if item.ttl else "-"
    return item.state, ttl, hits, _type_of(item), answer, item.name


def _cells(item: Item, columns: Columns) -> tuple[str, ...]:
    key, age = item.key, item.age
    group = item.group or (str(key.group) if key.group else "-")
    flags = [word for word, is_set in (("DO", key.do), ("CD", key.cd)) if is_set]
    return (
        item.state,
        str(item.ttl),
        "-" if age is None else str(int(age)),
        str(item.entry.hits),
        str(item.entry.size),
        spell_rcode(item.entry.rcode),
        _type_of(item),
        "+".join(flags) or "-",
        *((group,) if GROUP in columns else ()),
        item.name,
    )


def _type_of(item: Item) -> str:
    """Return the type; the class as well where it is not IN."""
    spelled = spell_type(item.key.qtype)
    return spelled if item.key.qclass == 1 else f"{spell_class(item.key.qclass)}/{spelled}"


def _aligned(cells: tuple[str, ...], columns: Columns) -> str:
    return "  ".join(
        cell.rjust(-width) if width < 0 else cell.ljust(width)
        for cell, (_, width) in zip(cells, columns, strict=True)
    )
