"""Where in a ring the newest record of a key stands."""

class RingIndex:
    """The index of a ring of so many octets, a power of two."""

    def __init__(self, capacity: int) -> None: ...
