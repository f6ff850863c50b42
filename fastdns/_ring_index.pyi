"""Finds the newest record of a key in a ring."""

class RingIndex:
    """The index of a ring of so many bytes, a power of two."""

    def __init__(self, capacity: int) -> None: ...
