from typing import NamedTuple

from ._blocking import Blocking
from ._domains import DomainSet
from ._local import LocalRecords
from ._protection import Protection
from ._rules import Rules

NXDOMAIN_VERDICT: int
ZONE_VERDICT: int

VERDICTS: tuple[str, ...]

class Decided(NamedTuple):
    """A decision in words; `labels`: of the domain by which it was made, `rule`: 0 means none.

    `reason`: why the name is blocked, or is not although a list has it (REASONS in _blocking).
    `source`: number of the list or set of rules that is the reason, and 1; `alias`: which name of
    the answer's chain is blocked.
    """

    verdict: str
    group: int
    labels: int
    rule: int
    ede: int | None
    reason: str
    source: int
    alias: int

def value_of_domain(group: int, verdict: int = 0) -> int: ...

class Policy:
    """The rules of the configuration for names."""

    generation: int

    @property
    def group(self) -> int: ...
    @property
    def domains(self) -> DomainSet: ...
    @property
    def local(self) -> LocalRecords: ...
    @property
    def rules(self) -> Rules: ...
    @property
    def protection(self) -> Protection: ...
    @property
    def blocking(self) -> Blocking: ...
    @property
    def inspects(self) -> bool: ...
    @property
    def is_empty(self) -> bool: ...
    def __init__(
        self,
        group: int = 0,
        domains: DomainSet | None = None,
        local: LocalRecords | None = None,
        *,
        rules: Rules | None = None,
        protection: Protection | None = None,
        blocking: Blocking | None = None,
    ) -> None: ...
    def group_of(self, name: bytes) -> int: ...
    def decide(self, key: bytes) -> Decided: ...
    def inspect(self, key: bytes, message: bytes) -> Decided | None: ...
