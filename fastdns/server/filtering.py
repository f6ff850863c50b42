"""What a worker blocks: it follows the compiled block lists, and the rules made at run time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from .._counters import Counters
from ..config.schema import Config
from ..config.text import path_text
from ..policy.block_lists.hits import ListHits
from ..policy.block_lists.named import lists_named, open_compiled
from ..policy.override_follower import OverrideFollower
from ..policy.overrides import Overrides
from ..policy.parts import has_filters
from ..policy.signature import Signature, signature
from ..policy.watch import Watch
from ..policy.words import counted

if TYPE_CHECKING:
    from .._block_set import BlockSet
    from .._blocking import Blocking

log = logging.getLogger(__name__)


class Filtering:
    """Knows what is blocked now, and calls `use` after each change of that."""

    def __init__(
        self,
        config: Config,
        *,
        compiled: Path,
        overrides: Path,
        counters: Counters,
        hits: ListHits,
        use: Callable[[], None],
        tells: bool,
    ) -> None:
        """Read both files. `tells`: this worker logs what all of them see."""
        self._config = config
        self._has_lists = bool(lists_named(config))
        self._compiled = compiled
        self._counters = counters
        self._hits = hits
        self._use = use
        self._tells = tells
        self._lists: BlockSet | None = None
        self._seen: Signature = (signature(compiled),)
        self._overrides = OverrideFollower(overrides, self._use_overrides)
        if self._has_lists:
            self._open()
        self.blocking: Blocking | None = None
        self._renew()
        self._tell_lists()
        counters.show_overrides(self._overrides.current.version)
        if tells and self._overrides.current != Overrides():
            log.info("rules made at run time: %s", self._overrides.current.summary)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the rules made at run time, in lines that name the file."""
        return self._overrides.problems

    def look(self) -> None:
        """Look at the rules made at run time now: a command waits for that."""
        self._overrides.look()

    def follow(self, hub: Any) -> None:
        """Follow both files until this greenlet is killed."""
        beside = [gevent.spawn(self._overrides.follow, hub)]
        try:
            if self._has_lists:
                self._follow_lists(hub)
            gevent.joinall(beside)
        finally:
            gevent.killall(beside, block=False)

    def _follow_lists(self, hub: Any) -> None:
        """Use each newer file. A thread of the hub reads it whole: queries do not wait for that."""
        has_changed = Event()
        watch = Watch(hub.loop, lambda: (self._compiled,), has_changed.set)
        try:
            while True:
                has_changed.wait()
                has_changed.clear()
                seen = (signature(self._compiled),)
                if seen != self._seen:
                    self._seen = seen
                    if hub.threadpool.apply(self._open):
                        self._renew()
                        self._use()
                        self._tell_lists()
        finally:
            watch.stop()

    def _open(self) -> bool:
        """Map the compiled file; return whether there is one. A damaged one leaves the former."""
        try:
            lists = open_compiled(self._compiled)
            if not lists.is_whole():
                raise ValueError("it is damaged")
        except FileNotFoundError:
            if self._tells and self._lists is None:
                log.info("block lists: they are not compiled yet, and block nothing until then")
            elif self._tells:
                where = path_text(self._compiled)
                log.warning("block lists: %s is gone; the former ones stay in use", where)
            return False
        except (OSError, ValueError) as error:
            if self._tells:
                where, kept = path_text(self._compiled), self._lists is not None
                log.error(
                    "block lists: %s: %s; %s",
                    where,
                    error,
                    "the former ones stay in use" if kept else "nothing is blocked by lists",
                )
            return False
        self._lists = lists
        return True

    def _tell_lists(self) -> None:
        if self._tells and self._lists is not None:
            names = counted(len(self._lists), "name")
            lists = counted(len(self._lists.sources), "list")
            log.info("block lists in use: %s of %s", names, lists)

    def _renew(self) -> None:
        """Compile what is blocked now."""
        overrides = self._overrides.current
        if not has_filters(self._config) and not overrides.rules:
            self.blocking = None
            return
        # Imported here: most daemons of a plain cache never need it.
        from ..policy.blocking import compile_blocking, source_name  # noqa: PLC0415

        lists = self._lists  # a thread may open other ones meanwhile
        self.blocking = compile_blocking(self._config, overrides, lists, time.time())
        sources = lists.sources if lists is not None else ()
        try:
            memory = self._hits.renew(tuple(map(source_name, sources)))
        except OSError as error:  # a full disk stops no query
            log.debug("block lists: their hits are not counted: %s", error)
            memory = None
        self._counters.use_list_hits(memory)

    def _use_overrides(self, overrides: Overrides) -> None:
        self._renew()
        self._use()
        # Only now: a command waits for it.
        self._counters.show_overrides(overrides.version)
        if self._tells:
            log.info("rules made at run time: %s", overrides.summary)
