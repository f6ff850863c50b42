"""Settings of unbound without a key of ours: why each is left out, and what to do instead."""

from __future__ import annotations

import re

UNKNOWN = "is not a setting that fastdns knows"
NOT_HERE = "is not in this version of fastdns"
SERVICE = "the service of fastdns has its own user, directories and log"
RECURSION = "fastdns does not ask the servers of a domain itself, it only forwards"
DNSSEC = (
    "fastdns does not validate DNSSEC; name resolvers that do in upstream.servers, and set "
    "upstream.trust_ad if you trust the path to them"
)
INSIDE = "fastdns sizes its sockets and tables itself"
ENCRYPTED = "DNS over TLS or HTTPS is not in this version of fastdns"
CONTROL = "fastdns status, stats, cache and reload work without it"
VIEWS = "views, tags and changed answers are not in this version of fastdns"

# The first pattern that matches the whole keyword counts. True: nothing is lost.
REASONS: tuple[tuple[re.Pattern[str], bool, str], ...] = tuple(
    (re.compile(pattern), is_needless, why)
    for pattern, is_needless, why in (
        (
            "do-daemonize|username|chroot|directory|pidfile|use-syslog|logfile|use-systemd",
            True,
            SERVICE,
        ),
        ("log-identity|log-time-ascii|log-time-iso|log-thread-id", True, SERVICE),
        ("log-.*", False, f"a query log {NOT_HERE}; fastdns top shows the busiest names"),
        ("verbosity", True, 'log_level = "debug" shows more'),
        ("statistics-.*|extended-statistics|shm-.*", True, "fastdns stats has all counters"),
        ("control-.*|server-(?:key|cert)-file", True, CONTROL),
        ("harden-(?:dnssec|algo|below).*|module-config|val-.*|.*trust-anchor.*|trusted-keys-file|domain-insecure", False, DNSSEC),
        ("dlv-.*|insecure-lan-zones|ignore-cd-flag|root-key-sentinel|add-holddown", False, DNSSEC),
        (
            "del-holddown|keep-missing|permit-small-holddown|key-cache-.*|neg-cache-size",
            False,
            DNSSEC,
        ),
        ("aggressive-nsec|disable-dnssec-lame-check|zonemd-.*|prefetch-key", False, DNSSEC),
        ("module-config", False, f"fastdns has no modules: {DNSSEC}"),
        ("root-hints|target-fetch-policy|qname-minimisation.*|iter-scrub-.*", True, RECURSION),
        ("max-query-restarts|max-sent-count|outbound-msg-retry|fast-server-.*", True, RECURSION),
        ("do-not-query-.*|delay-close|unknown-server-time-limit|discard-timeout", True, RECURSION),
        ("infra-.*", True, "fastdns measures its upstreams itself (fastdns status shows them)"),
        ("(?:msg|rrset|infra|key|ratelimit|ip-ratelimit)-cache-slabs|.*-slabs", True, INSIDE),
        (
            "so-.*|ip-(?:transparent|freebind|dscp)|tcp-mss|outgoing-tcp-mss|udp-connect",
            True,
            INSIDE,
        ),
        ("outgoing-range|outgoing-num-tcp|incoming-num-tcp|num-queries-per-thread", True, INSIDE),
        (
            "msg-buffer-size|jostle-timeout|stream-wait-size|tcp-.*|edns-tcp-keepalive.*",
            True,
            INSIDE,
        ),
        (
            "max-reuse-tcp-queries|interface-automatic-ports|wait-limit.*|sock-queue-.*",
            True,
            INSIDE,
        ),
        ("outgoing-port-.*", True, "fastdns asks from random ports above 16383"),
        ("outgoing-interface", False, "the routes of this machine choose the address to ask from"),
        (
            "edns-buffer-size|max-udp-size",
            True,
            "fastdns uses 1232 bytes over UDP, and TCP for more",
        ),
        (
            "hide-.*|identity|version|nsid",
            False,
            "fastdns tells its version to clients that may ask",
        ),
        (
            "rrset-roundrobin|minimal-responses",
            True,
            "clients get answers as the upstream gave them",
        ),
        ("ede|ede-serve-expired", True, "answers have Extended DNS Errors (RFC 8914) anyway"),
        ("serve-expired-ttl-reset|serve-original-ttl|val-bogus-ttl", False, "has no key here"),
        ("(?:ip-)?ratelimit.*|unwanted-reply-threshold", False, f"a rate limit {NOT_HERE}"),
        ("use-caps-for-id|caps-.*", False, f"0x20 {NOT_HERE}"),
        (
            "client-subnet-.*|send-client-subnet|max-client-subnet-.*|min-client-.*",
            False,
            f"client subnet (ECS) {NOT_HERE}; none is sent",
        ),
        ("tls-.*|ssl-.*|https?-.*|quic-.*|pad-.*|dnscrypt-?.*", False, ENCRYPTED),
        ("dns64-.*", False, f"DNS64 {NOT_HERE}"),
        ("ipsecmod-.*|ipset.*|name-v[46]", False, NOT_HERE),
        ("cookie-secret.*|answer-cookie|secret-seed|proxy-protocol-port", False, NOT_HERE),
        (
            ".*-tag.*|.*-view|response-ip.*|local-zone-override|interface-action|edns-client-.*",
            False,
            VIEWS,
        ),
        (
            "do-(?:ip4|udp|tcp)|prefer-ip[46]|udp-upstream-without-downstream",
            False,
            "has no key here",
        ),
        ("forward-host|stub-host", False, "is a name; fastdns needs an IP address"),
        ("stub-prime", True, RECURSION),
    )
)

CLAUSES = {
    "remote-control": (True, CONTROL),
    "cachedb": (True, "the cache is on disk anyway (cache.disk)"),
    "auth-zone": (False, f"a zone of its own {NOT_HERE}; [[forward]] can ask a server that has it"),
    "rpz": (False, "block lists are not in this version of fastdns"),
    "view": (False, VIEWS),
    "dnstap": (False, f"dnstap {NOT_HERE}"),
    "dnscrypt": (False, ENCRYPTED),
    "python": (False, "fastdns has no modules"),
    "dynlib": (False, "fastdns has no modules"),
    "ipset": (False, NOT_HERE),
}


def reason(keyword: str) -> tuple[bool, str]:
    """Return why a setting is left out, and before it whether nothing is lost by that."""
    for pattern, is_needless, why in REASONS:
        if pattern.fullmatch(keyword):
            return is_needless, why
    return False, UNKNOWN
