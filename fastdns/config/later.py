"""What later versions will know. This one refuses it in words that tell it from a typing error."""

from __future__ import annotations

from .schema import Access, Cache, Config, Listen, Section, Upstream

NOT_IN_THIS_VERSION = "is not in this version of fastdns"

KEYS: dict[type[Section], frozenset[str]] = {
    Config: frozenset(
        {
            *("forward", "rule", "local", "block", "protect", "view", "log", "admin", "fleet"),
            *("client", "records", "hosts", "log_queries", "query_log"),  # the last: others' words
        }
    ),
    Listen: frozenset({"tls", "https", "quic", "certificate", "cert", "key", "name", "proxies"}),
    Access: frozenset({"rate_limit", "rate_exempt", "rate_burst"}),
    Upstream: frozenset({"fallback", "ecs", "bootstrap"}),
    Cache: frozenset({"redis"}),
}

STRATEGIES = frozenset({"fastest", "race"})

# All of them encrypted: what is in this version is no substitute, and none is advised.
SCHEMES = frozenset({"tls", "https", "sdns", "quic", "h3"})
