from ._control import Control
from ._counters import Counters
from ._ring import Ring

class Outbox:
    """Sends to the keeper."""

    def __init__(
        self, ring: Ring, control: Control, counters: Counters, keeper_wakeup: int = -1
    ) -> None: ...
