"""Options of dnsmasq that are not converted."""

from __future__ import annotations

from . import reasons

DHCP = (
    "fastdns is not a DHCP server. Keep dnsmasq for DHCP, with these lines and port=0, "
    "dhcp-option=option:dns-server,0.0.0.0 and dhcp-option=option6:dns-server,[::] in its "
    "configuration (fastdns doctor --fix does that)"
)

NOT_NEEDED = {
    reasons.SERVICE: """user group pid-file keep-in-foreground no-daemon log-facility log-async""",
    "fastdns listens on the addresses in listen.dns": "bind-interfaces bind-dynamic",
    "fastdns never asks upstream for reverse names of private addresses": "bogus-priv",
    "fastdns does the same": """local-service clear-on-reload no-poll no-round-robin cache-rr
        strip-mac strip-subnet""",
    reasons.UDP_SIZE: "edns-packet-max",
    reasons.INSIDE: "dns-forward-max max-tcp-connections fast-dns-retry",
    reasons.PORTS: "query-port min-port max-port port-limit",
    "it has no effect on answers": "dns-loop-detect test version help",
}
LEFT_OUT = {
    "names of leases have a TTL of 60 seconds or less": "dhcp-ttl",
    DHCP: """dhcp-.* enable-ra ra-param quiet-.* read-ethers bootp-dynamic no-ping log-dhcp
        no-dhcp.* bridge-interface shared-network script-.* leasefile-ro tag-if pxe-.*
        (?:enable-)?tftp.*""",
    reasons.DNSSEC: "dnssec.* trust-anchor",
    reasons.QUERY_LOG: "log-queries log-debug dumpfile dumpmask",
    "fastdns listens on addresses; write those of other interfaces into listen.dns": """
        except-interface""",
    "fastdns asks upstream for names without a dot": "domain-needed",
    reasons.NO_KEY: "filterwin2k",
    "fastdns does not cache negative answers without an SOA": "neg-ttl",
    "protect.rebind covers 127.0.0.0/8; name such domains in protect.rebind_allow": """
        rebind-localhost-ok""",
    "fastdns adds nothing to queries": "add-mac add-subnet add-cpe-id umbrella",
    "fastdns asks one upstream at a time; see upstream.strategy": "all-servers",
    "fastdns runs no script; convert the output of the script": "conf-script",
    "write the records into local.records": """interface-name dynamic-host synth-domain mx-target
        localmx selfmx""",
    "clients get all addresses of a name": "localise-queries",
    "fastdns does not serve zones to the Internet": "auth-.*",
    f"it {reasons.NOT_HERE}": "ipset nftset connmark-.* conntrack alias enable-dbus enable-ubus",
    reasons.VERSION: "no-ident",
}
REASONS = reasons.Reasons(NOT_NEEDED, LEFT_OUT, "it is not an option that fastdns knows")

CONVERTED = frozenset(
    {
        *("server", "local", "address", "rev-server", "servers-file", "conf-file", "conf-dir"),
        *("host-record", "cname", "ptr-record", "txt-record", "srv-host", "mx-host", "dns-rr"),
        *(
            "naptr-record",
            "caa-record",
            "addn-hosts",
            "hostsdir",
            "no-hosts",
            "domain",
            "expand-hosts",
        ),
        *("dhcp-leasefile", "dhcp-range", "cache-size", "no-negcache", "max-ttl", "max-cache-ttl"),
        *("min-cache-ttl", "local-ttl", "use-stale-cache", "strict-order", "resolv-file"),
        *("no-resolv", "listen-address", "interface", "port", "stop-dns-rebind"),
        *("rebind-domain-ok", "bogus-nxdomain", "ignore-address", "filter-A", "filter-AAAA"),
        "filter-rr",
        "proxy-dnssec",
    }
)


def is_option(word: str) -> bool:
    """Whether dnsmasq has such an option."""
    return word in CONVERTED or REASONS.knows(word)
