"""What each key and table of the configuration means, in a sentence or two, by its path.

The table in docs/configuration.md, packaging/reference.toml and fastdns.toml(5) are made from this.
`Backticks` mark literal text.
"""

from __future__ import annotations

TABLES = {
    "listen": "Addresses on which clients reach fastdns, over UDP and TCP, and encrypted over TLS "
    "and HTTPS. [access] says who may ask there. The files `certificate` and `key` are watched: a "
    "new pair is used without a reload; one that is wrong is reported, and the old one stays.",
    "access": "Who may ask. The longest prefix that contains the client decides; on a tie `deny` "
    "wins. A client that is in no prefix is refused.",
    "upstream": "The resolvers that fastdns asks when the cache has no answer.",
    "forward": "Other upstreams for some domains: one table for each group of upstreams. A name "
    "belongs to the group that has the longest domain above it, whatever the order, and no other "
    "upstream is asked for it.",
    "local": "Names that fastdns itself has the records of, and answers to all clients; see "
    "docs/local-names.md. Without these keys it has none.",
    "cache": "How much is cached, and for how long. Sizes are written "
    '`"64MiB"` (or `"64MB"`, powers of 1000), durations `"200ms"`, `"30s"`, `"5m"`, `"1h"`, '
    '`"1d"`.',
    "rule": "Exceptions for some names: one table for each rule. Of all rules the one with the "
    "longest name concerns a name, and a name before a wildcard.",
    "protect": "Protection from answers that are harmful or forged.",
    "block": "Names that clients do not get: those of block lists, and your own.",
    "view": "Other rules for some clients: one table for each view. Of all views in force, the "
    "one that names the client most exactly counts; a client in no view gets what `[block]` says.",
}

