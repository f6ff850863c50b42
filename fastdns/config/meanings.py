"""What each key and table of the configuration means, in a sentence or two, by its path.

The README's table, packaging/reference.toml and fastdns.toml(5) are made from this. `Backticks`
stand around what is typed.
"""

from __future__ import annotations

TABLES = {
    "listen": "Where clients reach fastdns, over UDP and TCP.",
    "access": "Who may ask. Of the prefixes that fit a client the longest decides, and `deny` "
    "before `allow` when both have it; whoever is in none of them is refused.",
    "upstream": "Whom fastdns asks for what it does not know.",
    "cache": "What is kept, how much of it and how long. Sizes are written "
    '`"64MiB"` (or `"64MB"`, powers of 1000), durations `"200ms"`, `"30s"`, `"5m"`, `"1h"`, '
    '`"1d"`.',
}

KEYS = {
    "workers": "processes that answer queries; `0`: one for each CPU. One answers hundreds of "
    "thousands of queries a second; each further one has a share of `cache.memory` and asks "
    "upstream for itself",
    "state_dir": "directory of what must last: the cache on disk, and the lock that keeps a second "
    "daemon away; for users other than root and fastdns `$XDG_STATE_HOME/fastdns`",
    "run_dir": "directory of what need not last: counters, sockets, answers on their way to the "
    "disk; left out beside a `state_dir` that you name, it is `run` in there",
    "log_level": 'the least that is logged: `"debug"`, `"info"`, `"warning"` or `"error"`',
    "include": 'more files with settings: paths, or patterns like `"/etc/fastdns/conf.d/*.toml"`; '
    "relative ones start beside this file. They are read in the order of their names, and the "
    "later one wins. Only the main file has this key",
    "listen.dns": 'addresses to listen on, for UDP and TCP; `"0.0.0.0:53"` is all of IPv4, '
    '`"[::]:53"` all of IPv6',
    "access.allow": 'who may ask: addresses, prefixes (`"192.0.2.0/24"`), `"loopback"`, and '
    '`"lan"`: the networks that this machine is directly connected to, but for those of an '
    "interface with a default route and no private IPv4 address (that of a VPS)",
    "access.deny": "who may not, though `allow` has a shorter prefix or the same one; entries as "
    "there",
    "access.refuse": 'what others get: `"refused"`, an answer that says so (REFUSED with Extended '
    'DNS Error 18, RFC 8914), or `"drop"`, none',
    "upstream.servers": 'whom to ask: `"9.9.9.9"`, `"[2620:fe::fe]:53"`, `"tcp://9.9.9.9"`, or '
    '`"file:/etc/fastdns/ip"`, which names one a line; empty: the system\'s own resolvers',
    "upstream.strategy": '`"failover"`: the first that is alive; `"round-robin"`: all in turn',
    "upstream.timeout": "how long a query to one upstream may take before it has failed",
    "upstream.attempts": "the most queries to upstreams for one question",
    "upstream.trust_ad": "pass on the upstream's AD bit: only for a resolver that validates, over "
    "a path that you trust",
    "cache.memory": "all the memory of the cache, shared out among the workers: answers, keys, "
    "table. Not set, it is a sixteenth of the machine's memory, from 8 to 64 MiB; `fastdns check` "
    "says what that is",
    "cache.disk": 'the most that lies in `state_dir/cache`; `"0"`: nothing is kept beyond the next '
    "boot, and nothing is written to a disk",
    "cache.min_ttl": "the least TTL: shorter ones, of negative answers too, are raised to it "
    "on arrival",
    "cache.max_ttl": "the greatest TTL: longer ones are lowered to it",
    "cache.negative_max_ttl": 'the longest that "no such name" and "no such record" are kept',
    "cache.failure_ttl": "how long a failure is remembered, so that it is not asked for again at "
    "once (RFC 9520)",
    "cache.stale": "how long past its TTL an answer may still be given when no upstream answers "
    '(RFC 8767); `"0s"`: never',
    "cache.stale_wait": "how long a client waits for an upstream before it gets such an answer",
    "cache.stale_ttl": "the TTL that such an answer is given with",
    "cache.prefetch": "refresh in the background what is asked in the last tenth of its TTL",
    "cache.commit_interval": "the longest that answers which were asked for again wait until they "
    "are on disk: a power cut takes what waits, and a longer wait writes less to an SD card",
}
