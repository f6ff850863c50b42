from collections.abc import Iterable, Sequence
from os import PathLike
from typing import NamedTuple

COUNTERS: tuple[tuple[str, str], ...]
SUPERVISOR_SLOT: int
KEEPER_SLOT: int
WORKER_SLOT: int
LATENCY_BOUNDS: tuple[float, ...]

class UpstreamState(NamedTuple):
    """What is known of an upstream; `rtt` in seconds."""

    name: str
    alive: bool
    rtt: float | None
    queries: int
    failures: int
    edns: bool = True  # False: it is asked without, since it answers nothing else

class Counters:
    """The slot of one process, to write to."""

    def add(self, name: str, amount: int = 1) -> None: ...
    def set(self, name: str, value: int) -> None: ...
    def observe_hit(self, seconds: float, count: int = 1) -> None: ...
    def observe_miss(self, seconds: float) -> None: ...
    def show_upstreams(
        self,
        states: Iterable[
            UpstreamState
            | tuple[str, bool, float | None, int, int]
            | tuple[str, bool, float | None, int, int, bool]
        ],
    ) -> None: ...
    def shown_upstreams(self) -> list[UpstreamState]: ...
    def retire(self) -> None: ...

def quantile(buckets: Sequence[int], q: float) -> float | None: ...

class Pages:
    """The pages of a daemon: a slot a process."""

    pid: int
    started_at: float
    slots: int
    @classmethod
    def create(cls, path: str | PathLike[str] | None, slots: int, started_at: float) -> Pages: ...
    @classmethod
    def attach(cls, path: str | PathLike[str]) -> Pages: ...
    def counters(self, slot: int) -> Counters: ...
    def totals(self) -> dict[str, int]: ...
    def total(self, name: str) -> int: ...
    def latency(self) -> tuple[list[int], list[int]]: ...
    def upstream_tables(self) -> list[tuple[float, list[UpstreamState]]]: ...
    def upstreams(self) -> list[UpstreamState]: ...
