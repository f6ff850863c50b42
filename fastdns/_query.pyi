"""What queries are counted by, in the order of their counters."""

TRANSPORT_NAMES: tuple[str, ...]
TIER_NAMES: tuple[str, ...]
RCODE_NAMES: tuple[str, ...]
