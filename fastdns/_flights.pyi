from typing import Protocol

from ._counters import Counters
from ._upstream import Upstream

TICK_SECONDS: float

class Listener(Protocol):
    """Who waits for what was sent."""

    def received(self, wire: bytes) -> None:
        """A matching reply has come; to end the wait is the listener's."""

    def late(self) -> None:
        """None has come in time; it is still listened to."""

    def failed(self, number: int) -> None:
        """It has ended without one, by this errno; EBADMSG: what came cannot be used."""

class Sent:
    """A query under way."""

    @property
    def listener(self) -> Listener | None: ...
    @property
    def id(self) -> int: ...
    def listen(self, listener: Listener) -> None: ...
    def cancel(self) -> None: ...

class Flights:
    """All queries of one process to upstreams over UDP."""

    @property
    def descriptor(self) -> int: ...
    @property
    def count(self) -> int: ...
    def __init__(self, counters: Counters, *, wants_ad: bool = False) -> None: ...
    def ask(
        self, upstream: Upstream, key: bytes, *, is_trial: bool = False, is_probe: bool = False
    ) -> Sent: ...
    def forget(self, upstream: Upstream) -> None: ...
    def give_up_ports(self) -> None: ...
    def close_idle_ports(self) -> None: ...
