from typing import Any, Protocol

from ._counters import Counters
from ._upstream import Upstream
from ._wheel import Wheel

class _Transport(Protocol):
    """Carries queries to an upstream over a stream."""

    def send(self, attempt: Attempt) -> None:
        """Send it, or send it again in another form."""

    def late(self, attempt: Attempt) -> None:
        """No reply came in time."""

    def forget(self, attempt: Attempt) -> None:
        """No client waits for it any more."""

class Attempt:
    """A query over a stream, as its transport sees it."""

    query: Any
    @property
    def key(self) -> bytes: ...
    @property
    def is_over(self) -> bool: ...
    def message(self, query_id: int) -> bytes: ...
    def received(self, wire: bytes, query_id: int) -> bool: ...
    def failed(self, number: int) -> None: ...

class Flights:
    """All queries of one process to upstreams."""

    @property
    def descriptor(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def wheel(self) -> Wheel: ...
    def __init__(self, counters: Counters) -> None: ...
    def probe(self, upstream: Upstream, key: bytes, form: int) -> None: ...
    def forget(self, upstream: Upstream) -> None: ...
    def give_up_ports(self) -> None: ...
    def close_idle_ports(self) -> None: ...
