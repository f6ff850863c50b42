"""fastdns: a caching DNS forwarder.

The journey of a query, and where each step is written:

1. `server.supervisor` binds the sockets and forks; `server.worker` hangs them on a gevent hub.
2. `_fastpath` drains a UDP socket: `_udp` receives a batch, `_wire` reads each question,
   `_hotcache` finds the answer, `_response` fits it to the client, `_udp` sends the batch. A hit
   ends here and has made no Python object.
   `listen.tcp` brings the queries of its connections through the same steps.
3. What memory does not hold `_tiers` looks for on disk (`_disk`, in place), unless that would have
   to be waited for; `_entry` says whether it is whole and how old.
4. What neither holds goes to `resolve`: identical questions wait for one upstream query, and are
   told what is stale when that fails.
5. `upstream.group` chooses an upstream, `upstream.udp` and `upstream.tcp` ask it, `upstream.reply`
   accepts or refuses what comes back, `_answer` gives it the form in which it is kept.
6. The answer enters `_hotcache` and, by a `_ring`, leaves for the disk; it goes to all who wait.

Beside it, `server.keeper` takes answers from the rings and writes them with `cache.store`. Commands
(`cli.cache`) read the disk themselves; what they change they write there, and tell workers and
keeper by `_control`.
"""

__version__ = "0.1.0"
