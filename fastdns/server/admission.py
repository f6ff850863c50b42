"""Which clients may ask a worker, which without a limit, and in which view they are.

It is kept up to date with this machine's network and with the hours of the views.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
from gevent.event import Event

from .._clients import Access
from ..config import schema
from ..defects import guarded
from ..machine.lan import read_lan
from ..machine.netlink import Changes
from ..policy.access import Lan, compile_access, compile_exempt

if TYPE_CHECKING:
    from .views import Views

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.1  # changes come in groups: an interface, its addresses, its routes
REST_SECONDS = 0.4  # limits the share of time for them, however many there are
TELL_SECONDS = 5.0  # between two lines in the log
TOLD_MAX = 20  # prefixes in such a line


class Admission:
    """Compiles the access rules, and does so again whenever the "lan" or the views change."""

    def __init__(self, section: schema.Access, views: Views | None, *, tells: bool) -> None:
        """`tells`: whether this one logs the LAN; one of all workers does."""
        self._section = section
        self._views = views
        self._needs_lan = section.knows_lan or (views is not None and views.known is not None)
        self._tells = tells
        self._told = ""
        self._told_at = -math.inf
        self._has_complained = False
        self._changed = Event()
        self._changes: Changes | None = None
        self._lan = Lan()
        self._changes = self._listen()  # first, so that it misses no change
        if self._needs_lan:
            self._lan = self._read()
        self.access = self._compile()
        self.exempt = compile_exempt(section, self._lan)
        self._tell()

    def follow(
        self, loop: Any, use: Callable[[Access, Access], None], moved: Callable[[], None]
    ) -> None:
        """Have `access` and `exempt` used whenever the LAN changes, and `moved` called for any
        change.

        Returns only if there will never be one.
        """
        if self._changes is None:
            return
        watcher = loop.io(self._changes.descriptor, 1)
        watcher.start(guarded(self._hear), moved)
        while True:
            self._changed.wait(self._seconds_to_tell())
            if self._changed.is_set():
                gevent.sleep(SETTLE_SECONDS)
                self._changed.clear()
                self._look(use)
                gevent.sleep(REST_SECONDS)
            self._tell()

    def renew(self, use: Callable[[Access, Access], None]) -> None:
        """Use new rules because other views are in force."""
        self.access = self._compile()
        use(self.access, self.exempt)

    def _compile(self) -> Access:
        views = self._views
        if views is None:
            return compile_access(self._section, self._lan)
        rules = views.rules
        return compile_access(
            self._section, self._lan, rules.networks, views.known, rules.identities
        )

    def _hear(self, moved: Callable[[], None]) -> None:
        if self._changes is not None and self._changes.take():
            self._changed.set()
            moved()

    def _look(self, use: Callable[[Access, Access], None]) -> None:
        if not self._needs_lan:
            return
        lan = self._read()
        if lan != self._lan:
            self._lan = lan
            self.exempt = compile_exempt(self._section, lan)
            self.renew(use)

    def _listen(self) -> Changes | None:
        try:
            return Changes()
        except OSError as error:
            self._complain(error)
            return None

    def _read(self) -> Lan:
        """Return the LAN now, or the last known one if it cannot be read."""
        try:
            return read_lan()
        except OSError as error:
            self._complain(error)
            return self._lan

    def _complain(self, error: OSError) -> None:
        if self._tells and self._section.knows_lan and not self._has_complained:
            self._has_complained = True
            log.warning(
                '"lan" in access is %s: netlink cannot be read (%s)',
                self._lan,
                error.strerror or error,
            )

    def _seconds_to_tell(self) -> float | None:
        if not self._tells or not self._section.knows_lan or str(self._lan) == self._told:
            return None
        return max(self._told_at + TELL_SECONDS - time.monotonic(), 0.0)

    def _tell(self) -> None:
        if self._changes is not None and self._seconds_to_tell() == 0.0:
            log.info("lan is %s%s", "now " if self._told else "", _brief(self._lan))
            self._told, self._told_at = str(self._lan), time.monotonic()


def _brief(lan: Lan) -> str:
    """Return its prefixes on a line of bounded length: a host of containers may have hundreds."""
    shown = str(lan).split(", ")
    more = len(shown) - TOLD_MAX
    return ", ".join(shown[:TOLD_MAX]) + (f" and {more} more" if more > 0 else "")
