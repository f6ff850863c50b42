from typing import NamedTuple

from ._domains import DomainSet
from ._local import LocalRecords
from ._protection import Protection
from ._rules import Rules

NXDOMAIN_VERDICT: int
ZONE_VERDICT: int

VERDICTS: tuple[str, ...]

class Decided(NamedTuple):
    """A decision in words; `labels`: of the domain by which it was made, `rule`: 0 means none."""

    verdict: str
    group: int
    labels: int
    rule: int
    ede: int | None

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
    ) -> None: ...
    def group_of(self, name: bytes) -> int: ...
    def decide(self, key: bytes) -> Decided: ...
    def inspect(self, key: bytes, message: bytes) -> Decided | None: ...
