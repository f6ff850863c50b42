from collections.abc import Callable, Iterable

from ._answer import Limits
from ._flights import Flights, Sent
from ._query import Query
from ._tiers import Ticket, Tiers
from ._upstream import Upstream

IN_FLIGHT_MAX: int

class Handover:
    """A question that needs more than one reply of one upstream, and how far it has come."""

    @property
    def key(self) -> bytes: ...
    @property
    def queries(self) -> list[Query]: ...
    @property
    def upstream(self) -> Upstream: ...
    @property
    def sent(self) -> Sent: ...
    @property
    def wire(self) -> bytes | None: ...
    @property
    def error(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def ticket(self) -> Ticket: ...

class Forward:
    """The questions of one process that are under way."""

    @property
    def tiers(self) -> Tiers: ...
    @property
    def count(self) -> int: ...
    def __init__(
        self,
        tiers: Tiers,
        flights: Flights,
        limits: Limits,
        on_handover: Callable[[Handover], None],
        on_busy: Callable[[], None],
        *,
        stale_wait: float = 1.8,
        stale_ttl: int = 30,
    ) -> None: ...
    def use(
        self,
        upstreams: Iterable[Upstream | None],
        *,
        in_turn: bool,
        is_alone: bool,
        attempts: int = 1,
        budget: float = 0.0,
    ) -> None: ...
    def take_turn(self) -> int: ...
    def renew(self, key: bytes) -> bool | None: ...
    def hold(self, key: bytes) -> None: ...
    def release(self, key: bytes) -> None: ...
    def read_replies(self) -> None: ...
    def tick(self) -> bool: ...
