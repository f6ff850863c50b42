from collections.abc import Sequence
from typing import Any

class Access:
    """Says of each client whether it may ask."""

    @property
    def drops(self) -> bool: ...
    def __init__(
        self,
        narrow: Sequence[int],
        wide: Sequence[int],
        near: Sequence[int] = (),
        links: Sequence[int] = (),
        *,
        drops: bool = False,
    ) -> None: ...
    def admits_client(self, client: tuple[Any, ...]) -> bool: ...
