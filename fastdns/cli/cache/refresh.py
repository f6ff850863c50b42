"""`fastdns cache refresh`: the daemon asks upstream again; until then the old entry stays.

One of its workers asks. When the new answer is on disk, the others drop their copies in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click

from ..._control import CHANGE_NAME, CHANGE_REFRESH
from ..._entry import newer
from ...browse.items import Item, read_item
from ...browse.names import Key, spell_name, spell_type
from ...browse.reader import Reader
from ...config.places import which_one
from ...counters import Pages
from ...errors import FastdnsError
from ...machine import keeper_requests
from .. import options
from ..output import emit, fail
from . import arguments
from .change import locked
from .get import not_on_disk
from .site import KEEPER_SECONDS, Site, find_site

PATIENCE = 5.0  # seconds; a question to upstream fails after 3.5
PAUSE = 0.05
BEGIN_SECONDS = 0.3  # within which a worker has begun to ask
ASKED, SILENT = "upstream_queries_total", "upstream_timeouts_total"
FAILED = "upstream_errors_total"
OTHERS_SECONDS = 0.5  # for which other variants of an answer are waited for


class Asking:
    """Whether the daemon still asks its upstreams, as far as its counters tell.

    While it also asks for other names, that is unknown, and the answer is waited for in vain.
    """

    def __init__(self, site: Site, pages: Pages | None) -> None:
        self.site = site
        self._pages = pages
        self._begun = time.monotonic()
        self._before = {} if pages is None else pages.totals()
        self.failure = ""

    @classmethod
    def of(cls, site: Site) -> Asking:
        """Return the initial state."""
        try:
            return cls(site, Pages.attach(site.places.counters))
        except (OSError, ValueError):
            return cls(site, None)

    def is_over(self) -> bool:
        """Return True if upstreams were asked, and nothing is in flight any more."""
        if self._pages is None or time.monotonic() < self._begun + BEGIN_SECONDS:
            return False
        now = self._pages.totals()
        is_any_alive = any(one.alive for one in self._pages.upstreams())
        if now["in_flight"] or (now[ASKED] == self._before[ASKED] and is_any_alive):
            return False
        if now[SILENT] > self._before[SILENT]:
            self.failure = "no upstream gave a usable answer in time"
        elif now[FAILED] > self._before[FAILED] or not is_any_alive:
            self.failure = "no upstream answers"
        else:
            self.failure = (
                "no upstream has a newer answer: they answer with an error, like SERVFAIL"
            )
        return True


@click.command()
@arguments.name
@arguments.qtype
@options.config_file
@options.state
def refresh(name: bytes, qtype: int | None, path: Path | None, state: str | None) -> int:
    """Ask upstream for this name again: one TYPE, or all types that are cached.

    Waits for the new answers. Exit status 1: there is no entry, no daemon runs, or no newer answer
    came; the old entry then stays.
    """
    site = find_site(path, state)
    if site.daemon is None:
        raise FastdnsError(
            f"no daemon runs with state_dir {site.places.state_dir} to ask upstream "
            f"{which_one(site.places)}"
        )
    if site.control is None:
        raise site.cannot_tell()
    with site.reading() as reader:
        before = _values(reader, name, qtype)
        if not before:
            return fail(not_on_disk(site, name, qtype))
        types = sorted({_type_of(disk_key) for disk_key in before})
        asking = Asking.of(site)
        _ask(site, name, types, before)
        missing = _wait(asking, reader, before, types, lambda item: emit(_line(item)))
        _tell_others(site, name, [qtype for qtype in types if qtype not in missing])
    for one in missing:
        why = asking.failure or f"no newer answer came within {PATIENCE:g} s"
        fail(f"{spell_name(name)} {spell_type(one)}: {why}; the old entry stays")
    return 1 if missing else 0


def _ask(site: Site, name: bytes, types: list[int], before: dict[bytes, bytes]) -> None:
    """Have every existing variant refreshed: with DO or without, with CD or without."""
    assert site.control is not None
    variants = dict.fromkeys(types, 0)
    for disk_key in before:
        variants[_type_of(disk_key)] |= 1 << Key.split(disk_key).flags
    with locked(site.path):
        for qtype in types:
            site.control.post(CHANGE_REFRESH, name, qtype, variants[qtype])
    keeper_requests.wake_workers(site.places.keeper, KEEPER_SECONDS)


def _tell_others(site: Site, name: bytes, types: list[int]) -> None:
    """Make all workers read from disk what one of them has asked for."""
    if site.control is None or not types:
        return
    with locked(site.path):
        for qtype in types:
            site.control.post(CHANGE_NAME, name, qtype)


def _wait(
    asking: Asking,
    reader: Reader,
    before: dict[bytes, bytes],
    types: list[int],
    report: Callable[[Item], None],
) -> list[int]:
    """Report the first newer entry of each type; return the types without one in time."""
    until = time.monotonic() + PATIENCE
    missing = list(types)
    old = dict(before)
    while old and time.monotonic() < until:
        time.sleep(PAUSE)
        is_over = asking.is_over()  # before looking at the answers that came until then
        keeper_requests.take_in(asking.site.places.keeper, KEEPER_SECONDS)
        for batch in reader.values(list(old)):
            for disk_key, value in batch:
                if newer(value, old[disk_key]):
                    del old[disk_key]
                    if _type_of(disk_key) in missing:
                        missing.remove(_type_of(disk_key))
                        report(read_item(disk_key, value, asking.site.judge()))
        if is_over and missing:
            break
        if not missing:
            until = min(until, time.monotonic() + OTHERS_SECONDS)
    return missing


def _values(reader: Reader, name: bytes, qtype: int | None) -> dict[bytes, bytes]:
    return {
        disk_key: value
        for batch in reader.values(reader.keys_of(name, qtype))
        for disk_key, value in batch
    }


def _type_of(disk_key: bytes) -> int:
    return Key.split(disk_key).qtype


def _line(item: Item) -> str:
    came_from = f" from {item.entry.upstream}" if item.entry.upstream else ""
    return f"{item.name} {spell_type(item.key.qtype)}: new answer{came_from}, TTL {item.ttl} s\n"
