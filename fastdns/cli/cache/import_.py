"""`fastdns cache import`: imports the output of `export`, or of unbound's dump_cache."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import attrs
import click

from ..._answer import Limits
from ..._clock import Moment
from ..._writer import FULL
from ...browse.json_lines import LINE_MAX, Imported, Terms, read_lines
from ...browse.reader import Pair
from ...browse.unbound_dump import FIRST_LINE as DUMP_BEGINS
from ...browse.unbound_dump import read_dump
from ...config.load import load
from ...config.schema import Config
from ...config.text import path_text
from ...errors import FastdnsError
from ...machine.accounts import become
from ...machine.directories import prepare
from ...policy.compile import compile_domains
from ...store.files import DATA
from ...store.store import SMALL_MAP, Store, Update
from ...upstream.known_groups import groups_of
from ...upstream.origin import origin_of
from ...upstream.sources import forward_sources
from .. import options
from ..output import counted, emit, fail
from .change import is_bare, locked, told, writing
from .progress import progress
from .site import Site, find_site

AT_ONCE = 1_000  # entries for which the writer lock is held
SHOWN = 20  # bad lines that are listed


@attrs.define
class Tally:
    """The results of the lines."""

    into: Path | None = None  # a cache that was created for them
    taken: int = 0
    older: int = 0  # than what the cache has
    useless: int = 0  # expired, or must not be cached
    bad: int = 0
    ends_early: int | None = None  # the number of the last line of a truncated file

    def __str__(self) -> str:
        into = "" if self.into is None else f" into a new cache at {path_text(self.into)}"
        told = [f"imported {counted(self.taken)}{into}"]
        told += [f"{self.older} not newer than the cached ones"] if self.older else []
        told += (
            [f"{self.useless} left out (expired, or must not be cached)"] if self.useless else []
        )
        told += [f"{self.bad} bad"] if self.bad else []
        return ", ".join(told)


@click.command()
@click.argument("file", shell_complete=options.of_kind("file"))
@options.upstream
@options.config_file
@options.state
def import_(file: str, upstream: tuple[str, ...], path: Path | None, state: str | None) -> int:
    """Import entries from FILE, or from standard input (-).

    FILE is the output of `fastdns cache export` or `unbound-control dump_cache`. Entries keep their
    age and never replace newer ones. They count as answers of the current upstreams; if no daemon
    runs, as answers of the upstreams in --upstream or the configuration. A bad line is reported
    with its number and skipped. Exit status 1: a line was bad, or the file ends too early.
    """
    stream = _opened(file)  # now: root may read what the owner of the cache may not
    config = load(path, state=state, upstream=upstream)
    configured, groups = origin_of(config), groups_of(forward_sources(config))
    policy = compile_domains(config).policy()
    site = find_site(path, state, shows_records=True)
    terms = Terms(
        _limits(config),
        site.origin or configured,
        site.stale,
        Moment.now(),
        groups=site.groups if site.daemon is not None else groups,
        group_of=policy.group_of,
        rules=policy.rules,
    )
    tally = Tally(into=_make_cache(site, config))
    with progress("reading", _size(stream)) as advance:
        found = _read(stream, terms, advance)
        while some := list(islice(found, AT_ONCE)):
            for one in some:
                _count(one, file, tally)
            _take_in(site, [one.entry for one in some if one.entry], terms.now, tally)
    emit(f"{tally}\n")
    if tally.ends_early is not None:
        return fail(f"{path_text(file)}: the dump ends early (line {tally.ends_early})")
    return 1 if tally.bad else 0


def _opened(file: str) -> BinaryIO:
    if file == "-":
        if sys.stdin is None:
            raise FastdnsError("standard input is closed")
        if sys.stdin.isatty():
            click.echo("reading from standard input, until Ctrl-D", err=True)
        return sys.stdin.buffer
    try:
        return open(file, "rb")
    except OSError as error:
        raise FastdnsError(f"cannot read {path_text(file)}: {error.strerror}") from None


def _size(stream: BinaryIO) -> int | None:
    found = os.fstat(stream.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _limits(config: Config) -> Limits:
    cache = config.cache
    return Limits(
        int(cache.min_ttl),
        int(cache.max_ttl),
        int(cache.negative_max_ttl),
        int(cache.failure_ttl),
        config.upstream.trust_ad,
    )


def _make_cache(site: Site, config: Config) -> Path | None:
    """Create a cache if there is none, as the daemon would, and return where; None: there is one.

    A running daemon must have one.
    """
    if not is_bare(site.path):
        return None
    if not (site.path / DATA).exists():
        if site.daemon is not None:
            raise FastdnsError(
                f"the running daemon has no disk cache at {site.path} now (see its log)"
            )
        account = prepare(site.places)
        if account is not None:
            become(account)
    with told(site.path):
        site.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(site.path):
            Store.open(site.path, int(config.cache.disk) or SMALL_MAP).close()
    return site.path


def _read(stream: BinaryIO, terms: Terms, advance: Callable[[int], None]) -> Iterator[Imported]:
    """Yield the results of the lines; the first that is not empty shows which kind they are."""
    lines = _numbered(stream, advance)
    first = next((one for one in lines if one[1].strip()), (0, b""))
    if first[1].strip() == DUMP_BEGINS:
        return read_dump(chain([first], lines), terms, _dumped(stream, terms.now))
    return read_lines(chain([first], lines), terms)


def _numbered(stream: BinaryIO, advance: Callable[[int], None]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers; of an overlong line its beginning."""
    number = 0
    while line := stream.readline(LINE_MAX + 2):
        number += 1
        advance(len(line))
        yield number, line.rstrip(b"\r\n")
        while len(line) == LINE_MAX + 2 and not line.endswith(b"\n"):
            line = stream.readline(LINE_MAX + 2)


def _dumped(stream: BinaryIO, now: Moment) -> Moment:
    """Return when a dump was made, which it does not say: a file's time of change tells."""
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        return now
    return Moment(min(int(found.st_mtime * 1000), now.wall_ms), 0, 0)


def _count(one: Imported, file: str, tally: Tally) -> None:
    if one.problem is not None:
        tally.bad += 1
        if tally.bad <= SHOWN:
            click.echo(f"{path_text(file)}:{one.line}: {one.problem}", err=True)
        elif tally.bad == SHOWN + 1:
            click.echo(f"{path_text(file)}: further bad lines are only counted", err=True)
    elif one.ends_early:
        tally.ends_early = one.line
    elif one.entry is None:
        tally.useless += 1


def _take_in(site: Site, entries: Iterable[Pair], now: Moment, tally: Tally) -> None:
    updates = [Update(key, value) for key, value in sorted(dict(entries).items())]
    with locked(site.path), writing(site.path) as store:
        if store.usage().share >= FULL:
            raise FastdnsError(
                f"the disk cache {site.path} is full (cache.disk sets its size); {tally}, "
                "the rest was left out"
            )
        taken = sum(map(len, store.apply(updates, now)))
    tally.taken += taken
    tally.older += len(updates) - taken
