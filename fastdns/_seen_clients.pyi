from collections.abc import Sequence
from os import PathLike
from struct import Struct
from typing import NamedTuple

MAGIC: bytes
VERSION: int
HEAD: Struct
ROW: Struct
ROWS_MAX: int
FILE_OCTETS: int

class Seen(NamedTuple):
    """A client that a process has seen. Times are seconds by CLOCK_BOOTTIME."""

    address: bytes  # 16 octets, an IPv4 address as ::ffff:192.0.2.1
    link: int  # the interface of a link-local address
    mac: bytes | None  # None: not known
    view: int  # by hash_of_view; 0: in none
    first_seen: int
    last_seen: int
    queries: int
    blocked: int
    limited: int

class SeenClients:
    """The clients that one process at a time has seen, for writing."""

    @staticmethod
    def create(path: str | PathLike[str] | None) -> SeenClients: ...
    def use_views(self, names: Sequence[str]) -> None: ...
    def without_mac(self, since: float) -> list[tuple[bytes, int]]: ...
    def set_mac(self, address: bytes, link: int, mac: bytes) -> None: ...
    def note(
        self,
        address: bytes,
        link: int = 0,
        view: int = 0,
        *,
        is_blocked: bool = False,
        is_limited: bool = False,
        now: float = 0,
    ) -> None: ...

def hash_of_view(name: str) -> int: ...
def read_seen(path: str | PathLike[str]) -> list[Seen]: ...
