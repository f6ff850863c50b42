"""The processes of a daemon and what they share, through starts, deaths and other settings."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from .._cookies import Cookies
from .._counters import UpstreamState
from ..config.places import Places
from ..upstream.known_groups import groups_of, write_groups
from ..upstream.origin import fingerprint
from .certificate_page import CertificatePage
from .cookie_secrets import CookieSecrets
from .keeper import KeeperRole
from .lists import ListsRole
from .loop import Loop
from .roles import Context, NotReplaced, Role, Roles
from .settings import Settings, close_unused, trimmed
from .shared_memory import Maker
from .sockets import end_steering, steer
from .workers import Standby, Worker

if TYPE_CHECKING:
    from .ticket_file import TicketFile

STEERING_SECONDS = 0.02  # until the sockets from which queries are steered away are empty

# Further roles, started after these: a line each.
OTHERS: list[Callable[[Context], Role]] = []


class Processes:
    """The processes of a daemon: always the same sockets and pages, whichever processes work."""

    def __init__(
        self,
        settings: Settings,
        places: Places,
        certificate: CertificatePage,
        maker: Maker,
        loop: Loop,
    ) -> None:
        config = settings.config
        self._is_changing = False
        self._serving: list[int] = []  # the workers that queries are steered to; none: to all
        self.outdated = 0  # entries that the last change of upstreams affects
        self._maker = maker
        self._places = places
        shared = maker.make(
            places.environment(config.cache.disk),
            config.worker_count,
            max(config.worker_count, os.cpu_count() or 1),
        )
        self._context = context = Context(settings, shared, certificate, loop)
        self._cookie_secrets = CookieSecrets(
            places.cookie_secrets, Cookies(shared.cookie_page), time.time()
        )
        self._tickets: TicketFile | None = None
        self._use_tickets(settings)
        keeper = KeeperRole(context, places)
        self._standby = Standby(context, places)
        self._worker = Worker(context, self._standby)
        others = [ListsRole(context, places), *(other(context) for other in OTHERS)]
        self._beside_workers = [keeper, *others]
        self._roles = Roles([keeper, self._worker, self._standby, *others], context)

    @property
    def settings(self) -> Settings:
        """The settings that they work with."""
        return self._context.settings

    @property
    def due(self) -> float:
        """When `look` must be called although no event has come."""
        return self._roles.due

    @property
    def most_workers(self) -> int:
        """The most workers that are possible while this daemon runs."""
        return self._context.shared.most_workers

    @property
    def upstreams(self) -> list[UpstreamState]:
        """The state of the upstreams, as all workers together know it."""
        return self._context.shared.pages.upstreams()

    def start(self) -> None:
        """Start all. StartError: impossible."""
        gc.collect()
        gc.freeze()  # what was imported stays shared with children, untouched by their collectors
        self._show_groups()
        self._roles.start()

    def _show_groups(self) -> None:
        """Tell commands which groups there are; the first worker tells of changes."""
        forward = self._context.settings.forward
        write_groups(self._places.groups, groups_of(forward))

    def heartbeats(self) -> dict[str, float]:
        """Return when each process that reports it last responded, by time.monotonic."""
        return {str(one): alive_at for one, alive_at in self._roles.heartbeats().items()}

    def look(self) -> None:
        """Handle processes that have ended, and start others for their work."""
        self._roles.look()
        self._cookie_secrets.look(time.time())
        if self._tickets is not None:
            self._tickets.look(time.time())
        if not self._is_changing:
            self._steer_to_serving()

    def stop(self) -> None:
        """Let the workers send their last answers, then the keeper write these to disk."""
        self._roles.stop()

    def adopt(self, settings: Settings) -> Iterator[float]:
        """Replace the workers one after another on the same sockets, then the others if needed.

        A step at a time: it yields until when it waits, and continues after any event. OSError:
        some could not be replaced and continue unchanged; if none could, nothing changes.
        """
        context = self._context
        former = context.former = context.settings
        totals = context.shared.pages.totals()
        # Only memory has the answers that were not written yet.
        held = max(totals["disk_entries"], totals["cache_entries"])
        context.settings = settings
        self._use_tickets(settings)
        self._is_changing = True
        self._maker.extend(context.shared, settings.config.worker_count)
        gc.collect()
        gc.freeze()
        self._roles.let_go(self._standby)  # it was forked with other settings
        failure = None
        try:
            try:
                yield from self._roles.renew(self._worker)
            except NotReplaced as error:
                failure = error
                if error.are_all:
                    context.settings = former
            yield from self._stop_surplus(former, settings)
        finally:
            self._is_changing = False
        # The worker that said it last is right: answers of these upstreams count now.
        now = context.settings
        origin = fingerprint(now.config.upstream, now.sources.servers)
        before = fingerprint(former.config.upstream, former.sources.servers)
        self.outdated = held if origin != before else 0
        context.shared.control.origin = origin
        self._show_groups()
        for role in self._beside_workers:
            yield from self._roles.renew(role)
            yield from self._roles.dismiss(role, role.count)
        yield from self._roles.renew(self._standby)
        if failure is not None:
            raise failure

    def _use_tickets(self, settings: Settings) -> None:
        """Have keys for the tickets of TLS sessions, if these settings encrypt."""
        if self._tickets is None and settings.config.listen.is_encrypted:
            from .ticket_file import TicketFile  # noqa: PLC0415 - see policy.parts

            page = self._context.shared.ticket_page
            self._tickets = TicketFile(self._places.ticket_keys, page, time.time())

    def _stop_surplus(self, *once: Settings) -> Iterator[float]:
        """Stop surplus workers, and close the sockets that no worker reads."""
        context = self._context
        count = self._worker.count
        for listener in context.settings.listeners:
            steer(listener, range(count))
        yield from _pause(STEERING_SECONDS)
        self._roles.let_go(self._standby)
        yield from self._roles.dismiss(self._worker, count)
        context.settings = trimmed(context.settings)
        for settings in once:
            close_unused(settings, context.settings)
        context.former = context.settings
        self.end_steering()

    def _steer_to_serving(self) -> None:
        """Steer queries to workers that answer; those queued for another one wait for the next."""
        workers = self._roles.children(self._worker)
        serving = [number for number, one in enumerate(workers) if one is not None and one.is_ready]
        if len(serving) in (0, len(workers)):
            serving = []
        if serving == self._serving:
            return
        if not serving:
            self.end_steering()
        else:
            for listener in self.settings.listeners:
                steer(listener, serving)
            self._serving = serving

    def end_steering(self) -> None:
        """Let the kernel distribute queries among all workers."""
        self._serving = []
        for listener in self.settings.listeners:
            end_steering(listener)


def _pause(seconds: float) -> Iterator[float]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield until
