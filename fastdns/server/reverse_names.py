"""The reverse names of clients, asked for in the background: of our own cache and upstreams."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Iterator

import gevent
from gevent.event import Event

from .._hosts import reverse_of
from .._key import make_key
from ..policy.views import narrow

PTR = 12
KNOWN_MAX = 4096
WANTED_MAX = 256
KNOWN_SECONDS = 3600.0  # before one is asked for again
WAITS = (0.05, 0.2, 1.0, 3.0)  # seconds between looks for the answer
NAMES_MAX = 4  # of an address
POINTERS_MAX = 16

LookUp = Callable[[bytes, int], tuple[bytes, int] | None]


class ReverseNames:
    """Asks for the names of addresses, one after another, and keeps a bounded number of them."""

    def __init__(
        self,
        renew: Callable[[bytes], bool],
        look_up: LookUp,
        named: Callable[[bytes, str], list[str]],
    ) -> None:
        """`renew` has a question asked, `look_up` finds an answer in memory.

        `named` is called for each name that is found, and returns what views may call the client.
        """
        self._renew, self._look_up, self._named = renew, look_up, named
        self._names: dict[bytes, tuple[float, tuple[str, ...]]] = {}  # until when; the oldest first
        self._wanted: dict[bytes, None] = {}
        self._is_wanted = Event()

    @property
    def places(self) -> Iterator[tuple[bytes, int]]:
        """The addresses that have names."""
        return ((address, 0) for address, (_, names) in self._names.items() if names)

    def names_of(self, address: bytes) -> Iterable[str]:
        """Return what is known of an address (16 octets)."""
        return self._names.get(address, (0.0, ()))[1]

    def want(self, address: bytes) -> None:
        """Have the names of an address asked for, if they are not known."""
        until, _ = self._names.get(address, (0.0, ()))
        if until <= time.monotonic() and len(self._wanted) < WANTED_MAX:
            self._wanted[address] = None
            self._is_wanted.set()

    def run(self) -> None:
        """Ask, as long as the worker runs."""
        while True:
            self._is_wanted.wait()
            self._is_wanted.clear()
            while self._wanted:
                address = next(iter(self._wanted))
                names = self._ask(address)
                self._wanted.pop(address, None)
                self._names.pop(address, None)
                if len(self._names) >= KNOWN_MAX:
                    del self._names[next(iter(self._names))]
                self._names[address] = (time.monotonic() + KNOWN_SECONDS, ())
                called = [one for name in names for one in self._named(address, name)]
                self._names[address] = (time.monotonic() + KNOWN_SECONDS, tuple(called))

    def _ask(self, address: bytes) -> list[str]:
        key = make_key(reverse_of(narrow(address).packed), PTR)
        for wait in (0.0, *WAITS):
            gevent.sleep(wait)
            now_ms = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
            found = self._look_up(key, now_ms)
            if found is not None:
                return list(names_in(found[0]))[:NAMES_MAX]
            if wait == 0.0 and not self._renew(key):
                return []
        return []


def names_in(wire: bytes) -> Iterator[str]:
    """Yield the names of the PTR records of an answer; nothing after what is not well-formed."""
    try:
        yield from _names_in(wire)
    except (IndexError, struct.error):
        return


def _names_in(wire: bytes) -> Iterator[str]:
    questions, answers = struct.unpack_from("!HH", wire, 4)
    at = 12
    for _ in range(questions):
        at = _name(wire, at)[1] + 4
    for _ in range(answers):
        at = _name(wire, at)[1]
        rtype, _, _, length = struct.unpack_from("!HHIH", wire, at)
        at += 10
        if rtype == PTR:
            yield _name(wire, at)[0]
        at += length


def _name(wire: bytes, at: int) -> tuple[str, int]:
    """Return a name and where it ends. IndexError: it is not one."""
    labels: list[str] = []
    end = None
    for _ in range(128 + POINTERS_MAX):
        length = wire[at]
        if length == 0:
            return ".".join(labels).lower(), at + 1 if end is None else end
        if length >= 0xC0:
            end = at + 2 if end is None else end
            at = (length & 0x3F) << 8 | wire[at + 1]
        else:
            labels.append(wire[at + 1 : at + 1 + length].decode("ascii", "replace"))
            at += 1 + length
    raise IndexError
