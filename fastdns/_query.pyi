"""The outcomes by which queries are counted, in the order of their counters."""

TRANSPORT_NAMES: tuple[str, ...]
TIER_NAMES: tuple[str, ...]
RCODE_NAMES: tuple[str, ...]