KEYS = {
    "workers": "processes that answer queries; `0` means one for each CPU. One worker answers "
    "hundreds of thousands of queries a second. Workers divide `cache.memory` among them and find "
    "each other's new answers",
    "state_dir": "directory for permanent data: the cache on disk, and a lock against a second "
    "daemon. The default of users other than root and fastdns is `$XDG_STATE_HOME/fastdns`",
    "run_dir": "directory for temporary data: counters, sockets, answers that are not on disk "
    "yet. If you set `state_dir` alone, it is `run` in that directory",
    "log_level": 'the lowest level that is logged: `"debug"`, `"info"`, `"warning"` or `"error"`',
    "include": 'more files with settings: paths, or patterns like `"/etc/fastdns/conf.d/*.toml"`, '
    "relative to this file. They are read in the order of their names; a later file overrides an "
    "earlier one, and all of them override this file; their `[[forward]]` and `[[rule]]` tables "
    "are added. Only the main file may have this key",
    "listen.dns": 'addresses to listen on, over UDP and TCP; `"0.0.0.0:53"` means all IPv4 '
    'addresses, `"[::]:53"` all IPv6 addresses',
    "listen.tls": 'addresses for DNS over TLS (RFC 7858): `"0.0.0.0"` is port 853 of all IPv4 '
    "addresses. `certificate` and `key` must be set",
    "listen.https": "addresses for DNS over HTTPS (RFC 8484), at `/dns-query`, by HTTP/2 and "
    'HTTP/1.1: `"0.0.0.0"` is port 443 of all IPv4 addresses',
    "listen.certificate": "PEM file with the certificate of the service, followed by those that "
    'lead to its authority: `"/etc/fastdns/fullchain.pem"`',
    "listen.key": "PEM file with the key of the certificate, without a password. The user fastdns "
    "must be able to read it; at `fastdns reload`, root can",
    "listen.name": 'name of the service, which the certificate is for: `"dns.example.net"`. '
    "Clients that ask `_dns.resolver.arpa` learn from it that they may encrypt (RFC 9462)",
    "listen.proxies": "addresses or prefixes of proxies in front of `tls` and `https`: fastdns "
    "believes the client's address that they tell by PROXY protocol v2 or by `X-Forwarded-For`, "
    'and takes plain HTTP from them. `"loopback"` is this machine',
    "access.allow": 'clients that may ask: addresses, prefixes (`"192.0.2.0/24"`), `"loopback"`, '
    'and `"lan"`, which means the networks that this machine is directly connected to, without '
    "public networks behind a default route",
    "access.deny": "clients that may not ask; entries as in `allow`",
    "access.refuse": 'what refused clients get: `"refused"` (REFUSED with Extended DNS Error 18, '
    'RFC 8914) or `"drop"` (no answer)',
    "access.rate_limit": "answers a second that a client may get over UDP without a DNS cookie "
    "(RFC 7873); clients are counted by address, IPv6 ones by /56. Of the others every second one "
    "is empty with TC=1, so that the client asks again over TCP. `0` means no limit",
    "access.rate_exempt": "clients without a limit; entries as in `allow`",
    "access.rate_dry_run": "count what the limit would do, without doing it",
    "upstream.servers": 'resolvers to ask: `"9.9.9.9"`, `"[2620:fe::fe]:53"`, `"tcp://9.9.9.9"`, '
    'or `"file:/etc/fastdns/ip"`, a file with one upstream a line. Empty means the resolvers of '
    "this machine",
    "upstream.strategy": '`"failover"` asks the first one that is alive, `"round-robin"` all in '
    "turn",
    "upstream.timeout": "how long one upstream may take to answer a query",
    "upstream.attempts": "the most queries that fastdns sends upstream for one question",
    "upstream.trust_ad": "pass on the AD bit of the upstream. Use it only with a resolver that "
    "validates DNSSEC, over a path that you trust",
    "forward.name": "name of the group in the log and in commands: up to 32 of `a-z`, "
    "`0-9`, `-` and `_`. Must be set",
    "forward.domains": 'domains, each with all names under it: `"corp.example"`, '
    '`"10.in-addr.arpa"` for the names of addresses, or `"file:/etc/fastdns/corp.domains"`, a list '
    "with one domain a line, or as dnsmasq has it (`server=/corp.example/10.0.0.53`). Must be set",
    "forward.answer": '`"nxdomain"`, in place of servers: fastdns itself answers that these names '
    "do not exist",
    "forward.fallback_to_default": "ask the servers of `[upstream]` while none of the group's "
    "own is alive. They then see the names of the group",
    "forward.servers": "resolvers to ask for these domains; entries as in `[upstream]`. Must be "
    "set, or `answer`",
    "forward.strategy": "as in `[upstream]`",
    "forward.timeout": "as in `[upstream]`",
    "forward.attempts": "as in `[upstream]`",
    "forward.trust_ad": "as in `[upstream]`",
    "local.domain": 'the domain of this network, like `"lan"`: names under it that have no record '
    "here do not exist, and are never asked upstream. A host of a hosts file or with a lease is "
    'found as `nas` and as `nas.lan`. `""` means none',
    "local.hosts": 'hosts files, like `["/etc/hosts"]`: A, AAAA and PTR records. They are read '
    "again when they change",
    "local.records": 'records as in zone files: `"nas.lan. 300 A 192.168.1.10"`, any type, '
    '`"*.dev.lan. A 192.168.1.20"` for all names below; or `"file:/etc/fastdns/lan.zone"`, a file '
    "with one record a line, which is read again when it changes",
    "local.leases": 'names of DHCP clients: `"auto"` finds the leases of dnsmasq, Kea, ISC dhcpd, '
    "odhcpd, systemd-networkd and libvirt at their usual places; or paths of such files",
    "local.ask_upstream": "special zones that are asked upstream although fastdns would answer "
    'them itself, like `"168.192.in-addr.arpa"`',
    "cache.memory": "memory for the cache, divided among the workers. If it is not set, it is a "
    "sixteenth of the memory of the machine, from 8 to 64 MiB; `fastdns check` shows it",
    "cache.disk": 'size of the cache on disk, in `state_dir/cache`. `"0"` writes nothing to '
    "disk; the cache is then lost at the next boot",
    "cache.min_ttl": "the smallest TTL: a shorter one is raised to it when the answer arrives, "
    "also that of a negative answer",
    "cache.max_ttl": "the largest TTL: a longer one is lowered to it when the answer arrives",
    "cache.negative_max_ttl": 'the longest time that "no such name" and "no such record" are '
    "cached",
    "cache.failure_ttl": "how long a failure is remembered before the question is sent upstream "
    "again (RFC 9520)",
    "cache.stale": "how long after its TTL an answer may still be used while no upstream answers "
    '(RFC 8767); `"0s"` means never',
    "cache.stale_wait": "how long a client waits for an upstream before it gets a stale answer",
    "cache.stale_ttl": "the TTL of a stale answer",
    "cache.prefetch": "refresh an answer in the background if it is asked for in the last tenth "
    "of its TTL",
    "cache.commit_interval": "how long an answer that was asked for again may wait before it is "
    "written to disk. A longer interval writes less to an SD card; a power cut loses the answers "
    "that wait",
    "rule.names": 'names: `"host.example"` is that name alone, `"*.dyn.example"` all names under '
    '`dyn.example`, `"*"` all names; or `"file:/etc/fastdns/names"`, a list of domains with all '
    "names under them, as in `[[forward]]`. Must be set",
    "rule.min_ttl": "in place of `cache.min_ttl`",
    "rule.max_ttl": "in place of `cache.max_ttl`",
    "rule.stale": "in place of `cache.stale`",
    "rule.cache": "`false` keeps no answer, neither in memory nor on disk: each question is sent "
    "upstream, and the answer has the TTL of the upstream",
    "rule.aaaa": '`"never"` answers that there are no IPv6 addresses; `"if-no-a"` does so for '
    "names with an IPv4 address. It also takes IPv6 hints out of HTTPS and SVCB answers",
    "rule.block_types": 'types that the names do not have: `["HTTPS", "TYPE64"]`; the answer is '
    '"no such record" with Extended DNS Error 15 (RFC 8914)',
    "protect.rebind": "do not pass on private, loopback and link-local addresses that the servers "
    'of `[upstream]` answer with (DNS rebinding): the answer is "no such record" with Extended DNS '
    "Error 17. The servers of `[[forward]]` may answer with them",
    "protect.rebind_allow": "domains, each with all names under it, that may have private "
    'addresses nevertheless: `"plex.direct"`, or `"file:/etc/fastdns/private.domains"`',
    "protect.bogus_answers": "addresses that only forged answers have: "
    '`"192.0.2.1"`, `"198.51.100.0/24"`, or `"file:/etc/fastdns/bogus"`, a list with one a line, '
    "or as dnsmasq has it (`bogus-nxdomain=192.0.2.1`). Such a reply is ignored, and the true one "
    "is waited for",
    "protect.minimal_any": "answer questions of type ANY with one HINFO record (RFC 8482); `false` "
    "sends them upstream",
    "block.lists": 'block lists: `"https://lists.example/hosts"`, or `"file:/etc/fastdns/block"`. '
    "They may be hosts files, domains one a line, or in the form of AdGuard, dnsmasq or RPZ",
    "block.allow_lists": "lists of the same kinds, whose names are never blocked by a list",
    "block.allow": "domains, each with all names under it, that are never blocked",
    "block.deny": "domains, each with all names under it, that are blocked; of `allow` and `deny` "
    "the longer domain counts, and both count more than lists",
    "block.answer": '`"null"` answers 0.0.0.0 and ::, `"nxdomain"` that the name does not exist, '
    '`"refused"` REFUSED; all with Extended DNS Error 15, which names the list',
    "block.ttl": "the TTL of these answers",
    "block.update": "how often lists are downloaded again; `0s` means only by `fastdns lists "
    "update`",
    "view.name": "name of the view in the log and in commands: up to 32 of `a-z`, `0-9`, `-` and "
    "`_`. Must be set",
    "view.clients": "clients of the view: addresses, prefixes, hardware addresses "
    '(`"aa:bb:cc:dd:ee:ff"`), names (`"tablet"`: of a DHCP lease, or by PTR), or what they ask for '
    'over TLS or HTTPS (`"tls:kids.dns.example"`, `"doh:kids"`). Must be set',
    "view.when": "the hours in which the view is in force, by the clock of the machine: "
    '`"Mon-Fri 20:00-07:00"`, several with commas. `""` means always',
    "view.lists": "in place of `block.lists`",
    "view.allow_lists": "in place of `block.allow_lists`",
    "view.allow": "domains that are never blocked in this view, in addition to those of `[block]`",
    "view.deny": "domains that are blocked in this view, in addition to those of `[block]`",
    "view.block": "`false` blocks nothing in this view",
    "view.answer": "in place of `block.answer`",
    "view.safe_search": "search engines and video sites give their safe results only",
    "view.servers": "resolvers to ask for these clients; entries as in `[upstream]`. Empty means "
    "those of all clients",
    "view.strategy": "as in `[upstream]`",
    "view.timeout": "as in `[upstream]`",
    "view.attempts": "as in `[upstream]`",
    "view.trust_ad": "as in `[upstream]`",
}
