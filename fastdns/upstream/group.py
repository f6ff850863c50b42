"""A group of upstreams: which is asked, when another is asked as well, whose answer counts."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle, islice

import attrs
from gevent import GreenletExit
from gevent.queue import Empty

from .._answer import Answer
from .._entry import Source
from .._forward import Forward, Handover
from .._shared import Counters
from ..config.schema import Server, Upstream
from ..errors import (
    NetworkDown,
    UpstreamError,
    UpstreamLame,
    UpstreamTimeout,
    UpstreamUnusable,
)
from .endpoint import Endpoint
from .exchange import Desk, Exchange, Keep, new_arrivals
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
        self._forward: Forward | None = None
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
        self._turned()

    def lend(self, forward: Forward) -> None:
        """Have it ask those upstreams, from now on, that are to be asked first."""
        self._forward = forward
        self._turned()

    def show(self, counters: Counters) -> None:
        """Show how the upstreams are in the shared pages; to be called about once a second."""
        counters.show_upstreams(endpoint.state for endpoint in self._endpoints)

    def ask(self, key: bytes, keep: Keep | None = None) -> Outcome:
        """Return the first good answer to the question of this key.

        When every upstream answers with an error, that of the last one is the answer. UpstreamError
        when there is none at all, at the latest after BUDGET seconds; a good one that comes later
        still goes to `keep`.
        """
        request = Request(key, self._settings.trust_ad)
        return _Inquiry(request, self._budget(), keep).run(self._plan(self._first()))

    def go_on(self, handover: Handover, keep: Keep | None = None) -> Outcome:
        """The same for a question that one of them has been asked already."""
        asked = [one for one in self._endpoints if one.by_udp is handover.upstream]
        if not asked:  # it is no upstream of ours any more
            handover.sent.cancel()
            return self.ask(handover.key, keep)
        request = Request(handover.key, self._settings.trust_ad)
        inquiry = _Inquiry(request, self._budget() - handover.seconds, keep, handover)
        return inquiry.run(self._plan(asked[0], handover.attempts - 1))

    def _new_endpoint(self, server: Server) -> Endpoint:
        endpoint = Endpoint(server, self._settings.timeout, self._desk)
        endpoint.turned = self._turned
        earlier = self._earlier.get(str(server))
        if earlier is not None:
            known = endpoint.by_udp
            known.queries, known.failures = earlier.queries, earlier.failures
        return endpoint

    def _turned(self) -> None:
        """Show and use what is known of the upstreams now."""
        self.show(self._desk.counters)
        if self._forward is None:
            return
        # When all are dead, whoever asks needs more than one of them.
        alive = [endpoint for endpoint in self._endpoints if endpoint.alive]
        for endpoint in self._endpoints:
            endpoint.by_udp.has_others = any(other is not endpoint for other in alive)
        self._forward.use(
            [one.by_udp if one.server.transport == "udp" else None for one in alive],
            in_turn=self._settings.strategy == "round-robin",
            is_alone=len(alive) < 2,
            attempts=self._settings.attempts,
            budget=self._budget(),
        )

    def _budget(self) -> float:
        return min(self._settings.timeout * self._settings.attempts, BUDGET)

    def _first(self) -> Endpoint | None:
        """The upstream that is to be asked first; None: there is none."""
        usable = self._usable()
        if self._settings.strategy != "round-robin" or self._forward is None:
            return next(iter(usable), None)
        return usable[self._forward.take_turn() % len(usable)] if usable else None

    def _plan(self, first: Endpoint | None, spent: int = 0) -> Iterator[Endpoint]:
        """The upstreams in the order in which they are to be tried, at most `attempts` of them.

        The first has had so many attempts beside the one that it is known for.
        """
        usable = self._usable()
        if first in usable:
            at = usable.index(first)
            usable = usable[at:] + usable[:at]
        elif first is not None:
            usable = [first, *usable]
        return islice(cycle(usable), max(self._settings.attempts - spent, 1))

    def _usable(self) -> list[Endpoint]:
        return [endpoint for endpoint in self._endpoints if endpoint.alive] or self._endpoints


class _Inquiry:
    """One question on its way through the upstreams."""

    def __init__(
        self,
        request: Request,
        budget: float,
        keep: Keep | None,
        handover: Handover | None = None,
    ) -> None:
        self._request = request
        self._keep = keep
        self._attempts: Counter[Endpoint] = Counter()
        self._handover = handover  # what the first of the plan has been asked already
        self._arrivals = new_arrivals()
        self._deadline = time.monotonic() + budget
        self._under_way: dict[Exchange, Endpoint] = {}
        self._erring: set[Endpoint] = set()  # those that have answered with an error
        self._last_error: Outcome | None = None
        self._failure: UpstreamError = NetworkDown("there is no upstream")

    def run(self, plan: Iterator[Endpoint]) -> Outcome:
        try:
            return self._ask_in_turn(list(plan))
        except GreenletExit:  # dropped in favour of others: leave nothing behind
            for exchange in self._under_way:
                exchange.close()
            raise
        finally:
            for exchange in self._under_way:
                exchange.release(self._keep)

    def _ask_in_turn(self, plan: list[Endpoint]) -> Outcome:
        for position, endpoint in enumerate(plan):
            if endpoint in self._erring:
                continue
            if position and time.monotonic() >= self._deadline:
                break
            try:
                exchange = self._begin(endpoint)
            except UpstreamError as error:
                self._failure = error
                continue
            self._under_way[exchange] = endpoint
            left = plan[position + 1 :]
            others = any(other is not endpoint for other in left)
            pause = endpoint.patience if others else endpoint.pause(self._attempts[endpoint])
            outcome = self._wait(max(pause - exchange.seconds, 0.0) if left else None)
            if outcome is not None:
                return outcome
        outcome = self._wait(None)
        if outcome is not None:
            return outcome
        if self._last_error is not None:
            return self._last_error
        raise self._failure

    def _begin(self, endpoint: Endpoint) -> Exchange:
        handover, self._handover = self._handover, None
        if handover is not None:
            self._attempts[endpoint] = handover.attempts
            return endpoint.take_over(self._request, self._arrivals, handover)
        self._attempts[endpoint] += 1
        # When nothing came with OPT, it may be the OPT that is answered with silence.
        is_trial = self._attempts[endpoint] > 1 and not endpoint.by_udp.is_known
        return endpoint.ask(self._request, self._arrivals, is_trial=is_trial)

    def _wait(self, patience: float | None) -> Outcome | None:
        """Wait for a good answer.

        With patience for so many seconds, or until one of those asked has failed; without, until
        nothing is under way any more.
        """
        until = self._deadline
        if patience is not None:
            until = min(until, time.monotonic() + patience)
        while self._under_way:
            if patience is None and self._last_error is not None:
                until = min(self._deadline, self._late_at())
            try:
                exchange, arrival = self._arrivals.get(timeout=max(until - time.monotonic(), 0.001))
            except Empty:
                if time.monotonic() >= self._deadline:
                    self._failure = UpstreamTimeout("no upstream answered in time")
                return None
            endpoint = self._under_way.pop(exchange)
            log.debug("%s, asked %s: %s", endpoint.server, self._request, _brief(arrival))
            if isinstance(arrival, Answer) and arrival.truncated:
                again = endpoint.ask_by_tcp(self._request, self._arrivals)
                self._under_way[again] = endpoint
                continue
            if isinstance(arrival, Answer) and not (arrival.is_failure or arrival.is_lame):
                return Outcome(arrival, endpoint.source, exchange.seconds)
            self._note_failure(endpoint, exchange, arrival)
            if patience is not None:
                return None  # there is another one to ask, at once
        return None

    def _note_failure(
        self, endpoint: Endpoint, exchange: Exchange, arrival: Answer | UpstreamError
    ) -> None:
        """Remember what is told when nobody does better, and who need not be asked again."""
        if isinstance(arrival, UpstreamError):
            self._failure = arrival
            if not isinstance(arrival, UpstreamUnusable):
                return  # the next time it may go well
        elif arrival.is_lame:
            endpoint.by_udp.is_lame()
            self._failure = UpstreamLame("it does not recurse")
        else:
            self._last_error = Outcome(arrival, endpoint.source, exchange.seconds)
        self._erring.add(endpoint)

    def _late_at(self) -> float:
        """When all that is under way is late: an error is at hand, so nobody waits longer."""
        left = [one.time_limit - asked.seconds for asked, one in self._under_way.items()]
        return time.monotonic() + max(left)


def _brief(arrival: Answer | UpstreamError) -> str:
    return f"RCODE {arrival.rcode}" if isinstance(arrival, Answer) else str(arrival)
