from collections.abc import Callable, Iterable, Sequence
from mmap import mmap
from typing import Any, NamedTuple

from ._domain_sorter import DomainSorter

ITSELF: int
UNDER: int
ALLOWS: int
IMPORTANT: int
AS_CONFIGURED: int
ANSWER_NXDOMAIN: int
ANSWER_NODATA: int
ANSWER_NULL: int
ANSWER_REFUSED: int
MOST_SOURCES: int

class Entry(NamedTuple):
    """What a source says of a domain."""

    source: int
    flags: int
    action: int
    types: tuple[int, ...]

class Pattern(NamedTuple):
    """What a source says of the names that a regular expression matches."""

    text: str
    source: int
    flags: int
    action: int
    types: tuple[int, ...]

class Found(NamedTuple):
    """A domain that a name is or lies under, and what the sources say of it."""

    labels: int
    is_whole: bool
    entries: list[Entry]

class BlockSet:
    """Compiled lists, in a block of memory or a mapped file."""

    def __init__(self, buffer: bytes | bytearray | memoryview | mmap | None = None) -> None: ...
    def __len__(self) -> int: ...
    def find(self, name: bytes) -> list[Found]: ...
    def holds_for(self, types_number: int, qtype: int) -> bool: ...
    def types_of(self, number: int) -> tuple[int, ...]: ...
    @property
    def sources(self) -> list[Any]: ...
    @property
    def patterns(self) -> list[Pattern]: ...
    def is_whole(self) -> bool: ...

class BlockSetBuilder(DomainSorter):
    """Collects what lists say of domains, and compiles it."""

    def add(
        self, name: bytes, source: int, flags: int, action: int = 0, types: Sequence[int] = ()
    ) -> None: ...
    def add_pattern(
        self, text: str, source: int, flags: int, action: int = 0, types: Sequence[int] = ()
    ) -> None: ...
    def compile(self, sources: Iterable[object] = ()) -> bytearray: ...
    def write_to(
        self,
        write: Callable[[memoryview | bytes | bytearray], object],
        sources: Iterable[object] = (),
    ) -> None: ...
