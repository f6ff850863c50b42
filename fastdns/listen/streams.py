"""DNS over connections, for clients: TCP (RFC 7766), TLS (RFC 7858) and HTTPS (RFC 8484).

`_stream_listener` does all of it; this module connects it to the event loop.
"""

from __future__ import annotations

import logging
import mmap
import socket
import time
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import gevent

from .._clients import Access
from .._counters import Counters
from .._fastpath import FastPath
from .._stream_listener import StreamListener
from ..defects import guarded

if TYPE_CHECKING:
    from .http1 import Http1

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two checks for time-outs
TELL_SECONDS = 60.0  # between two lines in the log about the same
CONNECTIONS = ("tcp_connections", "tls_connections", "https_connections")


class Streams:
    """The listening sockets of a worker, and all their connections."""

    def __init__(
        self,
        listening: Iterable[tuple[int, socket.socket, str]],
        fastpath: FastPath,
        counters: Counters,
        proxies: Access | None = None,
    ) -> None:
        """`listening`: sockets, each with the number of its listener and the name of its service.

        What connections from `proxies` say of their clients is believed.
        """
        loop = gevent.get_hub().loop
        self._listener = StreamListener(fastpath, self._keep_time, _new_http1)
        self._listener.believe(proxies)
        self._clock = loop.timer(LOOK_SECONDS, LOOK_SECONDS)
        self._told = 0, 0
        self._tell_at = 0.0
        for name in CONNECTIONS:
            counters.set(name, 0)
        for number, one, service in listening:
            # Accepted sockets inherit it: no answer waits until another one is acknowledged.
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._listener.listen(one.detach(), number, service)
        self._watcher = loop.io(self._listener.descriptor, 1)
        self._watcher.start(self._listener.turn)

    def use_certificate(self, chain: bytes, key: bytes, tickets: mmap.mmap) -> None:
        """Use this pair for new connections; `tickets`: the page of `_ticket_keys`.

        ValueError: libssl cannot use it; the former one stays.
        """
        self._listener.use_certificate(chain, key, tickets)

    def stop(self) -> None:
        """Accept no more connections, and close those that have their answers."""
        self._listener.stop()

    @property
    def idle(self) -> bool:
        return self._listener.idle

    def _keep_time(self) -> None:
        """There are connections: look at their times."""
        self._clock.start(guarded(self._tick), update=True)

    def _tick(self) -> None:
        if not self._listener.tick():
            self._clock.stop()
        if time.monotonic() >= self._tell_at:
            self._tell()

    def _tell(self) -> None:
        """Log what nobody would find out otherwise, once a minute."""
        listener, (nameless, unserved) = self._listener, self._told
        self._told = listener.nameless, listener.unserved
        if listener.nameless > nameless:
            log.warning(
                "listen.proxies: %d requests over HTTP did not name their client and were refused; "
                "let the proxy send X-Forwarded-For (docs/encryption.md)",
                listener.nameless - nameless,
            )
        if listener.unserved > unserved:
            address = IPv6Address(listener.last_unserved)
            log.warning(
                "listen: %d connections for TLS or HTTPS were closed, the last from %s: there is "
                "no certificate, and listen.proxies does not name that address",
                listener.unserved - unserved,
                address.ipv4_mapped or address,
            )
        if self._told != (nameless, unserved):
            self._tell_at = time.monotonic() + TELL_SECONDS


def _new_http1(believes_forwarded: bool) -> Http1:
    # Imported here: few clients speak nothing newer, and it takes some MiB.
    from .http1 import Http1  # noqa: PLC0415

    return Http1(believes_forwarded)
