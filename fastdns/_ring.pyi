"""Answers on their way from a worker to the keeper."""

from os import PathLike
from struct import Struct

from ._answer import Answer
from ._clock import Moment

MAGIC: bytes
VERSION: int
HEAD: Struct
RING_OCTETS: int
RECORD_PAD: int
RECORD_ANSWER: int
RECORD_HITS: int
RECORD_REMOVAL: int
RECORD_SPOILED: int

class Ring:
    """Records from one process to another, across restarts of both."""

    @staticmethod
    def open(path: str | PathLike[str] | None, capacity: int = ...) -> Ring: ...
    @property
    def capacity(self) -> int: ...
    @property
    def used(self) -> int: ...
    def put(
        self,
        key: bytes,
        answer: Answer,
        epoch: int,
        stored: Moment,
        *,
        origin: int = 0,
        upstream: str | None = None,
        rtt_us: int = 0,
    ) -> bool: ...
    def put_hits_of(self, key: bytes, delta: int) -> bool: ...
    def put_spoiled_key(self, key: bytes) -> bool: ...
    def records(self, limit_octets: int) -> list[tuple[int, int, bytes, bytes]]: ...
    def consume(self) -> None: ...
    def rewind(self) -> None: ...
    def empty(self) -> None: ...
    def index_again(self) -> None: ...
