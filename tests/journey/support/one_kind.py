"""fastdns with two more services: one over TCP alone at 127.0.0.2, one over UDP at 127.0.0.3."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from typing import Any

from fastdns.cli import main
from fastdns.config.listen import Listen
from fastdns.listen.services import SERVICES, Service
from fastdns.listen.streams import Streams
from fastdns.server import worker


class PlainStreams(Streams):
    """Speaks plain DNS for the service over TCP as well."""

    def __init__(self, listening: Iterable[tuple[int, socket.socket, str]], *others: Any) -> None:
        super().__init__([(number, one, "dns") for number, one, _ in listening], *others)


NAMES = {"127.0.0.2": "stream", "127.0.0.3": "datagram"}

if __name__ == "__main__":
    SERVICES["stream"] = Service("stream", has_udp=False, streams=True)
    SERVICES["datagram"] = Service("datagram", has_udp=True, streams=False)
    Listen.addresses = property(
        lambda listen: tuple((NAMES.get(one.host, "dns"), one) for one in listen.dns)
    )
    worker.Streams = PlainStreams  # type: ignore[misc]
    sys.exit(main())
