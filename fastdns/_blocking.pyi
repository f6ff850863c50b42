from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ._block_set import BlockSet
from ._local import LocalRecords

ROLES: tuple[int, int, int]  # of a list: it is not used, it blocks, all that it has is allowed
ALL_VIEWS: int
NOTE_OCTETS_MAX: int
REASONS: tuple[str, ...]
PATTERN_SECONDS: float
PATTERNS_SECONDS: float
LOOK_AGAIN_SECONDS: float

class Pattern(NamedTuple):
    """A regular expression of a list. `search`: says whether a name as text matches."""

    search: Callable[[str], object]
    source: int
    flags: int
    types: tuple[int, ...]
    action: int

class ViewSettings(NamedTuple):
    """What a class of views does: see Blocking."""

    blocks: bool = True
    answer: int = 3
    roles: bytes = b""
    group: int = 0
    safe_search: bool = False

class Blocking:
    """All that [block], [[view]] and the rules made at run time say of names."""

    @property
    def is_empty(self) -> bool: ...
    @property
    def blocks(self) -> bool: ...
    @property
    def ttl(self) -> int: ...
    @property
    def rules(self) -> BlockSet: ...
    @property
    def lists(self) -> BlockSet: ...
    @property
    def safe_names(self) -> LocalRecords: ...
    @property
    def patterns(self) -> tuple[Pattern, ...]: ...
    @property
    def views(self) -> tuple[ViewSettings, ...]: ...
    @property
    def about(self) -> object: ...
    def __init__(
        self,
        views: Iterable[ViewSettings] = (),
        *,
        rules: BlockSet | None = None,
        rule_views: Sequence[int] = (),
        lists: BlockSet | None = None,
        patterns: Iterable[Pattern] = (),
        safe_names: LocalRecords | None = None,
        ttl: int = 10,
        list_notes: Sequence[bytes] = (),
        rule_notes: Sequence[bytes] = (),
        about: object = None,
    ) -> None: ...
    def find(self, name: bytes, qtype: int, view: int = 0) -> tuple[str, int, int, int]: ...
    def prefetch(self, name: bytes, view: int = 0) -> None: ...
    def matches(self, name: bytes) -> tuple[int, ...]: ...

def never(text: str) -> None: ...
