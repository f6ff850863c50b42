"""One upstream: how to ask it, how fast it answers, and whether it is alive."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import gevent

from .._answer import Answer
from .._shared import UpstreamState
from .._tiers import Source
from ..config.schema import Server
from ..errors import LocalShortage, UpstreamError
from .exchange import Arrivals, Desk, Exchange, new_arrivals
from .request import PROBE_KEY, Request
from .tcp import TcpChannel, TcpExchange
from .udp import UdpExchange

log = logging.getLogger(__name__)

FAILURES_TO_DIE = 2  # in a row, with no reply between: one lost packet is no death
PROBE_FIRST = 1.0
PROBE_MAX = 30.0
PATIENCE_MIN = 0.15
PATIENCE_UNKNOWN = 0.3
PATIENCE_MAX = 0.5


class Endpoint:
    """One upstream and its health; `turned` is called when it dies and when it answers again."""

    def __init__(self, server: Server, timeout: float, desk: Desk) -> None:
        self.server = server
        self.address = server.address
        self.source = Source(str(server))
        self.alive = True
        self.timeout = timeout
        self.desk = desk
        self.queries = 0
        self.failures = 0  # queries without a reply in time, and those that the network refused
        self.turned: Callable[[], None] = lambda: None
        self._channel = TcpChannel(server.address, desk)
        self._closed = False
        self._last_reply = 0.0
        self._in_a_row = 0
        self._rtt: float | None = None  # smoothed, with its deviation: RFC 6298 section 2
        self._deviation = 0.0
        self._prober: gevent.Greenlet | None = None

    def ask(self, request: Request, arrivals: Arrivals) -> Exchange:
        """Send the request by the upstream's own transport; UpstreamUnreachable: it cannot be."""
        if self.server.transport == "tcp":
            return self.ask_by_tcp(request, arrivals)
        try:
            exchange = UdpExchange(self, request, arrivals)
        except UpstreamError as error:
            self.desk.counters.add("upstream_errors_total")
            if not isinstance(error, LocalShortage):
                self.queries += 1
                self.failed(time.monotonic(), error)
            raise
        self.queries += 1
        return exchange

    def ask_by_tcp(self, request: Request, arrivals: Arrivals) -> Exchange:
        """Send the request over the kept TCP connection, which is how a truncated answer is got."""
        self.queries += 1
        return TcpExchange(self, self._channel, request, arrivals)

    @property
    def state(self) -> UpstreamState:
        """What others are shown of it."""
        return UpstreamState(str(self.server), self.alive, self._rtt, self.queries, self.failures)

    @property
    def patience(self) -> float:
        """Seconds after which another upstream is asked as well: what it takes when it is well."""
        if self._rtt is None:
            return PATIENCE_UNKNOWN
        return min(max(2 * self._rtt + 4 * self._deviation, PATIENCE_MIN), PATIENCE_MAX)

    def answered(self, seconds: float) -> None:
        if self._rtt is None:
            self._rtt, self._deviation = seconds, seconds / 2
        else:
            self._deviation += (abs(seconds - self._rtt) - self._deviation) / 4
            self._rtt += (seconds - self._rtt) / 8
        self._in_a_row = 0
        self._last_reply = time.monotonic()
        if not self.alive:
            self.alive = True
            if self._prober is not None:
                self._prober.kill(block=False)
            log.info("upstream %s answers again", self.server)
            self.turned()

    def failed(self, sent_at: float, error: UpstreamError) -> None:
        self.failures += 1
        if sent_at < self._last_reply:
            return  # it has answered others since: one name is slow, not the upstream
        self._in_a_row += 1
        if self.alive and not self._closed and self._in_a_row >= FAILURES_TO_DIE:
            self.alive = False
            log.warning(
                "upstream %s does not answer (%s); it is tried now and then", self.server, error
            )
            self._prober = gevent.spawn(self._probe)
            self.turned()

    def close(self) -> None:
        """Stop asking it: it is no upstream of ours any more."""
        self._closed = True
        if self._prober is not None:
            self._prober.kill(block=False)
        self._channel.close()

    def _probe(self) -> None:
        """Ask a dead upstream rarely, until it answers."""
        pause = PROBE_FIRST
        while not self.alive:
            gevent.sleep(pause)
            pause = min(2 * pause, PROBE_MAX)
            arrivals = new_arrivals()
            try:
                self.ask(Request(PROBE_KEY, trust_ad=False), arrivals)
            except UpstreamError:
                continue
            _, outcome = arrivals.get()
            if isinstance(outcome, Answer):
                return
