"""Settings of unbound that are not converted."""

from __future__ import annotations

from . import reasons

CONTROL = "fastdns status, stats, cache and reload work without it"
RECURSION = "fastdns does not ask the servers of a domain itself, it only forwards"
VIEWS = "it is not converted; rules for some clients are [[view]] tables (docs/views.md)"
QUIC = f"DNS over QUIC {reasons.NOT_HERE}"
DNSCRYPT = f"DNSCrypt {reasons.NOT_HERE}"

NOT_NEEDED = {
    reasons.SERVICE: """do-daemonize username chroot directory pidfile use-syslog logfile
        use-systemd log-identity log-time-.* log-thread-id""",
    'log_level = "debug" shows more': "verbosity",
    "fastdns stats has all counters": "statistics-.* extended-statistics shm-.*",
    CONTROL: "control-.* server-(?:key|cert)-file",
    "fastdns checks every reply, and keeps only records that belong to the question": """
        harden-(?:glue|large-queries|short-bufsize|referral-path|unknown-additional|unverified-glue)
        iter-scrub-.*""",
    RECURSION: """root-hints target-fetch-policy qname-minimisation.* max-query-restarts
        max-sent-count outbound-msg-retry fast-server-.* do-not-query-.* delay-close
        unknown-server-time-limit discard-timeout stub-prime""",
    "fastdns measures its upstreams itself (fastdns status shows them)": "infra-(?!.*slabs).*",
    reasons.INSIDE: """.*-slabs so-.* ip-(?:transparent|freebind|dscp)
        (?:outgoing-)?tcp-mss udp-connect
        outgoing-range outgoing-num-tcp incoming-num-tcp num-queries-per-thread msg-buffer-size
        jostle-timeout stream-wait-size tcp-(?!upstream).* edns-tcp-keepalive.*
        max-reuse-tcp-queries wait-limit.* sock-queue-.*""",
    "fastdns answers DNS cookies anyway, and makes the secrets": "answer-cookie cookie-secret.*",
    reasons.PORTS: "outgoing-port-.*",
    reasons.UDP_SIZE: "edns-buffer-size max-udp-size",
    reasons.ANSWERS: "rrset-roundrobin minimal-responses",
    "fastdns chooses protocols, ciphers and session tickets of TLS itself": """
        (?:tls|ssl)-(?:ciphers|ciphersuites|protocols|use-sni|session-ticket-keys)""",
    "answers are padded for clients that pad their queries": "pad-responses.*",
    "fastdns bounds requests over HTTPS itself": """http-(?:query|response)-buffer-size
        http-max-streams http-nodelay""",
    "answers have Extended DNS Errors (RFC 8914) anyway": "ede ede-serve-expired",
}
LEFT_OUT = {
    reasons.QUERY_LOG: "log-.*",
    reasons.DNSSEC: """harden-.* val-.* .*trust-anchor.* trusted-keys-file domain-insecure
        module-config dlv-.* insecure-lan-zones ignore-cd-flag root-key-sentinel add-holddown
        del-holddown keep-missing permit-small-holddown key-cache-.* neg-cache-size aggressive-nsec
        disable-dnssec-lame-check zonemd-.* prefetch-key""",
    "the routes of this machine choose the address to ask from": "outgoing-interface",
    reasons.VERSION: "hide-.* identity version nsid",
    reasons.NO_KEY: """serve-expired-ttl-reset serve-original-ttl do-(?:ip4|udp|tcp) prefer-ip[46]
        udp-upstream-without-downstream (?:tls|ssl)-(?!cert-bundle|upstream|win-cert|system-cert).*
        https?-.*""",
    "it is not converted; access.rate_limit bounds the answers that a client gets": """
        ip-ratelimit.*""",
    f"a rate limit of queries to upstreams {reasons.NOT_HERE}": """ratelimit.*
        unwanted-reply-threshold""",
    f"0x20 {reasons.NOT_HERE}": "use-caps-for-id caps-.*",
    f"client subnet (ECS) {reasons.NOT_HERE}; none is sent": """client-subnet-.* send-client-subnet
        (?:max|min)-client-.*""",
    reasons.ENCRYPTED: """(?:tls|ssl)-(?:cert-bundle|upstream.*|win-cert|system-cert) pad-queries.*
        forward-(?:tls|ssl)-.* stub-(?:tls|ssl)-.*""",
    QUIC: "quic-.*",
    DNSCRYPT: "dnscrypt-?.*",
    "listen.proxies names proxies that may use the PROXY protocol, for TLS and HTTPS": """
        proxy-protocol-port""",
    f"it {reasons.NOT_HERE}": """dns64-.* ipsecmod-.* ipset.* name-v[46] secret-seed""",
    VIEWS: """.*-tag.* .*-view response-ip.* local-zone-override interface-action
        edns-client-.*""",
    "fastdns needs IP addresses of upstreams": "forward-host stub-host",
}
REASONS = reasons.Reasons(NOT_NEEDED, LEFT_OUT, "it is not a setting that fastdns knows")

# Clauses that are left out as a whole: whether nothing is lost by that, and why.
CLAUSES = {
    "remote-control": (True, CONTROL),
    "cachedb": (True, "the cache is on disk anyway (cache.disk)"),
    "auth-zone": (
        False,
        f"a zone file {reasons.NOT_HERE}; [[forward]] can name a server that has it",
    ),
    "rpz": (
        False,
        "it is not converted; block.lists takes such zones (docs/block-lists.md)",
    ),
    "view": (False, VIEWS),
    "dnstap": (False, f"dnstap {reasons.NOT_HERE}"),
    "dnscrypt": (False, DNSCRYPT),
    "python": (False, "fastdns has no modules"),
    "dynlib": (False, "fastdns has no modules"),
    "ipset": (False, f"it {reasons.NOT_HERE}"),
}
