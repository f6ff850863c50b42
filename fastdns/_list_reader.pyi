from collections.abc import Callable
from typing import NamedTuple

from ._block_set import BlockSetBuilder

class ListReader:
    """Reads one block list, part by part, into a builder; without one it only counts."""

    @property
    def lines(self) -> int: ...
    @property
    def taken(self) -> int: ...
    @property
    def faulty(self) -> int: ...
    @property
    def left_out(self) -> dict[str, int]: ...
    @property
    def first_faulty(self) -> list[tuple[int, str, str]]: ...
    def __init__(
        self,
        builder: BlockSetBuilder | None = None,
        source: int = 0,
        *,
        check_pattern: Callable[[str], str | None] | None = None,
        zone: bytes | None = None,
    ) -> None: ...
    def feed(self, part: bytes) -> None: ...
    def finish(self) -> None: ...

class Line(NamedTuple):
    """A line of a list that concerns a name."""

    number: int
    text: str
    labels: int
    flags: int

class LineFinder(ListReader):
    """Finds the lines of a list that concern a name, or have a regular expression."""

    @property
    def found(self) -> list[Line]: ...
    def __init__(
        self,
        *,
        name: bytes | None = None,
        pattern: str | None = None,
        most: int = 10,
        check_pattern: Callable[[str], str | None] | None = None,
        zone: bytes | None = None,
    ) -> None: ...
