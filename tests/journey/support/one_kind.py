"""fastdns with two more services: one over TCP alone at 127.0.0.2, one over UDP at 127.0.0.3."""

from __future__ import annotations

import sys

from fastdns.cli import main
from fastdns.config.schema import Listen
from fastdns.listen.services import SERVICES, Service

NAMES = {"127.0.0.2": "stream", "127.0.0.3": "datagram"}

if __name__ == "__main__":
    SERVICES["stream"] = Service("stream", has_udp=False, streams="fastdns.listen.tcp:TcpListener")
    SERVICES["datagram"] = Service("datagram", has_udp=True, streams=None)
    Listen.addresses = property(
        lambda listen: tuple((NAMES.get(one.host, "dns"), one) for one in listen.dns)
    )
    sys.exit(main())
