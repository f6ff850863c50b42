"""One upstream: whether it is alive, its abilities, and what other processes see of that."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import gevent
from gevent.event import Event

from .._counters import UpstreamState
from .._entry import Source
from .._flights import Flights
from .._key import make_key
from .._upstream import PLAIN, PROBE, TRIAL, Upstream
from ..config.values import Address, Server
from .transports import channel_class

PROBE_FIRST = 1.0
PROBE_MAX = 30.0
PROBE_SECONDS = 4.0  # for the answer to a probe
EDNS_PROBE_FIRST = 1.0
EDNS_PROBE_MAX = 86400.0
PROBE_KEY = make_key(b"\0", 2)  # ". IN NS": every resolver knows it


class Endpoint:
    """One upstream; `turned` is called when something changes about it. `name`: as others see it.

    `known` is C's record of it: its health, whatever the transport, and its ports.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        timeout: float,
        flights: Flights,
        turned: Callable[[], None],
    ) -> None:
        self.server = server
        self._name = name
        self._flights = flights
        self._turned = turned
        self._channel = channel_class(server)(server)
        host, _, interface = server.address.host.partition("%")
        self.known = Upstream(
            Source(str(server)),
            timeout,
            packed(Address(host, server.address.port)),
            self._turn,
            interface=interface.encode(),
            stream=self._channel,
            is_stream=server.kind.is_stream,
        )
        self._closed = False
        self._was_alive = True
        self.refusal = 0  # the RCODE with which it answers everything, as RefusalCheck has found
        self._lacks_edns = False
        self._prober: gevent.Greenlet | None = None
        self._edns_prober: gevent.Greenlet | None = None
        self._has_turned = Event()
        self._is_taking_over = False

    @property
    def state(self) -> UpstreamState:
        """Its state for other processes."""
        known = self.known
        return UpstreamState(
            self._name,
            known.alive,
            known.rtt,
            known.queries,
            known.failures,
            known.has_edns,
            known.since,
            known.last_error,
            self.refusal,
            known.does_recurse,
            self._lacks_edns,
            known.just_died,
        )

    def take_over(self, state: UpstreamState) -> None:
        """Begin with what another process has found out about it."""
        self._is_taking_over = True
        if state.rtt is not None:
            self.known.answered(state.rtt)
        if not state.edns:
            self.known.look_at_message(TRIAL, 0, has_opt=False)
        self._lacks_edns = state.lacks_edns
        if state.rcode:
            self.refusal = state.rcode
            self.known.assume_errors()
        if not state.alive:
            self.known.assume_dead()
        self._is_taking_over = False

    def _turn(self) -> None:
        if self._closed:
            return
        self._has_turned.set()
        if self.known.alive != self._was_alive:
            self._was_alive = self.known.alive
            self._live_or_die()
        if not self.known.has_edns and self._edns_prober is None:
            self._edns_prober = gevent.spawn(self._probe_edns)
        self._turned()

    def _live_or_die(self) -> None:
        if self._prober is not None:
            self._prober.kill(block=False)
        if self._was_alive:
            self.known.forget_edns()
            self._prober = gevent.spawn(self._learn_edns)
        elif self._is_taking_over:
            self._prober = gevent.spawn(self._probe, 0.0)  # it may have changed meanwhile
        else:
            self._prober = gevent.spawn(self._probe, PROBE_FIRST)

    def close(self) -> None:
        """Stop asking it: it is not an upstream of ours any more."""
        self._closed = True
        for prober in (self._prober, self._edns_prober):
            if prober is not None:
                prober.kill(block=False)
        self._flights.forget(self.known)
        self._channel.close()

    def _probe(self, pause: float) -> None:
        """Ask a dead upstream at long intervals until it answers, alternately with OPT and without.

        How it handles an OPT is learned when it is alive: before, silence tells nothing about that.
        """
        has_opt = True
        while not self.known.alive:
            gevent.sleep(pause)
            pause = min(max(2 * pause, PROBE_FIRST), PROBE_MAX)
            self._flights.probe(self.known, PROBE_KEY, PROBE if has_opt else PLAIN)
            has_opt = not has_opt

    def _learn_edns(self) -> None:
        """Find out whether it answers queries with an OPT, if those of clients do not tell."""
        self._flights.probe(self.known, PROBE_KEY, PROBE)
        gevent.sleep(PROBE_SECONDS)
        if self.known.alive and not self.known.is_known:
            self._flights.probe(self.known, PROBE_KEY, TRIAL)

    def _probe_edns(self) -> None:
        """Ask an upstream without EDNS at intervals with an OPT, until that is answered.

        The cause may have been a lost packet, so the first time comes soon.
        """
        pause = EDNS_PROBE_FIRST
        while not self.known.has_edns:
            gevent.sleep(pause)
            pause = min(4 * pause, EDNS_PROBE_MAX)
            if self.known.alive:
                self._has_turned.clear()
                self._flights.probe(self.known, PROBE_KEY, PROBE)
                self._has_turned.wait(PROBE_SECONDS)
            self._lacks_edns = not self.known.has_edns
        self._edns_prober = None


def packed(address: Address) -> bytes:
    """Return the address as a sockaddr, without its interface."""
    family = struct.pack("=H", address.family) + struct.pack("!H", address.port)
    host = socket.inet_pton(address.family, address.host)
    return family + (
        host + bytes(8) if address.family is socket.AF_INET else bytes(4) + host + bytes(4)
    )
