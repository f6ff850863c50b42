"""Where answers over connections go."""

class Outlet:
    """Takes answers for connections, and sends them together."""
