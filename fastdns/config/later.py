"""Settings of later versions. This version refuses them in their own words, not as misspelled."""

from __future__ import annotations

from .groups import Forward, Upstream
from .listen import Listen
from .schema import Access, Cache, Config
from .section import Section

NOT_IN_THIS_VERSION = "is not in this version of fastdns"

KEYS: dict[type[Section], frozenset[str]] = {
    Config: frozenset(
        {
            *("log", "admin", "fleet"),
            *("client", "log_queries", "query_log"),  # the last: others' words
        }
    ),
    Listen: frozenset({"quic"}),
    Access: frozenset({"rate_burst"}),
    Upstream: frozenset({"fallback", "ecs", "bootstrap"}),
    Forward: frozenset({"fallback", "ecs", "bootstrap"}),
    Cache: frozenset({"redis"}),
}

STRATEGIES = frozenset({"fastest", "race"})

# All encrypted: nothing in this version replaces them, so no alternative is suggested.
SCHEMES = frozenset({"tls", "https", "sdns", "quic", "h3"})
