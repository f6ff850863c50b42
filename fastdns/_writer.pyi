"""The disk cache (LMDB) as its one writer changes it."""

from typing import TypeVar

from ._clock import Moment
from ._database import Database

FULL: float
ROOMY: float
_Update = TypeVar("_Update", bound=tuple[bytes, bytes | None, int, bytes])

class Writer(Database):
    """The environment, open for changes."""

    step: int
    size: int
    @property
    def refused(self) -> int: ...
    @property
    def kept_pages(self) -> int: ...
    @property
    def share(self) -> float: ...
    @property
    def commits(self) -> int: ...
    def put_about(self, key: bytes, value: bytes) -> None: ...
    def clear(self) -> int: ...
    def remove(
        self, keys: list[bytes], *, values: list[bytes] | None = None, spoiled: bool = False
    ) -> int: ...
    def write(
        self, updates: list[_Update], now: Moment, record: bytes | None, done: list[_Update]
    ) -> None: ...
