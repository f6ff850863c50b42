"""Who a worker's clients are, as far as views need that: hours, hardware addresses and names.

The fast path knows views by address alone. This module tells it which addresses belong to the
hardware addresses and names of the configuration.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import gevent
from gevent.event import Event

from .._clients import KNOWN_CLIENTS_MAX, KnownClients
from .._fastpath import FastPath, HeldQuery
from .._seen_clients import SeenClients
from ..config.schema import Config
from ..defects import guarded
from ..machine.neighbours import Lost, Neighbour, NeighbourNews, read_neighbours
from ..policy.local_names import Names
from ..policy.schedule import Schedule
from ..policy.views import (
    ViewRules,
    as_clients_name,
    names_of_addresses,
    needs_names,
    needs_neighbours,
    wide,
)
from .reverse_names import ReverseNames

log = logging.getLogger(__name__)

NEIGHBOURS_MAX = KNOWN_CLIENTS_MAX // 2
LOOK_SECONDS = 1.0
HOLD_SECONDS = 0.25  # for a neighbour to say its hardware address; a radio may sleep for long
HELD_MAX = 64
ABSENT_SECONDS = 30.0  # before a neighbour that has not said it is waited for again
ABSENT_MAX = 1024
MACS_SECONDS = 2.0  # between two looks for clients of the table without a hardware address
NAMED_MAX = 1024  # neighbours; the names of more are not asked for
READ_AGAIN_SECONDS = 5.0  # if the table cannot be read
Place = tuple[bytes, int]  # an address of 16 octets; the interface of a link-local one


class Views:
    """The views of a configuration: which are in force, and who is in them.

    `rules` are those of the views in force. `known`: who is in one by hardware address or name;
    None: no view has such clients.
    """

    def __init__(self, config: Config, names: Names, *, tells: bool) -> None:
        """`names`: the local ones. `tells`: whether this one logs; one of all workers does."""
        self._config = config
        self._tells = tells
        has_hours = any(one.when.text for one in config.view)
        self._schedule = Schedule(config.view, time.time()) if has_hours else None
        self.rules = self._rules()
        self.known = KnownClients() if needs_neighbours(config.view) else None
        self._told_macs: dict[Place, bytes] = {}  # by the kernel
        self._leased: dict[Place, bytes] = _leased(names)
        self._macs: dict[Place, bytes] = {}  # by either, the kernel first
        self._places: dict[bytes, set[Place]] = {}  # by hardware address
        self._names = names_of_addresses(config, names)
        self._named = {(address, 0) for address in self._names}
        self._absent: dict[Place, float] = {}  # until when
        self._held: dict[Place, list[HeldQuery]] = {}
        self._due: list[HeldQuery] = []
        self._news: NeighbourNews | None = None
        self._loop: Any = None
        self._resume: Callable[[HeldQuery], None] = lambda held: None
        self._reverse: ReverseNames | None = None
        self._is_lost = Event()
        if self.known is not None:
            self._begin()

    # --- hours ---------------------------------------------------------------------------------

    def _rules(self) -> ViewRules:
        numbers = None if self._schedule is None else self._schedule.numbers
        return ViewRules(self._config.view, numbers)

    def follow_hours(self, renew: Callable[[], None]) -> None:
        """Use other views as their hours begin and end; `renew` is called then."""
        if self._schedule is None:
            return
        if self._tells:
            log.info("%s", self._told())
        while True:
            now = time.time()
            due = self._schedule.due
            soon = LOOK_SECONDS if due is None else min(max(due - now, 0.0) + 0.001, LOOK_SECONDS)
            gevent.sleep(soon)
            if self._schedule.refresh(time.time()):
                self.rules = self._rules()
                self._know_all()
                renew()
                if self._tells:
                    log.info("%s", self._told())

    def _told(self) -> str:
        numbers = self._schedule.numbers if self._schedule is not None else ()
        names = ", ".join(self._config.view[number - 1].name for number in numbers)
        return f"views in force: {names or 'none'}"

    # --- clients -------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._news = NeighbourNews()  # first, so that it misses nothing
            self._read()
        except OSError as error:
            self._news = None
            if self._tells:
                log.warning(
                    "views know hardware addresses only from leases, because netlink cannot be "
                    "read (%s); addresses, prefixes and names count",
                    error.strerror or error,
                )
            for place in self._leased:
                self._set(place)
        self._know_all()

    def follow_clients(
        self,
        fastpath: FastPath,
        renew: Callable[[bytes], bool],
        seen: SeenClients | None,
    ) -> None:
        """Follow the neighbour table, and hold queries until it is known who asks.

        `renew` has a question asked upstream; `seen` gets the hardware addresses.
        """
        if self.known is None:
            return
        self._loop = gevent.get_hub().loop
        if needs_names(self._config.view):
            memory = fastpath.cache.memory
            self._reverse = ReverseNames(renew, memory.look_up, self._named_by_reverse)
            gevent.spawn(self._reverse.run)
        if self._news is None:
            return
        self._resume = fastpath.resume
        # Before the queries that wait by then: the kernel has told of a machine before it asks.
        watcher = self._loop.io(self._news.descriptor, 1, priority=self._loop.MAXPRI)
        watcher.start(guarded(self._hear))
        fastpath.on_unmet = self._meet
        try:
            while True:
                if self._is_lost.wait(MACS_SECONDS):
                    self._is_lost.clear()
                    self._read_again()
                self._forget_absent()
                self._want_names()
                if seen is not None:
                    self._tell_macs(seen)
        finally:
            fastpath.on_unmet = None
            watcher.stop()

    def use_names(self, names: Names) -> None:
        """Use other names of addresses: files have changed."""
        if self.known is not None:
            former = self._named
            self._names = names_of_addresses(self._config, names)
            self._named = {(address, 0) for address in self._names}
            leased, self._leased = self._leased, _leased(names)
            for place in leased.keys() | self._leased:
                self._set(place)
            self._know_all({*former, *leased})

    def _meet(self, address: bytes, link: int, held: HeldQuery | None) -> bool:
        """Find out who a neighbour is; return True if its query is held until that is known."""
        if self._news is None or self.known is None:
            return False
        place = address, link if _is_link_local(address) else 0
        if self._reverse is not None and address not in self._names:
            self._reverse.want(address)
        self._hear()
        if place in self._told_macs or place in self._absent:
            return False
        if held is None or sum(map(len, self._held.values())) >= HELD_MAX:
            return False
        if place in self._held:
            self._held[place].append(held)
            return True
        if not self._news.look_for(*place):
            self._miss(place)
            return False
        self._held[place] = [held]
        timer = self._loop.timer(HOLD_SECONDS)
        timer.start(guarded(self._give_up), place, timer)
        return True

    def _give_up(self, place: Place, timer: Any) -> None:
        timer.stop()
        timer.close()
        if place in self._held:
            self._miss(place)

    def _miss(self, place: Place) -> None:
        """A neighbour does not say who it is: only its address counts, for a while."""
        if len(self._absent) < ABSENT_MAX:
            self._absent[place] = time.monotonic() + ABSENT_SECONDS
            self._know(place)
        self._release(place)

    def _release(self, place: Place) -> None:
        held = self._held.pop(place, None)
        if held:
            if not self._due:  # later: the fast path may be at work now
                self._loop.run_callback(guarded(self._answer_held))
            self._due += held

    def _answer_held(self) -> None:
        due, self._due = self._due, []
        for one in due:
            self._resume(one)

    def _hear(self) -> None:
        if self._news is None:
            return
        try:
            for one in self._news.take():
                self._learn(one)
        except Lost:
            self._is_lost.set()

    def _learn(self, one: Neighbour) -> None:
        place = one.address, one.link
        if one.mac is None:
            if place in self._held:
                return  # it is being asked for; `_give_up` ends that
            is_new = self._told_macs.pop(place, None) is not None
        else:
            is_new = self._told_macs.get(place) != one.mac and self._tell(place, one.mac)
        if is_new:
            for each in self._set(place):
                self._know(each)
        if one.mac is not None:
            self._release(place)

    def _tell(self, place: Place, mac: bytes) -> bool:
        """Note what the kernel tells; return False if there is no room for it."""
        if place not in self._told_macs and len(self._told_macs) >= NEIGHBOURS_MAX:
            return False
        self._told_macs[place] = mac
        self._absent.pop(place, None)
        return True

    def _set(self, place: Place) -> set[Place]:
        """Take over the hardware address of an address; return those whose views it may change."""
        mac = self._told_macs.get(place) or self._leased.get(place)
        former = self._macs.pop(place, None)
        affected = {place}
        if former is not None:
            self._places[former].discard(place)
            affected |= self._places[former]
            if not self._places[former]:
                del self._places[former]
        if mac is not None:
            self._macs[place] = mac
            self._places.setdefault(mac, set()).add(place)
            affected |= self._places[mac]
        return affected

    def _read(self) -> None:
        self._told_macs.clear()
        for one in read_neighbours():
            if one.mac is not None:
                self._tell((one.address, one.link), one.mac)
        self._macs.clear()
        self._places.clear()
        for place in {*self._told_macs, *self._leased}:
            self._set(place)

    def _read_again(self) -> None:
        former = set(self._macs)
        try:
            self._read()
        except OSError as error:
            log.debug("neighbours: %s", error)
            gevent.sleep(READ_AGAIN_SECONDS)
            self._is_lost.set()
            return
        self._know_all(former)
        for place in [one for one in self._held if one in self._told_macs]:
            self._release(place)

    def _know_all(self, former: set[Place] | frozenset[Place] = frozenset()) -> None:
        reverse = self._reverse.places if self._reverse is not None else ()
        for place in {*former, *self._macs, *self._named, *self._absent, *reverse}:
            self._know(place)

    def _know(self, place: Place) -> None:
        """Have the fast path know the view of an address."""
        if self.known is None:
            return
        mac = self._macs.get(place)
        names = set(self._names_of(place, mac))
        if mac is None and not names and place not in self._absent:
            self.known.remove(*place)
            return
        number, _ = self.rules.by_other_than_address(mac, names)
        is_sure = place in self._told_macs or place in self._absent
        self.known.set(*place, number, is_sure=is_sure)

    def _names_of(self, place: Place, mac: bytes | None) -> Iterator[str]:
        """Yield the names of all addresses that a machine has."""
        for address, link in {place} if mac is None else self._places[mac]:
            yield from self._names.get(address, ()) if not link else ()
            if self._reverse is not None:
                yield from self._reverse.names_of(address)

    def _named_by_reverse(self, address: bytes, name: str) -> list[str]:
        """A reverse name has come: return what views may call its client."""
        place = address, 0
        mac = self._macs.get(place)
        names = list(as_clients_name(name, self._config.local.domain.text))

        def know() -> None:
            for one in {place} if mac is None else self._places.get(mac, {place}):
                self._know(one)

        self._loop.run_callback(guarded(know))
        return names

    def _want_names(self) -> None:
        """Ask for the names of neighbours that no file names."""
        if self._reverse is not None and len(self._macs) <= NAMED_MAX:
            for address, link in self._macs:
                if not link and address not in self._names:
                    self._reverse.want(address)

    def _forget_absent(self) -> None:
        now = time.monotonic()
        for place in [one for one, until in self._absent.items() if until <= now]:
            del self._absent[place]
            self._know(place)

    def _tell_macs(self, seen: SeenClients) -> None:
        """Note the hardware addresses in the table of `fastdns clients`."""
        since = time.clock_gettime(time.CLOCK_BOOTTIME) - 3 * MACS_SECONDS
        for address, link in seen.without_mac(since):
            mac = self._macs.get((address, link if _is_link_local(address) else 0))
            if mac is not None:
                seen.set_mac(address, link, mac)


def _is_link_local(address: bytes) -> bool:
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def _leased(names: Names) -> dict[Place, bytes]:
    """Return the hardware addresses that leases have."""
    pairs = islice(names.macs.items(), NEIGHBOURS_MAX)
    return {(wide(address), 0): mac for address, mac in pairs}
