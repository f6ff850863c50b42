"""One upstream: how to ask it, how fast it answers, and whether it is alive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import gevent

from .._answer import Answer
from .._forward import Handover
from .._shared import UpstreamState
from .._tiers import Source
from .._upstream import Upstream
from ..config.schema import Server
from ..errors import LocalShortage, UpstreamError
from . import udp
from .exchange import Arrivals, Desk, Exchange, new_arrivals
from .request import PROBE_KEY, Request
from .tcp import TcpChannel, TcpExchange

log = logging.getLogger(__name__)

PROBE_FIRST = 1.0
PROBE_MAX = 30.0


class Endpoint:
    """One upstream; `turned` is called when it dies and when it answers again.

    `by_udp` is what C knows of it: its health, whatever the transport, and its ports.
    """

    def __init__(self, server: Server, timeout: float, desk: Desk) -> None:
        self.server = server
        self.address = server.address
        self.source = Source(str(server))
        self.timeout = timeout
        self.desk = desk
        self.turned: Callable[[], None] = lambda: None
        self.by_udp = Upstream(
            self.source,
            timeout,
            partial(udp.open_socket, server.address),
            self._turn,
            udp.packed(server.address),
        )
        self._channel = TcpChannel(server.address, desk)
        self._closed = False
        self._error: UpstreamError | None = None  # the last one
        self._prober: gevent.Greenlet | None = None

    def ask(self, request: Request, arrivals: Arrivals) -> Exchange:
        """Send the request by the upstream's own transport; UpstreamUnreachable: it cannot be."""
        if self.server.transport == "tcp":
            return self.ask_by_tcp(request, arrivals)
        try:
            return udp.send(self, self.by_udp, request, arrivals)
        except UpstreamError as error:
            self.desk.counters.add("upstream_errors_total")
            if not isinstance(error, LocalShortage):
                self.failed(0.0, error)
            raise

    def ask_by_tcp(self, request: Request, arrivals: Arrivals) -> Exchange:
        """Send the request over the kept TCP connection, which is how a truncated answer is got."""
        self.by_udp.queries += 1
        return TcpExchange(self, self._channel, request, arrivals)

    def take_over(self, request: Request, arrivals: Arrivals, handover: Handover) -> Exchange:
        """Go on with what `_forward` has sent, and tell what has become of it by now."""
        exchange = udp.UdpExchange(self, request, arrivals, handover.sent, handover.seconds)
        if handover.error:
            exchange.failed(handover.error)
        elif handover.wire is not None:
            exchange.received(handover.wire)
        return exchange

    @property
    def alive(self) -> bool:
        return self.by_udp.alive

    @property
    def patience(self) -> float:
        """Seconds after which another upstream is asked as well."""
        return self.by_udp.patience

    @property
    def state(self) -> UpstreamState:
        """What others are shown of it."""
        known = self.by_udp
        return UpstreamState(
            str(self.server), known.alive, known.rtt, known.queries, known.failures
        )

    def answered(self, seconds: float) -> None:
        self.by_udp.answered(seconds)

    def failed(self, seconds: float, error: UpstreamError) -> None:
        self._error = error
        self.by_udp.failed(seconds)

    def _turn(self) -> None:
        if self._closed:
            return
        if self.alive:
            if self._prober is not None:
                self._prober.kill(block=False)
            log.info("upstream %s answers again", self.server)
        else:
            log.warning(
                "upstream %s does not answer (%s); it is tried now and then",
                self.server,
                self._error or "no reply in time",
            )
            self._prober = gevent.spawn(self._probe)
        self.turned()

    def close(self) -> None:
        """Stop asking it: it is no upstream of ours any more."""
        self._closed = True
        if self._prober is not None:
            self._prober.kill(block=False)
        self.desk.flights.forget(self.by_udp)
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
