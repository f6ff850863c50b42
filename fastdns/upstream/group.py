"""The upstreams of a group: made from the configuration, kept while they stay, published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from .._answer import Limits
from .._counters import Counters, UpstreamState
from .._flights import Flights
from .._groups import Group
from ..config.schema import Server, Upstream
from .endpoint import Endpoint

BUDGET = 3.5  # seconds for everything: a resolver in libc gives up after 5


class Endpoints:
    """The upstreams behind one `Group`, which asks them."""

    def __init__(
        self,
        settings: Upstream,
        servers: Sequence[Server],
        limits: Limits,
        flights: Flights,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._flights = flights
        self._counters = counters
        self._endpoints: list[Endpoint] = []
        self.shown: Callable[[], None] = _nothing  # called when it is published
        # The totals of the former worker continue when a worker is replaced.
        self._earlier = {state.name: state for state in counters.shown_upstreams()}
        self.group = Group(
            limits,
            in_turn=settings.strategy == "round-robin",
            attempts=settings.attempts,
            budget=min(settings.timeout * settings.attempts, BUDGET),
        )
        self.replace(servers)

    def take_over(self, states: Iterable[UpstreamState]) -> None:
        """Begin with what another process knows about the upstreams that are the same here."""
        known = {state.name: state for state in states}
        for endpoint in self._endpoints:
            if (state := known.get(endpoint.state.name)) is not None:
                endpoint.take_over(state)

    def replace(self, servers: Sequence[Server]) -> None:
        """Use these servers from now on; what is known about the remaining ones is kept."""
        known = {endpoint.server: endpoint for endpoint in self._endpoints}
        self._endpoints = [
            known.pop(server) if server in known else self._new_endpoint(server)
            for server in dict.fromkeys(servers)
        ]
        for endpoint in known.values():
            endpoint.close()
            self._earlier[endpoint.state.name] = endpoint.state
        self.group.use(endpoint.known for endpoint in self._endpoints)
        self._turned()

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints)

    def show(self) -> None:
        """Publish the state of the upstreams in shared pages; to be called about once a second."""
        self._counters.show_upstreams(endpoint.state for endpoint in self._endpoints)
        self.shown()

    def _new_endpoint(self, server: Server) -> Endpoint:
        endpoint = Endpoint(server, self._settings.timeout, self._flights, self._turned)
        earlier = self._earlier.get(str(server))
        if earlier is not None:
            known = endpoint.known
            known.queries, known.failures = earlier.queries, earlier.failures
        return endpoint

    def _turned(self) -> None:
        """Publish and use what is known about the upstreams now."""
        self.group.turned()
        self.show()


def _nothing() -> None:
    """Do nothing."""
