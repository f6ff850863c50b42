from collections.abc import Iterable, Sequence
from typing import Any

KNOWN_CLIENTS_MAX: int
IDENTITY_KINDS: dict[str, int]

class KnownClients:
    """Which clients are in which view by their hardware address or name, as far as known."""

    def __len__(self) -> int: ...
    def set(self, address: bytes, link: int, view: int, *, is_sure: bool = True) -> bool: ...
    def view_of(self, address: bytes, link: int = 0) -> int | None: ...
    def remove(self, address: bytes, link: int = 0) -> None: ...

class Access:
    """Says of each client whether it may ask, and in which view it is."""

    @property
    def drops(self) -> bool: ...
    def __init__(
        self,
        narrow: Sequence[tuple[int, int]],
        wide: Sequence[tuple[int, int]],
        near: Sequence[tuple[int, int]] = (),
        links: Sequence[int] = (),
        *,
        drops: bool = False,
        known: KnownClients | None = None,
        identities: Iterable[tuple[int, bytes, int]] = (),
    ) -> None: ...
    def admits_client(self, client: tuple[Any, ...]) -> bool: ...
    def view_of_client(self, client: tuple[Any, ...], kind: int = 0, name: bytes = b"") -> int: ...

def span_value(
    may_ask: bool, view: int = 0, *, is_exact: bool = False, is_neighbour: bool = False
) -> int: ...
