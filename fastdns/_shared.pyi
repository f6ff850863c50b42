from os import PathLike

COUNTERS: tuple[tuple[str, str], ...]

class Counters:
    """The counters of one process, by name."""

    def add(self, name: str, amount: int = 1) -> None: ...
    def set(self, name: str, value: int) -> None: ...

class Pages:
    """The mapped file of counters."""

    pid: int
    started_at: float
    slots: int
    @classmethod
    def create(cls, path: str | PathLike[str], slots: int, started_at: float) -> Pages: ...
    @classmethod
    def attach(cls, path: str | PathLike[str]) -> Pages: ...
    def counters(self, slot: int) -> Counters: ...
    def totals(self) -> dict[str, int]: ...
