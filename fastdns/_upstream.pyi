from collections.abc import Callable

from ._tiers import Source

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
        peer: bytes = b"",
    ) -> None: ...
    def answered(self, seconds: float) -> None: ...
    def failed(self, seconds: float) -> None: ...

def query_message(query_id: int, key: bytes, wants_ad: bool) -> bytes: ...
