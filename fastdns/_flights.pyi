from collections.abc import Callable
from typing import Protocol

from ._shared import Counters
from ._tiers import Source

TICK_SECONDS: float

class Listener(Protocol):
    """Who waits for what was sent."""

    def received(self, wire: bytes) -> None:
        """A matching reply has come; to end the wait is the listener's."""

    def failed(self, number: int) -> None:
        """It has ended without one, by this errno; ETIMEDOUT: no reply in time."""

class Sent:
    """A query under way."""

    listener: Listener | None
    @property
    def id(self) -> int: ...
    def cancel(self) -> None: ...

class Upstream:
    """One upstream as UDP sees it: its ports, its round trip, whether it is alive."""

    queries: int
    failures: int
    @property
    def source(self) -> Source: ...
    @property
    def alive(self) -> bool: ...
    @property
    def timeout(self) -> float: ...
    @property
    def rtt(self) -> float | None: ...
    @property
    def patience(self) -> float: ...
    def __init__(
        self,
        source: Source,
        timeout: float,
        open_socket: Callable[[], int],
        on_turn: Callable[[], None],
    ) -> None: ...
    def answered(self, seconds: float) -> None: ...
    def failed(self, seconds: float) -> None: ...

class Flights:
    """All queries of one process to upstreams over UDP."""

    @property
    def descriptor(self) -> int: ...
    @property
    def count(self) -> int: ...
    def __init__(self, counters: Counters, *, wants_ad: bool = False) -> None: ...
    def ask(self, upstream: Upstream, key: bytes) -> Sent: ...
    def forget(self, upstream: Upstream) -> None: ...

def query_message(query_id: int, key: bytes, wants_ad: bool) -> bytes: ...
