from collections.abc import Callable

from ._entry import Source

OPT: int
PLAIN: int
TRIAL: int
PROBE: int

class Upstream:
    """One upstream as UDP sees it: its ports, its round trip, whether it is alive."""

    queries: int
    failures: int
    has_others: bool
    @property
    def source(self) -> Source: ...
    stream: object | None
    @property
    def is_stream(self) -> bool: ...
    @property
    def alive(self) -> bool: ...
    @property
    def last_error(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    @property
    def rtt(self) -> float | None: ...
    @property
    def patience(self) -> float: ...
    @property
    def time_limit(self) -> float: ...
    @property
    def has_edns(self) -> bool: ...
    @property
    def is_known(self) -> bool: ...
    @property
    def does_recurse(self) -> bool: ...
    def __init__(
        self,
        source: Source,
        timeout: float,
        peer: bytes,
        on_turn: Callable[[], None],
        *,
        interface: bytes = b"",
        stream: object | None = None,
        is_stream: bool = False,
    ) -> None: ...
    def look_at_message(self, form: int, rcode: int, *, has_opt: bool) -> None: ...
    def answered(self, seconds: float) -> None: ...
    def failed(self, seconds: float) -> None: ...

def query_message(query_id: int, key: bytes, wants_ad: bool, has_opt: bool = True) -> bytes: ...
