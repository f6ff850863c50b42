"""Who has answered a query."""

MEMORY: int
STALE: int  # memory, past its TTL
LOCAL: int  # we: about ourselves, or a name that no upstream is asked for
DISK: int
UPSTREAM: int
