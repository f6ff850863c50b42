"""The upstreams of all groups: made from the configuration, kept while they stay, published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from .._answer import Limits
from .._counters import Counters, UpstreamState
from .._flights import Flights
from .._groups import Group
from ..config.filters import View
from ..config.groups import Forward, Upstream
from ..config.schema import Cache
from ..config.values import Server
from .endpoint import Endpoint

BUDGET = 3.5  # seconds for everything: a resolver in libc gives up after 5


class Endpoints:
    """The upstreams behind one `Group`, which asks them; `replace` gives it the first ones.

    `earlier`: the counts of former upstreams, by name. `turned` is called when the state of one
    changes.
    """

    def __init__(
        self,
        settings: Upstream,
        limits: Limits,
        flights: Flights,
        *,
        earlier: dict[str, UpstreamState],
        turned: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._flights = flights
        self._endpoints: list[Endpoint] = []
        self._earlier = earlier
        self._turned = turned
        self._of_group = f" ({settings.name})" if isinstance(settings, (Forward, View)) else ""
        self.group = Group(
            limits,
            number=settings.number if isinstance(settings, (Forward, View)) else 0,
            in_turn=settings.strategy == "round-robin",
            attempts=settings.attempts,
            budget=min(settings.timeout * settings.attempts, BUDGET),
        )

    def take_over(self, known: dict[str, UpstreamState]) -> None:
        """Begin with what another process knows about these upstreams, by name."""
        for endpoint in self._endpoints:
            if (state := known.get(endpoint.state.name)) is not None:
                endpoint.take_over(state)

    def replace(self, servers: Sequence[Server], fallback: Sequence[Server] = ()) -> None:
        """Use these servers from now on; what is known about the remaining ones is kept.

        Those of `fallback` are asked only while none of the others is alive.
        """
        known = {endpoint.server: endpoint for endpoint in self._endpoints}
        own = len(dict.fromkeys(servers))
        self._endpoints = [
            known.pop(server) if server in known else self._new_endpoint(server)
            for server in dict.fromkeys((*servers, *fallback))
        ]
        for endpoint in known.values():
            endpoint.close()
            self._earlier[endpoint.state.name] = endpoint.state
        upstreams = [endpoint.known for endpoint in self._endpoints]
        self.group.use(upstreams[:own], upstreams[own:])
        self._turn()

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints)

    def _new_endpoint(self, server: Server) -> Endpoint:
        name = f"{server}{self._of_group}"
        endpoint = Endpoint(server, name, self._settings.timeout, self._flights, self._turn)
        earlier = self._earlier.get(name)
        if earlier is not None:
            known = endpoint.known
            known.queries, known.failures = earlier.queries, earlier.failures
        return endpoint

    def _turn(self) -> None:
        """Use what is known about the upstreams now."""
        self.group.turned()
        self._turned()


class Upstreams:
    """All groups of upstreams of a worker."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._groups: list[Endpoints] = []
        self.shown: Callable[[], None] = _nothing  # called when it is published
        # The totals of the former worker continue when a worker is replaced.
        self._earlier = {state.name: state for state in counters.shown_upstreams()}

    def add(self, settings: Upstream, limits: Limits, flights: Flights) -> Endpoints:
        """Make a group, which has no servers yet, and return it."""
        group = Endpoints(settings, limits, flights, earlier=self._earlier, turned=self.show)
        self._groups.append(group)
        return group

    def take_over(self, states: Iterable[UpstreamState]) -> None:
        """Begin with what another process knows about the upstreams that are the same here."""
        known = {state.name: state for state in states}
        for group in self._groups:
            group.take_over(known)

    def __iter__(self) -> Iterator[Endpoint]:
        return chain.from_iterable(self._groups)

    def show(self) -> None:
        """Publish the state of the upstreams in shared pages; to be called about once a second."""
        self._counters.show_upstreams(endpoint.state for endpoint in self)
        self.shown()


def limits_of(cache: Cache, settings: Upstream) -> Limits:
    """Return how long answers of a group may be cached, and what they are believed."""
    return Limits(
        int(cache.min_ttl),
        int(cache.max_ttl),
        int(cache.negative_max_ttl),
        int(cache.failure_ttl),
        settings.trust_ad,
    )


def _nothing() -> None:
    """Do nothing."""
