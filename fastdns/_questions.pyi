from ._tiers import Tiers

IN_FLIGHT_MAX: int

class Questions:
    """The questions of one process that are under way."""

    @property
    def tiers(self) -> Tiers: ...
    @property
    def count(self) -> int: ...
    @property
    def waiting(self) -> int: ...
