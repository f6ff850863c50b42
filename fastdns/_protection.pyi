from collections.abc import Sequence

from ._domains import DomainSet

class Protection:
    """What [protect] says of answers."""

    @property
    def rebind(self) -> bool: ...
    @property
    def minimal_any(self) -> bool: ...
    @property
    def bogus_count(self) -> int: ...
    def __init__(
        self,
        *,
        rebind: bool = False,
        rebind_allow: DomainSet | None = None,
        bogus: Sequence[tuple[bytes, bytes]] = (),
        minimal_any: bool = False,
    ) -> None: ...
    def has(self, address: bytes) -> bool: ...
