class Policy:
    """The rules of the configuration for names."""

    generation: int

    @property
    def group(self) -> int: ...
    @property
    def is_empty(self) -> bool: ...
    def __init__(self, group: int = 0) -> None: ...
