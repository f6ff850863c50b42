"""fastdns: a caching DNS forwarder.

The path of a query, and the module of each step:

1. `server.supervisor` binds the sockets; through `server.roles` it forks, watches and replaces all
   other processes. `server.worker` serves the sockets from a gevent hub.
2. `_fastpath` has the list of stages and sends queries through it in batches: `_udp` receives and
   sends datagrams, `_stream_listener` accepts and limits connections, `_stream` reads and sends
   what they carry, with or without TLS (`_tls`), and `_stream_queries` finds the queries in it, in
   frames or over HTTP (`_http2`).
   Each query is one record, a Query (`_query`), from its packet to its end. `_clients` checks that
   the client may ask, `_wire` reads the question, `_hotcache` finds the answer, `_response` fits it
   to the client, `finish` counts it: a hit ends here, without a Python object. If rules, upstreams
   or a command have changed since the entry was last found good, `_cache` judges it first, with
   `_changes`.
3. If memory has no answer, `_policy` decides. `_own_answers` answers names that are never asked
   upstream: those of the owner (`_local`) and those of `_special_names` (localhost, private reverse
   zones). Others have a group of upstreams, and `_cache` looks for its answer on disk (`_disk`, in
   place), unless that would have to wait; `_entry` checks that it is intact and how old it is.
4. If the disk has no answer either, `_forward` asks upstream: identical `_questions` wait for one
   answer, `_groups` choose the next upstream after an error, a loss or silence, `_upstream` knows
   the health of each, and `_flights` sends from one of the `_ports` and matches the replies, which
   `_scrub` corrects. A good reply goes to `_hotcache` and, through the `_outbox`, to the disk; all
   waiting clients are answered, in the way that `_waiters` keep. If everything fails, a stale
   answer is served. Still without a Python object.
5. Python does what must wait: `resolve` has another thread read a cold disk, and `upstream.tcp`
   carries questions to upstreams over a stream. `upstream.group` makes the upstreams of the
   configuration, and `upstream.endpoint` publishes their state.

Beside this path, `server.admission` compiles the rules of the configuration and the networks of
this machine, from netlink, for `_clients` (`policy.access`, `machine.lan`), and `server.keeper`
reads answers from the rings and writes them with `store.store`. Commands (`cli.cache`) read the
disk themselves; they write their changes there, and tell workers and keeper through `_control`.
"""

__version__ = "0.1.0"
