from collections.abc import Callable

from ._access import Access
from ._cache import Cache
from ._forward import Forward
from ._query import Query

class FastPath:
    """Answers from the cache; calls `on_uncommon(query)` for each query that needs more."""

    @property
    def access(self) -> Access: ...
    @property
    def tiers(self) -> Cache: ...
    def __init__(
        self,
        forward: Forward,
        access: Access,
        on_uncommon: Callable[[Query], None],
        on_refresh: Callable[[bytes], object],
        *,
        stale_ttl: int = 30,
        prefetch: bool = True,
    ) -> None: ...
    def admit_by(self, access: Access) -> None: ...
    def drain(self, fd: int) -> None: ...
    def answer_stream(self, packet: bytes, make_query: Callable[[], Query]) -> bytes | None: ...
    def refuse_stream(self, packet: bytes) -> bytes | None: ...
    def renew_wanted(self) -> None: ...
