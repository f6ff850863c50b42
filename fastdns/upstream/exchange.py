"""One query to one upstream, from sending it to its answer, its failure or its end of time."""

from __future__ import annotations

import time
from typing import Protocol

import gevent
from gevent.queue import Queue

from .._answer import Answer
from .._entry import Source
from .._flights import Flights
from .._shared import Counters
from ..config.schema import Address
from ..errors import LocalShortage, UpstreamError, UpstreamTimeout, UpstreamUnusable
from .reply import Reader
from .request import Request

LISTEN_SECONDS = 10.0  # to what was sent: a late answer is still worth keeping
LINGERING_MAX = 256  # that nobody waits for any more; each holds a socket


class Keep(Protocol):
    """Takes a good answer that has come too late for who asked."""

    def __call__(self, answer: Answer, source: Source, seconds: float) -> None: ...


class Arrivals(Protocol):
    """Where outcomes are put and waited for: a queue of gevent's."""

    def put(self, item: tuple[Exchange, Answer | UpstreamError]) -> None: ...

    def get(self, *, timeout: float | None = None) -> tuple[Exchange, Answer | UpstreamError]: ...


def new_arrivals() -> Arrivals:
    # Not SimpleQueue: gevent 22.10 has the standard library's by that name, which stops the hub.
    queue: Arrivals = Queue()
    return queue


class Desk:
    """What all exchanges of a process share."""

    def __init__(self, reader: Reader, counters: Counters, flights: Flights) -> None:
        self.lingering: dict[Exchange, None] = {}  # that nobody waits for any more, oldest first
        self.reader = reader
        self.flights = flights
        self.counters = counters
        self.loop = gevent.get_hub().loop


class Asked(Protocol):
    """The upstream that an exchange is with, and what it is told of the outcome."""

    @property
    def address(self) -> Address: ...

    @property
    def source(self) -> Source: ...

    @property
    def desk(self) -> Desk: ...

    def failed(self, seconds: float, error: UpstreamError) -> None:
        """What was sent so long ago was not answered in time, or it could not be reached."""


class Exchange:
    """One query under way. Its outcome is put into `arrivals` once; nothing in it ever blocks.

    `release` says that nobody waits any more: it goes on listening for LISTEN_SECONDS in all, so
    that a slow upstream is told from a dead one and its answer is kept. `close` ends it at once.
    """

    def __init__(
        self, upstream: Asked, request: Request, arrivals: Arrivals, seconds: float = 0.0
    ) -> None:
        """Wait for the outcome of what was sent so many seconds ago."""
        self.upstream = upstream
        self.desk = upstream.desk
        self.request = request
        self.arrivals: Arrivals | None = arrivals
        self.done = False
        self.is_late = False  # it takes longer than it should
        self.sent_at = time.monotonic() - seconds
        self._keep: Keep | None = None

    def arrived(self, answer: Answer) -> None:
        """A reply that counts has come."""
        if not self.done:
            self._finish(answer)

    def broken(self, error: UpstreamError) -> None:
        """The network or the upstream refused."""
        if not self.done:
            self.desk.counters.add("upstream_errors_total")
            if not isinstance(error, (LocalShortage, UpstreamUnusable)):
                self.upstream.failed(self.seconds, error)
            self._finish(error)

    def late(self) -> None:
        """There was no reply in time; there may still be one."""
        self.is_late = True

    def expired(self) -> None:
        """It has been listened to long enough."""
        if not self.done:
            self._finish(UpstreamTimeout("no reply in time"))

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self.sent_at

    def release(self, keep: Keep | None = None) -> None:
        if self.done:
            return
        self.arrivals = None
        self._keep = keep
        lingering = self.desk.lingering
        lingering[self] = None
        if len(lingering) > LINGERING_MAX:
            oldest = next(iter(lingering))
            # Some must be listened to until they are late, or the dead would never be known.
            (oldest if oldest.is_late else self).close()

    def close(self) -> None:
        if self.done:
            return
        self.done = True
        self.desk.lingering.pop(self, None)
        self._end()

    def _end(self) -> None:
        """Give back what the transport holds."""

    def _finish(self, outcome: Answer | UpstreamError) -> None:
        self.close()
        if self.arrivals is not None:
            self.arrivals.put((self, outcome))
        elif self._keep is not None and isinstance(outcome, Answer) and _is_good(outcome):
            self._keep(outcome, self.upstream.source, self.seconds)


def _is_good(answer: Answer) -> bool:
    return not (answer.is_failure or answer.truncated or answer.is_lame)
