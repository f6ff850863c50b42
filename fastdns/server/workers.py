"""The workers as roles: which process has which number, and the standby for the next death."""

from __future__ import annotations

import logging
import os
import time

from ..config.places import Places
from ..counters import WORKER_SLOT
from ..policy.block_lists.hits import ListHits
from ..policy.block_lists.named import compiled_path
from . import worker
from .children import Child, name_process
from .log import leave_to_first_worker
from .roles import Context, Role
from .settings import close_unused, without_former
from .shared_memory import WorkerSlot
from .sockets import end_steering

log = logging.getLogger(__name__)

ORDER_MAX = 64  # octets
NEW_SECONDS = 5.0  # workers publish the state of the upstreams every second


class Standby(Role):
    """A process that can become any worker at once, by an order with its number and its slot."""

    name = "standby"
    ready_seconds = 0.0  # it is ready when it has become a worker

    def __init__(self, context: Context, places: Places) -> None:
        super().__init__(context)
        self._places = places

    def work(self, order: int, ready: int) -> None:
        """Wait for the order to be a worker, and run as it."""
        told = _await_order(order)
        if told is None:
            return
        number, slot_number = told
        name_process(Worker.name, number)
        context = self.context
        slot = context.shared.worker_slots[slot_number]
        settings = context.settings
        if number:
            leave_to_first_worker()
        for one in (settings.sources, *(each.sources for each in settings.forward)):
            one.refresh()  # a successor must not begin with an old list
        if settings.local is not None:
            settings.local.refresh()
        close_unused(context.former, settings)
        for listener in settings.listeners:
            listener.close_others(number)
        inheritance = worker.Inheritance(
            number=number,
            config=settings.config,
            memory=settings.config.worker_memory,
            sources=settings.sources,
            forward=settings.forward,
            domains=settings.domains,
            local=settings.local,
            listeners=settings.listeners,
            counters=slot.counters,
            pages=context.shared.pages,
            lifeline=order,
            ring=slot.ring,
            rings=context.shared.rings,
            control=context.shared.control,
            rate_table=context.shared.rate_table,
            cookie_page=context.shared.cookie_page,
            certificate_page=context.certificate,
            ticket_page=context.shared.ticket_page,
            wakeup=slot.wakeup,
            keeper_wakeup=context.shared.keeper_wakeup,
            groups=self._places.groups,
            overrides=self._places.overrides,
            compiled=compiled_path(self._places),
            hits=ListHits(self._places.run_dir, slot.number, context.shared.pages.started_at),
            cache=self._places.environment(settings.config.cache.disk),
            upstreams=context.shared.pages.upstreams_shown_since(time.monotonic() - NEW_SECONDS),
        )
        worker.main(inheritance, ready)


class Worker(Role):
    """Processes that answer queries. Each was a standby before, or was forked for it."""

    name = "worker"
    is_required = True
    overlaps = True
    restarts = "worker_restarts_total"

    def __init__(self, context: Context, standby: Standby) -> None:
        super().__init__(context)
        self._standby = standby
        self._slots: dict[Child, WorkerSlot] = {}

    @property
    def count(self) -> int:
        """As many as the current settings say."""
        return self.context.settings.config.worker_count

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return self.context.shared.free_slot is not None

    def fork(self, number: int, *, after_death: bool) -> Child:
        """Let the standby, or else a new process, be this worker. OSError: impossible."""
        slot = self.context.shared.free_slot
        if slot is None:
            raise OSError("others that are stopping still occupy its slot")
        order = f"{number} {slot.number}"
        child = self._told(order)
        if child is None:
            child = Child(self.name, self._standby.work, self.context.loop)
            child.tell(order)
        slot.assign()
        self._slots[child] = slot
        return child

    def _told(self, order: str) -> Child | None:
        """Return the standby that took the order; None: there is none."""
        child = next(iter(self.roles.children(self._standby)), None)
        if child is None:
            return None
        try:
            child.tell(order)
        except BrokenPipeError:
            return None
        self.roles.take(self._standby)
        child.name = self.name
        return child

    def started(self) -> None:
        """Steer queries to all of them, and drop sockets that only workers of the last run read."""
        for listener in self.context.settings.listeners:
            if not listener.former:  # else new queries must not reach it
                end_steering(listener)
        self.context.settings = without_former(self.context.settings)

    def died(self, child: Child) -> None:
        """The disk may be the cause of its death."""
        if child.has_crashed:
            self.context.shared.control.suspect = True

    def hangs(self, child: Child) -> None:
        """Its successor must not hang as well: it avoids the disk if this one hangs there.

        One that is running there is in a loop; one that waits does so for a device.
        """
        shared = self.context.shared
        if not shared.pages.is_in_disk(WORKER_SLOT + self._slots[child].number):
            return
        if child.is_running:
            shared.control.condemn()
        else:
            shared.control.suspect = True

    def ended(self, child: Child) -> None:
        """Take its slot back."""
        self._slots.pop(child).release()

    def alive_at(self, child: Child) -> float:
        """Return what its clock wrote last."""
        return self.context.shared.pages.alive_at(WORKER_SLOT + self._slots[child].number)


def _await_order(descriptor: int) -> tuple[int, int] | None:
    """In a child: wait for an order; number and slot. None: there will be none."""
    words = os.read(descriptor, ORDER_MAX).split()
    if not words:
        return None
    number, slot = map(int, words)
    return number, slot
