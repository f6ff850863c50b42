"""The owner's names, kept up to date with the files that have them.

Beside them: the records of fastdns' own encrypted services, which follow this machine's addresses.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import attrs

from .._local import LocalRecords
from .._pages import release_heap
from ..config.schema import Local
from .designated import Designated, OwnAddresses
from .leases import files_beside
from .local_compiler import Clients, compile_names, given_by_leases
from .local_files import LocalFile, configured, found, is_pattern, usual
from .local_names import Names
from .watch import Watch

TOO_MANY = "local: more names than fastdns can hold; the former ones stay in use"
MANY = 10_000  # names: compiling them takes some MiB for a moment
CLOCK_SECONDS = 3600.0  # after which the clock is looked at again, should it be set


class LocalSources:
    """The names that a configuration has, read again as their files change and leases end."""

    def __init__(
        self,
        section: Local,
        former: LocalSources | None = None,
        root: Path = Path("/"),
        *,
        designated: Designated | None = None,
        own_addresses: OwnAddresses = tuple,
    ) -> None:
        """Read all files. One that cannot be read has the names that it has in `former`.

        `designated`: the encrypted services; `own_addresses` returns those of this machine.
        """
        self.section = section
        self.designated = designated
        self._own_addresses = own_addresses
        self._designated_records: tuple[tuple[bytes, int, bytes], ...] = ()
        self.names = Names()
        self._root = root
        self._files: list[LocalFile] = [copy.copy(one) for one in former._files] if former else []
        self._told: tuple[Clients | None, list[str]] = (None, [])
        self._due = inf  # when a lease ends, or nearly
        self._at = inf  # when they were compiled
        self._is_stale = True  # the names are not those of the files
        self._watch: Watch | None = None
        self.refresh()
        self.logged = self.names.without_records()

    def renewed(self, section: Local, designated: Designated | None = None) -> LocalSources:
        """Return the names of another configuration: these, read again, if it has the same table.

        Those who have followed the files have logged their changes.
        """
        self.refresh()
        if (section, designated) != (self.section, self.designated):
            return LocalSources(
                section,
                self,
                self._root,
                designated=designated,
                own_addresses=self._own_addresses,
            )
        self.logged = self.names.without_records()
        return self

    @property
    def records(self) -> LocalRecords:
        """The compiled records."""
        return self.names.records

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files, in lines that name file and line."""
        return self.names.problems

    @property
    def has_files(self) -> bool:
        """Whether there is a file that may change, now or later."""
        return any(configured(self.section, self._root))

    @property
    def needs_own_addresses(self) -> bool:
        """Whether some are those of the addresses of this machine."""
        return self.designated is not None and self.designated.needs_own_addresses

    @property
    def may_change(self) -> bool:
        """Whether the names may change while the configuration does not."""
        return self.has_files or self.needs_own_addresses

    @property
    def required_files(self) -> Iterator[Path]:
        """The files that have to be there."""
        places = configured(self.section, self._root)
        return (one.path for one in places if not one.is_optional)

    @property
    def unread(self) -> list[Path]:
        """The files that could never be read: what the names do not have, others may."""
        return [one.place.path for one in self._files if not one.is_read]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Which clients of DHCP servers have no name, and why, in lines."""
        return self.names.left_out

    @property
    def counts(self) -> dict[str, int]:
        """How many names each source has, also 0."""
        counts = dict.fromkeys(self.sources[not self.section.records :], 0)
        return {**counts, **self.names.counts}

    @property
    def finds_no_leases(self) -> bool:
        """Whether there is no file at any of the usual places, where it should look."""
        return "auto" in self.section.leases and not any(found(usual(self._root)))

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources by their number in the `origin` of a record."""
        return self.names.sources

    def summary(self) -> str:
        """Return how many names there are, and in how many files."""
        return self.names.summary()

    def seconds_to_next_end(self, now: float | None = None) -> float | None:
        """Return when names change although no file does; None: never."""
        if self._due == inf:
            return None
        return min(max(self._due - _time(now), 0.0), CLOCK_SECONDS)

    def refresh(self, now: float | None = None) -> bool:
        """Read the files that have changed; return True if that changes names or problems.

        It may run in a thread, one at a time: what it makes is used only when it is whole.
        """
        now = _time(now)
        known = {(one.place.kind, one.place.path): one for one in self._files}
        files = [
            known.get((place.kind, place.path)) or LocalFile(place)
            for place in found(configured(self.section, self._root))
        ]
        have_changed = [one.refresh() for one in files]
        is_other = [one.place for one in files] != [one.place for one in self._files]
        self._files = files
        is_due = now >= self._due or now < self._at  # or the clock was set back
        designated = self.designated.records(self._own_addresses) if self.designated else ()
        has_moved = designated != self._designated_records
        self._designated_records = designated
        if not (any(have_changed) or is_other or self._is_stale or is_due or has_moved):
            return False
        was_stale, self._is_stale = self._is_stale, True
        self._at = now
        clients = given_by_leases(files, now)
        problems = [line for one in files for line in one.problems]
        leases_only = not (is_other or has_moved) and all(
            one.place.kind == "leases"
            for one, has_changed in zip(files, have_changed, strict=True)
            if has_changed
        )
        if (leases_only and not was_stale) and (clients, problems) == self._told:
            self._due, self._is_stale = clients.due, False
            return False  # a client has only renewed its lease
        try:
            self.names = compile_names(self.section, files, clients, designated)
        except OverflowError:
            self.names = attrs.evolve(self.names, problems=(TOO_MANY,))
        self._told, self._due, self._is_stale = (clients, problems), clients.due, False
        if len(self.records) >= MANY:
            release_heap()
        return True

    def watch(self, loop: Any, changed: Callable[[], None]) -> None:
        """Have the event loop call `changed` when `refresh` may find something, and now."""
        self._watch = Watch(loop, self._paths, changed)

    def stop(self) -> None:
        """Watch the files no more."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _paths(self) -> Iterator[Path]:
        """Yield the files, those beside them, and the directories in which others may appear."""
        for place in configured(self.section, self._root):
            yield place.path.parent if is_pattern(place.path) else place.path
        for one in self._files:
            yield one.place.path
            yield from files_beside(one.place.path, one.format)


def _time(now: float | None) -> float:
    return time.time() if now is None else now
