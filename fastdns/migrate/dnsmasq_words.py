"""Options of dnsmasq without a key of ours: why each is left out, and what to do instead."""

from __future__ import annotations

import re

NOT_HERE = "is not in this version of fastdns"
DHCP = (
    "fastdns is not a DHCP server. Keep dnsmasq for DHCP, with these lines and port=0, "
    "dhcp-option=option:dns-server,0.0.0.0 and dhcp-option=option6:dns-server,[::] in its "
    "configuration (fastdns doctor --fix does that)"
)
SERVICE = "the service of fastdns has its own user, directories and log"
DNSSEC = (
    "fastdns does not validate DNSSEC; name resolvers that do in upstream.servers, and set "
    "upstream.trust_ad if you trust the path to them"
)
INSIDE = "fastdns sizes its sockets and tables itself"
LISTEN = "fastdns listens on the addresses in listen.dns"
ZONES = "fastdns does not serve zones to the Internet; name a server that has them in [[forward]]"
ECS = "fastdns adds nothing to queries"

# The first pattern that matches the whole option counts. True: nothing is lost.
REASONS: tuple[tuple[re.Pattern[str], bool, str], ...] = tuple(
    (re.compile(pattern), is_needless, why)
    for pattern, is_needless, why in (
        ("dhcp-ttl", False, "names of leases have a TTL of 60 seconds or less"),
        ("dhcp-.*|enable-ra|ra-param|quiet-.*|read-ethers|bootp-dynamic|no-ping", False, DHCP),
        ("log-dhcp|no-dhcp.*|bridge-interface|shared-network|script-.*|leasefile-ro", False, DHCP),
        ("tag-if|pxe-.*|(?:enable-)?tftp.*", False, DHCP),
        ("user|group|pid-file|keep-in-foreground|no-daemon|log-facility|log-async", True, SERVICE),
        ("dnssec.*|trust-anchor", False, DNSSEC),
        (
            "log-queries|log-debug|dumpfile|dumpmask",
            False,
            f"a query log {NOT_HERE}; fastdns top shows the busiest names",
        ),
        ("bind-interfaces|bind-dynamic", True, LISTEN),
        ("except-interface", False, LISTEN),
        ("bogus-priv", True, "fastdns never asks upstream for reverse names of private addresses"),
        (
            "domain-needed",
            False,
            "fastdns forwards names without a dot; the root says that they do not exist",
        ),
        ("filterwin2k|filter-A", False, "has no key here"),
        ("neg-ttl", False, "fastdns does not cache negative answers without an SOA"),
        (
            "rebind-localhost-ok",
            False,
            "protect.rebind covers 127.0.0.0/8; name such domains in protect.rebind_allow",
        ),
        (
            "local-service|clear-on-reload|no-poll|no-round-robin|cache-rr",
            True,
            "fastdns works like that",
        ),
        ("strip-mac|strip-subnet", True, ECS),
        ("add-mac|add-subnet|add-cpe-id|umbrella", False, ECS),
        ("edns-packet-max", True, "fastdns uses 1232 bytes over UDP, and TCP for more"),
        ("dns-forward-max|max-tcp-connections|fast-dns-retry", True, INSIDE),
        (
            "query-port|min-port|max-port|port-limit",
            True,
            "fastdns asks from random ports above 16383",
        ),
        ("all-servers", False, "fastdns asks one upstream at a time; see upstream.strategy"),
        ("conf-script", False, "fastdns runs no script; convert what it prints"),
        ("hostsdir", False, "name its files in local.hosts"),
        ("interface-name|dynamic-host|synth-domain", False, "write the records into local.records"),
        ("mx-target|localmx|selfmx", False, "write MX records into local.records"),
        ("localise-queries", False, "clients get all addresses of a name"),
        ("auth-.*", False, ZONES),
        ("ipset|nftset|connmark-.*|conntrack", False, NOT_HERE),
        ("alias", False, f"changing addresses in answers {NOT_HERE}"),
        ("enable-dbus|enable-ubus", False, f"D-Bus and ubus: {NOT_HERE}"),
        ("no-ident", False, "fastdns tells its version to clients that may ask"),
        ("dns-loop-detect|test|version|help", True, "has no effect on answers"),
    )
)

# Those that the reader converts.
CONVERTED = frozenset(
    {
        *("server", "local", "address", "rev-server", "servers-file", "conf-file", "conf-dir"),
        *("host-record", "cname", "ptr-record", "txt-record", "srv-host", "mx-host", "dns-rr"),
        *("naptr-record", "caa-record", "addn-hosts", "no-hosts", "domain", "expand-hosts"),
        *("dhcp-leasefile", "dhcp-range", "cache-size", "no-negcache", "max-ttl", "max-cache-ttl"),
        *("min-cache-ttl", "local-ttl", "use-stale-cache", "strict-order", "resolv-file"),
        *("no-resolv", "listen-address", "interface", "port", "stop-dns-rebind"),
        *("rebind-domain-ok", "bogus-nxdomain", "ignore-address", "filter-AAAA", "filter-rr"),
        "proxy-dnssec",
    }
)
UNKNOWN = "is not an option that fastdns knows"


def reason(option: str) -> tuple[bool, str]:
    """Return why an option is left out, and before it whether nothing is lost by that."""
    for pattern, is_needless, why in REASONS:
        if pattern.fullmatch(option):
            return is_needless, why
    return False, UNKNOWN


def is_option(word: str) -> bool:
    """Whether dnsmasq has such an option."""
    return word in CONVERTED or reason(word)[1] != UNKNOWN
