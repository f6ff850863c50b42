"""One query to one upstream, from sending it to its answer, its failure or its end of time."""

from __future__ import annotations

import time
from typing import Protocol

import gevent
from gevent.queue import Queue

from .._answer import Answer
from .._flights import Flights
from .._shared import Counters
from ..config.schema import Address
from ..errors import LocalShortage, UpstreamError, UpstreamTimeout
from .reply import Reader
from .request import Request

LINGERING_MAX = 256  # enough to know who is slow and who is dead; each holds a socket


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
        self.lingering = 0  # exchanges that nobody waits for any more
        self.reader = reader
        self.flights = flights
        self.counters = counters
        self.loop = gevent.get_hub().loop


class Asked(Protocol):
    """The upstream that an exchange is with, and what it is told of the outcome."""

    @property
    def address(self) -> Address: ...

    @property
    def timeout(self) -> float: ...

    @property
    def desk(self) -> Desk: ...

    def answered(self, seconds: float) -> None:
        """It replied after that time."""

    def failed(self, seconds: float, error: UpstreamError) -> None:
        """What was sent so long ago was not answered in time, or it could not be reached."""


class Exchange:
    """One query under way. Its outcome is put into `arrivals` once; nothing in it ever blocks.

    `release` says that nobody waits any more: it goes on listening until its time is over, so that
    a slow upstream is told from a dead one. `close` ends it at once.
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
        self.sent_at = time.monotonic() - seconds

    def arrived(self, answer: Answer) -> None:
        """A reply that counts has come."""
        if not self.done:
            self.upstream.answered(self.seconds)
            self._finish(answer)

    def broken(self, error: UpstreamError) -> None:
        """The network or the upstream refused."""
        if not self.done:
            self.desk.counters.add("upstream_errors_total")
            if not isinstance(error, LocalShortage):
                self.upstream.failed(self.seconds, error)
            self._finish(error)

    def expired(self) -> None:
        """There was no reply in time."""
        error = UpstreamTimeout("no reply in time")
        self.upstream.failed(self.seconds, error)
        self._finish(error)

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self.sent_at

    def release(self) -> None:
        if self.desk.lingering >= LINGERING_MAX:
            self.close()
        if not self.done:
            self.arrivals = None
            self.desk.lingering += 1

    def close(self) -> None:
        if self.done:
            return
        self.done = True
        if self.arrivals is None:
            self.desk.lingering -= 1
        self._end()

    def _end(self) -> None:
        """Give back what the transport holds."""

    def _finish(self, outcome: Answer | UpstreamError) -> None:
        self.close()
        if self.arrivals is not None:
            self.arrivals.put((self, outcome))
