"""The part of answering that needs Python: a cold disk, timers, and answers about fastdns."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import gevent

from . import __version__
from ._answer import Answer, failure, text_answer
from ._cache import Cache
from ._clients import Access
from ._fastpath import FastPath
from ._flights import Flights
from ._forward import Forward
from ._groups import Group
from ._key import split_key
from ._wheel import TICK_SECONDS
from .defects import guarded, report

DISK_SECONDS = 0.5  # that a slow disk gets before upstreams are asked as well

_TYPE_TXT = 16
_RCODE_REFUSED = 5


class Resolver:
    """Connects the stages to the event loop, and looks up on a slow disk."""

    def __init__(
        self, groups: Sequence[Group], cache: Cache, flights: Flights, *, access: Access
    ) -> None:
        """`groups`: of upstreams, the default group first."""
        self._forward = Forward(cache, flights, groups[0], self._search_disk, self._keep_time)
        for group in groups[1:]:
            self._forward.add_group(group)
        self.fastpath = FastPath(self._forward, access, _about_ourselves, self._forward.renew)
        self._cache = cache
        self._hub = gevent.get_hub()
        self._replies = self._hub.loop.io(flights.descriptor, 1)
        self._replies.start(self._forward.read_replies)
        self._clock = self._hub.loop.timer(TICK_SECONDS, TICK_SECONDS)

    def renew(self, key: bytes) -> bool:
        """Ask upstream for an answer that is still served; False: already asked, or no room."""
        return self._forward.renew(key)

    @property
    def idle(self) -> bool:
        """Whether no client waits for an answer; other questions may be in flight."""
        return self._forward.waiting == 0

    def _keep_time(self) -> None:
        """Questions are in flight: run their timers."""
        self._clock.start(guarded(self._tick), update=True)

    def _tick(self) -> None:
        if not self._forward.tick():
            self._clock.stop()

    def _search_disk(self, key: bytes) -> None:
        gevent.spawn(self._search, key)

    def _search(self, key: bytes) -> None:
        """Let another thread read the disk; ask upstreams if it finds nothing, or takes long."""
        reading = gevent.spawn(self._read_disk, key)
        try:
            reading.join(DISK_SECONDS)
        finally:
            self._forward.ask(key)

    def _read_disk(self, key: bytes) -> None:
        ticket = self._cache.ticket(key)
        try:
            value = self._hub.threadpool.apply(self._cache.fetch, (key,))
            if self._cache.adopt(key, value, ticket) is None and self._forward.group.is_outage:
                for other in self._cache.other_keys(key):
                    value = self._hub.threadpool.apply(self._cache.fetch, (other,))
                    self._cache.adopt(other, value, ticket)
        except ValueError:
            self._cache.disk_is_damaged()
        except (
            Exception
        ) as defect:  # a defect of ours must not leave these clients without an answer
            report(defect)
        self._forward.found(key)


def _about_ourselves(key: bytes) -> Answer:
    """Answer in class CHAOS who we are (RFC 4892 section 3), and nothing else."""
    name, qtype, *_ = split_key(key)
    if qtype == _TYPE_TXT:
        if name in (b"\x07version\x04bind\x00", b"\x07version\x06server\x00"):
            return text_answer(key, f"fastdns {__version__}".encode())
        if name in (b"\x02id\x06server\x00", b"\x08hostname\x04bind\x00"):
            return text_answer(key, socket.gethostname().encode()[:255])
    return failure(key, _RCODE_REFUSED, None, 0)
