from collections.abc import Callable

from ._answer import Answer
from ._cache import Cache
from ._clients import Access
from ._cookies import Cookies
from ._forward import Forward
from ._rate_limit import RateLimit

class HeldQuery:
    """A query over UDP that waits until it is known who its client is."""

class FastPath:
    """Answers from the cache; lets `forward` ask for what is missing."""

    @property
    def access(self) -> Access: ...
    @property
    def forward(self) -> Forward: ...
    @property
    def cache(self) -> Cache: ...
    def __init__(
        self,
        forward: Forward,
        access: Access,
        about: Callable[[bytes], Answer],
        on_refresh: Callable[[bytes], object],
    ) -> None: ...
    on_unmet: Callable[[bytes, int, HeldQuery | None], bool] | None
    def admit_by(self, access: Access) -> None: ...
    def limit_by(self, rate: RateLimit) -> None: ...
    def use_cookies(self, cookies: Cookies) -> None: ...
    def resume(self, held: HeldQuery) -> None: ...
    def drain(self, fd: int, listener: int = 0) -> None: ...
    def renew_wanted(self) -> None: ...
