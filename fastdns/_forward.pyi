from collections.abc import Callable

from ._cache import Cache
from ._chains import Chains
from ._flights import Attempt, Flights
from ._groups import Group

class Forward(Chains):
    """The questions of one process that are in flight, and their way through the upstreams."""

    def __init__(
        self,
        cache: Cache,
        flights: Flights,
        group: Group,
        on_cold: Callable[[bytes], None],
        on_busy: Callable[[], None],
    ) -> None: ...
    def renew(self, key: bytes) -> bool: ...
    def found(self, key: bytes) -> None: ...
    def ask(self, key: bytes) -> None: ...
    def read_replies(self) -> None: ...
    def received(self, attempt: Attempt, wire: bytes, query_id: int) -> bool: ...
    def tick(self) -> bool: ...
