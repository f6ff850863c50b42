TICK_SECONDS: float

class Wheel:
    """Timers of one process."""

    @property
    def count(self) -> int: ...
