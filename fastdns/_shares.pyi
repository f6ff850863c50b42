class Shares:
    """Things by whom they belong to."""
