"""The cache of a configuration: its directory, its daemon, and how to read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from ..._clock import Moment
from ..._control import Control
from ..._rules import Rules
from ...browse import records
from ...browse.items import Judge
from ...browse.pending import count_pending
from ...browse.reader import CacheAbsent, Reader
from ...config.load import load, load_places
from ...config.places import Places, which_one
from ...config.schema import Cache, Config
from ...errors import ConfigErrors, FastdnsError
from ...machine import keeper_requests
from ...machine.state_lock import holder
from ...policy.rules import compile_rules
from ...store.files import DATA, LOCK
from ...upstream.known_groups import Groups, KnownGroup, read_groups
from ..output import counted, warn
from ..owner import become_owner
from . import progress
from .access import check_access

KEEPER_SECONDS = 0.1


@attrs.frozen
class Site:
    """One cache: its daemon's places, the environment, and how long stale entries may be used."""

    places: Places
    path: Path
    stale: int
    daemon: int | None  # its pid, 0 if unknown; None: none runs
    control: Control | None
    groups: Groups  # of upstreams, beside the default one; of the running daemon, if one runs
    rules: Rules  # of the configuration
    config: Config | None  # None: it is not valid

    def judge(self) -> Judge:
        """Return what entries are judged by, at this very moment."""
        knows_all = self.daemon is not None
        return Judge(
            Moment.now(),
            self.stale,
            self.origin,
            self.groups,
            knows_all=knows_all,
            rules=self.rules,
        )

    @property
    def origin(self) -> int:
        """The fingerprint of the running daemon's upstreams; 0: none runs, or it is unknown."""
        return self.control.origin if self.daemon is not None and self.control else 0

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Make the keeper write new answers, warn if it does not, and open the cache."""
        self.take_in()
        try:
            reader = Reader(self.path)
        except CacheAbsent:
            raise self.absent() from None
        with reader:
            yield reader

    def absent(self) -> CacheAbsent:
        """Return the error for a missing cache."""
        return CacheAbsent(f"there is no disk cache at {self.path} {which_one(self.places)}")

    def cannot_tell(self) -> FastdnsError:
        """Return the error for a running daemon whose control page is not usable."""
        return FastdnsError(
            f"cannot notify the running daemon: {self.places.control} is missing or not readable"
        )

    def take_in(self) -> bool:
        """Return True if all answers until now are on disk; warn if not."""
        if self.daemon is not None:
            if keeper_requests.take_in(self.places.keeper, KEEPER_SECONDS):
                return True
            warn(
                "the running daemon did not write its newest answers to disk; they may be missing "
                "here"
            )
            return False
        waiting = sum(map(count_pending, sorted(self.places.run_dir.glob("ring.*"))))
        if waiting:
            answers = counted(waiting, "answer", "answers")
            verb = "is" if waiting == 1 else "are"
            warn(f"{answers} of the stopped daemon {verb} not on disk before its next start")
        return not waiting


def find_site(path: Path | None, state: str | None, *, shows_records: bool = False) -> Site:
    """Return the cache of this configuration; as root, become its owner.

    FastdnsError names its owner if this user may not read it. Everything that is imported later
    must be imported by now, while root can still read its files.
    """
    places, stale, configured, rules, config = _settings(path, state)
    if os.geteuid() == 0:
        if shows_records:
            records.import_all()
        if progress.on_terminal():
            progress.import_all()
    become_owner(places.state_dir)
    check_access(places.control, os.R_OK | os.W_OK)
    control = _control(places)
    cache = Path(control.cache_path) if control else places.cache
    check_access(cache / DATA, os.R_OK)
    check_access(cache / LOCK, os.R_OK | os.W_OK)
    daemon = holder(places.lock)
    return Site(
        places=places,
        path=cache,
        stale=stale,
        daemon=daemon,
        control=control,
        groups=read_groups(places.groups) if daemon is not None else configured,
        rules=rules,
        config=config,
    )


def _settings(
    path: Path | None, state: str | None
) -> tuple[Places, int, Groups, Rules, Config | None]:
    """Return places, cache.stale, the names of groups, the rules, and all of it if it is valid.

    Of a configuration that is being edited as far as it goes.
    """
    try:
        config = load(path, state=state)
    except ConfigErrors as errors:
        places = load_places(path, state=state)
        stale = Cache().stale
        warn(f"{errors.lines[0]} (assuming cache.stale = {stale:.0f}s)")
        return places, int(stale), {}, Rules(), None
    named = (*config.forward, *config.named_groups)
    groups = {one.number: KnownGroup(one.name) for one in named}
    places = Places(config.state_dir, config.run_dir)
    return places, int(config.cache.stale), groups, compile_rules(config), config


def _control(places: Places) -> Control | None:
    try:
        return Control.attach(places.control)
    except (OSError, ValueError):
        return None
