from collections.abc import Callable

from ._access import Access
from ._forward import Forward
from ._stream import Stream
from ._tiers import Tiers
from ._waiters import Waiters

class FastPath:
    """Answers from the cache; calls `on_uncommon(waiters)` for who needs more."""

    @property
    def access(self) -> Access: ...
    @property
    def tiers(self) -> Tiers: ...
    def __init__(
        self,
        forward: Forward,
        access: Access,
        on_uncommon: Callable[[Waiters], None],
        on_refresh: Callable[[bytes], object],
        *,
        stale_ttl: int = 30,
        prefetch: bool = True,
    ) -> None: ...
    def admit_by(self, access: Access) -> None: ...
    def drain(self, fd: int, listener: int = 0) -> None: ...
    def serve_stream(self, stream: Stream) -> bool: ...
    def renew_wanted(self) -> None: ...
