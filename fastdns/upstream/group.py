"""A group of upstreams: which is asked, when another is asked as well, whose answer counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import attrs
from gevent import GreenletExit
from gevent.queue import Empty

from .._answer import Answer
from .._shared import Counters
from .._tiers import Source
from ..config.schema import Server, Upstream
from ..errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from .endpoint import Endpoint
from .exchange import Desk, Exchange, new_arrivals
from .request import Request

log = logging.getLogger(__name__)

BUDGET = 3.5  # seconds for everything: a resolver in libc gives up after 5


@attrs.frozen
class Outcome:
    """An answer, which upstream gave it, and after how many seconds."""

    answer: Answer
    source: Source
    seconds: float


class Group:
    """Asks upstreams by a strategy; of those that are alive first, of the dead when all are."""

    def __init__(self, settings: Upstream, servers: Sequence[Server], desk: Desk) -> None:
        self._settings = settings
        self._desk = desk
        self._endpoints: list[Endpoint] = []
        self._turn = 0
        # What the worker before us has counted: totals go on when a worker is replaced.
        self._earlier = {state.name: state for state in desk.counters.shown_upstreams()}
        self.replace(servers)

    def replace(self, servers: Sequence[Server]) -> None:
        """Use these servers from now on; what is known of those that stay is kept."""
        known = {endpoint.server: endpoint for endpoint in self._endpoints}
        self._endpoints = [
            known.pop(server) if server in known else self._new_endpoint(server)
            for server in dict.fromkeys(servers)
        ]
        for endpoint in known.values():
            endpoint.close()
            self._earlier[endpoint.state.name] = endpoint.state
        self.show(self._desk.counters)

    def show(self, counters: Counters) -> None:
        """Show how the upstreams are in the shared pages; to be called about once a second."""
        counters.show_upstreams(endpoint.state for endpoint in self._endpoints)

    def ask(self, key: bytes) -> Outcome:
        """Return the first good answer to the question of this key.

        When every upstream answers with an error, that of the last one is the answer. UpstreamError
        when there is none at all, at the latest after BUDGET seconds.
        """
        return _Inquiry(Request(key, self._settings.trust_ad), self._budget()).run(self._plan())

    def _new_endpoint(self, server: Server) -> Endpoint:
        endpoint = Endpoint(server, self._settings.timeout, self._desk)
        endpoint.turned = lambda: self.show(self._desk.counters)
        earlier = self._earlier.get(str(server))
        if earlier is not None:
            endpoint.queries, endpoint.failures = earlier.queries, earlier.failures
        return endpoint

    def _budget(self) -> float:
        return min(self._settings.timeout * self._settings.attempts, BUDGET)

    def _plan(self) -> Iterator[Endpoint]:
        """The upstreams in the order in which they are to be tried, at most `attempts` of them."""
        usable = [endpoint for endpoint in self._endpoints if endpoint.alive] or self._endpoints
        if self._settings.strategy == "round-robin" and usable:
            first = self._turn % len(usable)
            self._turn += 1
            usable = usable[first:] + usable[:first]
        return islice(cycle(usable), self._settings.attempts)


class _Inquiry:
    """One question on its way through the upstreams."""

    def __init__(self, request: Request, budget: float) -> None:
        self._request = request
        self._arrivals = new_arrivals()
        self._deadline = time.monotonic() + budget
        self._under_way: dict[Exchange, Endpoint] = {}
        self._erring: set[Endpoint] = set()  # those that have answered with an error
        self._last_error: Outcome | None = None
        self._failure: UpstreamError = UpstreamUnreachable("there is no upstream")

    def run(self, plan: Iterator[Endpoint]) -> Outcome:
        try:
            return self._ask_in_turn(list(plan))
        except GreenletExit:  # dropped in favour of others: leave nothing behind
            for exchange in self._under_way:
                exchange.close()
            raise
        finally:
            for exchange in self._under_way:
                exchange.release()

    def _ask_in_turn(self, plan: list[Endpoint]) -> Outcome:
        for position, endpoint in enumerate(plan):
            if endpoint in self._erring:
                continue
            try:
                self._under_way[endpoint.ask(self._request, self._arrivals)] = endpoint
            except UpstreamError as error:
                self._failure = error
                continue
            others = any(other is not endpoint for other in plan[position + 1 :])
            outcome = self._wait(endpoint.patience if others else None)
            if outcome is not None:
                return outcome
        outcome = self._wait(None)
        if outcome is not None:
            return outcome
        if self._last_error is not None:
            return self._last_error
        raise self._failure

    def _wait(self, patience: float | None) -> Outcome | None:
        """Wait for a good answer.

        With patience for so many seconds, or until one of those asked has failed; without, until
        nothing is under way any more.
        """
        until = self._deadline
        if patience is not None:
            until = min(until, time.monotonic() + patience)
        while self._under_way:
            try:
                exchange, arrival = self._arrivals.get(timeout=max(until - time.monotonic(), 0.001))
            except Empty:
                if time.monotonic() >= self._deadline:
                    self._failure = UpstreamTimeout("no upstream answered in time")
                return None
            endpoint = self._under_way.pop(exchange)
            log.debug("%s, asked %s: %s", endpoint.server, self._request, arrival)
            if isinstance(arrival, UpstreamError):
                self._failure = arrival
            elif arrival.truncated:
                again = endpoint.ask_by_tcp(self._request, self._arrivals)
                self._under_way[again] = endpoint
                continue
            else:
                seconds = time.monotonic() - exchange.sent_at
                outcome = Outcome(arrival, endpoint.source, seconds)
                if not arrival.is_failure:
                    return outcome
                self._last_error = outcome
                self._erring.add(endpoint)
            if patience is not None:
                return None  # there is another one to ask, at once
        return None
