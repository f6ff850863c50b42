"""fastdns: a caching DNS forwarder.

The journey of a query, and where each step is written:

1. `server.supervisor` binds the sockets and forks; `server.worker` hangs them on a gevent hub.
2. `_fastpath` drains a UDP socket: `_udp` receives a batch, `_wire` reads each question,
   `_hotcache` finds the answer, `_response` fits it to the client, `_udp` sends the batch. A hit
   ends here and has made no Python object.
   `listen.tcp` brings the queries of its connections through the same steps.
3. What the cache does not hold goes to `resolve`: identical questions wait for one upstream query.
4. `upstream.group` chooses an upstream, `upstream.udp` and `upstream.tcp` ask it, `upstream.reply`
   accepts or refuses what comes back, `_answer` gives it the form in which it is kept.
5. The answer enters `_hotcache` and goes to everybody who waits.
"""

__version__ = "0.1.0"
