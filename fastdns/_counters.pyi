from collections.abc import Iterable
from mmap import mmap
from typing import NamedTuple

COUNTERS: tuple[tuple[str, str, str], ...]  # name, group, meaning
GAUGES: tuple[str, ...]
LATENCY_BOUNDS: tuple[float, ...]
LAYOUT: tuple[int, int, int, int, int, int, int, int]
UPSTREAM_TABLE: tuple[int, int]

class UpstreamState(NamedTuple):
    """What is known about an upstream; `rtt` in seconds, None: unknown."""

    name: str
    alive: bool
    rtt: float | None
    queries: int
    failures: int
    edns: bool = True  # False: it is asked without, because it answers only that
    since: float = 0.0  # when it last replied or, if dead, was last asked in vain; 0: never
    error: int = 0  # errno of the last failure; 0: no timely reply
    rcode: int = 0  # its answer to everything; 0: it also answers well
    recurses: bool = True
    lacks_edns: bool = False  # it is now certain that it does not support EDNS
    just_died: bool = False  # it was alive until it was asked in vain at `since`

class Counters:
    """The slot of one process, for writing."""

    def __init__(self, memory: mmap | bytes, octets: int) -> None: ...
    def use_list_hits(self, memory: mmap | bytearray | memoryview | None) -> None: ...
    def add(self, name: str, amount: int = 1) -> None: ...
    def set(self, name: str, value: int) -> None: ...
    def observe_hit(self, seconds: float, count: int = 1) -> None: ...
    def observe_miss(self, seconds: float) -> None: ...
    def heartbeat(self, ahead: float = 0) -> None: ...
    def show_overrides(self, version: int) -> None: ...
    def show_upstreams(
        self, states: Iterable[UpstreamState | tuple[str, bool, float | None, int, int]]
    ) -> None: ...
    def shown_upstreams(self) -> list[UpstreamState]: ...
    def retire(self) -> None: ...

def read_upstreams(memory: mmap | bytes, octets: int) -> tuple[float, list[UpstreamState]]: ...
