class Policy:
    """What the configuration makes of names."""

    generation: int

    @property
    def group(self) -> int: ...
    @property
    def is_empty(self) -> bool: ...
    def __init__(self, group: int = 0) -> None: ...
