"""One upstream: how to ask it, how fast it answers, and whether it is alive."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial

import gevent
from gevent.queue import Empty

from .._entry import Source
from .._forward import Handover
from .._shared import UpstreamState
from .._upstream import OPT, PROBE, TRIAL, Upstream
from ..config.schema import Server
from ..errors import LocalShortage, UpstreamError
from . import udp
from .exchange import Arrivals, Desk, Exchange, new_arrivals
from .request import PROBE_KEY, Request
from .tcp import TcpChannel, TcpExchange

log = logging.getLogger(__name__)

PROBE_FIRST = 1.0
PROBE_MAX = 30.0
PROBE_SECONDS = 4.0  # that each has
EDNS_PROBE_FIRST = 1.0
EDNS_PROBE_MAX = 86400.0


class Endpoint:
    """One upstream; `turned` is called when something changes about it.

    `by_udp` is what C knows of it: its health, whatever the transport, and its ports.
    """

    def __init__(self, server: Server, timeout: float, desk: Desk) -> None:
        self.server = server
        self.address = server.address
        self.source = Source(str(server))
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
        self._was_alive = True
        self._is_called_lame = False
        self._prober: gevent.Greenlet | None = None
        self._edns_prober: gevent.Greenlet | None = None

    def ask(
        self,
        request: Request,
        arrivals: Arrivals,
        *,
        is_trial: bool = False,
        is_probe: bool = False,
    ) -> Exchange:
        """Send the request by the upstream's own transport; UpstreamUnreachable: it cannot be.

        A trial goes without OPT, as nothing came with one; a probe with OPT, whatever is known.
        """
        if self.server.transport == "tcp":
            form = self.by_udp.usual_form
            if is_trial and form == OPT:
                form = TRIAL
            return self.ask_by_tcp(request, arrivals, PROBE if is_probe else form)
        try:
            return udp.send(
                self, self.by_udp, request, arrivals, is_trial=is_trial, is_probe=is_probe
            )
        except UpstreamError as error:
            self.desk.counters.add("upstream_errors_total")
            if not isinstance(error, LocalShortage):
                self.failed(0.0, error)
            raise

    def ask_by_tcp(self, request: Request, arrivals: Arrivals, form: int | None = None) -> Exchange:
        """Send the request over the kept TCP connection, which is how a truncated answer is got."""
        self.by_udp.queries += 1
        form = self.by_udp.usual_form if form is None else form
        return TcpExchange(self, self._channel, request, arrivals, known=self.by_udp, form=form)

    def take_over(self, request: Request, arrivals: Arrivals, handover: Handover) -> Exchange:
        """Go on with what `_forward` has sent, and tell what has become of it by now."""
        exchange = udp.UdpExchange(self, request, arrivals, handover.sent, handover.seconds)
        if handover.error == errno.ETIMEDOUT:
            exchange.late()
        elif handover.error:
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
    def time_limit(self) -> float:
        """Seconds after which a query counts as not answered."""
        return self.by_udp.time_limit

    def pause(self, attempts: int) -> float:
        """Seconds until it is asked again after so many attempts, when there is no other."""
        if self.server.transport == "tcp" and self.by_udp.is_known:
            return self.time_limit  # nothing gets lost there
        return min(self.patience * 4.0 ** (attempts - 1), self.time_limit)

    @property
    def state(self) -> UpstreamState:
        """What others are shown of it."""
        known = self.by_udp
        return UpstreamState(
            str(self.server),
            known.alive,
            known.rtt,
            known.queries,
            known.failures,
            known.has_edns,
        )

    def failed(self, seconds: float, error: UpstreamError) -> None:
        self._error = error
        self.by_udp.failed(seconds)

    def _turn(self) -> None:
        if self._closed:
            return
        if self.alive != self._was_alive:
            self._was_alive = self.alive
            self._live_or_die()
        if not self.by_udp.has_edns and self._edns_prober is None:
            self._edns_prober = gevent.spawn(self._probe_edns)
        if not self.by_udp.does_recurse and not self._is_called_lame:
            self._is_called_lame = True
            log.warning(
                "upstream %s does not recurse: it answers with a referral or with nothing; name a "
                "resolver in upstream.servers, or allow this machine recursion there",
                self.server,
            )
        self.turned()

    def _live_or_die(self) -> None:
        if self.alive:
            if self._prober is not None:
                self._prober.kill(block=False)
            self._error = None
            log.info("upstream %s answers again", self.server)
        else:
            log.warning(
                "upstream %s does not answer (%s); it is tried now and then",
                self.server,
                self._error or "no reply in time",
            )
            self._prober = gevent.spawn(self._probe)

    def close(self) -> None:
        """Stop asking it: it is no upstream of ours any more."""
        self._closed = True
        for prober in (self._prober, self._edns_prober):
            if prober is not None:
                prober.kill(block=False)
        self.desk.flights.forget(self.by_udp)
        self._channel.close()

    def _probe(self) -> None:
        """Ask a dead upstream rarely, until it answers: in turn with OPT and without."""
        pause = PROBE_FIRST
        is_trial = False
        while not self.alive:
            gevent.sleep(pause)
            pause = min(2 * pause, PROBE_MAX)
            self._probe_once(is_trial=is_trial)
            is_trial = not is_trial

    def _probe_edns(self) -> None:
        """Ask an upstream without EDNS now and then with an OPT, until that is answered.

        What was taken for that may have been a lost packet, so the first time comes soon.
        """
        pause = EDNS_PROBE_FIRST
        is_said = False
        while not self.by_udp.has_edns:
            gevent.sleep(pause)
            pause = min(4 * pause, EDNS_PROBE_MAX)
            if self.alive:
                self._probe_once(is_probe=True)
            if not self.by_udp.has_edns and not is_said:
                is_said = True
                log.warning(
                    "upstream %s does not answer queries with EDNS (RFC 6891): it is asked "
                    "without, and DNSSEC data is not to be had from it",
                    self.server,
                )
        self._edns_prober = None
        if is_said:
            log.info("upstream %s answers queries with EDNS", self.server)

    def _probe_once(self, *, is_trial: bool = False, is_probe: bool = False) -> None:
        arrivals = new_arrivals()
        request = Request(PROBE_KEY, trust_ad=False)
        try:
            exchange = self.ask(request, arrivals, is_trial=is_trial, is_probe=is_probe)
        except UpstreamError:
            return
        try:
            arrivals.get(timeout=PROBE_SECONDS)
        except Empty:
            pass
        finally:
            exchange.close()
