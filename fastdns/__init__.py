"""fastdns: a caching DNS forwarder.

The journey of a query, and where each step is written:

1. `server.supervisor` binds the sockets; by `server.roles` it forks, watches and replaces all other
   processes. `server.worker` hangs the sockets on a gevent hub.
2. `_fastpath` has the list of stages, and brings what has come through it in batches: `_udp`
   receives and sends datagrams, `_stream` the messages of a connection, which `listen.tcp` has
   accepted and bounds. Each query is one record, a Query (`_query`), from its packet to its end.
   `_clients` knows who may ask, `_wire` reads the question, `_hotcache` finds the answer,
   `_response` fits it to the client, `finish` counts it: a hit ends here and has made no Python
   object. When rules, upstreams or a command have changed anything since it was last found good,
   `_cache` judges it first, by `_changes`.
3. What memory does not hold is answered by `_special_names` if no upstream is ever asked for it
   (localhost, private reverse zones). Else `_policy` decides which group of upstreams it is for,
   and `_cache` looks on disk (`_disk`, in place) for what they said, unless that would have to be
   waited for; `_entry` says whether it is whole and how old.
4. What neither holds `_forward` has asked: identical `_questions` wait for one answer, `_groups`
   say which upstream is next after an error, a loss or silence, `_upstream` knows how each is, and
   `_flights` sends by one of the `_ports` and matches what comes back, which `_scrub` puts right.
   A good reply enters `_hotcache` and, by the `_outbox`, leaves for the disk; all who wait are
   answered, by the way that `_waiters` keep. When all fails, what is stale is told. Still there
   was no Python object.
5. Python has what has to be waited for: `resolve` has a cold disk read by another thread, and
   `upstream.tcp` carries what an upstream is asked over a stream. `upstream.group` makes the
   upstreams of the configuration, and `upstream.endpoint` tells how they are.

Beside it, `server.admission` compiles for `_clients` what the configuration and, by netlink, the
network say (`policy.access`, `machine.lan`), and `server.keeper` takes answers from the rings and
writes them with `cache.store`. Commands (`cli.cache`) read the disk themselves; what they change
they write there, and tell workers and keeper by `_control`.
"""

__version__ = "0.1.0"
