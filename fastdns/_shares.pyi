class Shares:
    """Things by owner."""
