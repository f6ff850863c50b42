"""Why an address cannot be bound, in words that fit when it was tried."""

from __future__ import annotations

import errno
import socket

from fastdns.config.values import Address
from fastdns.listen.services import TLS
from fastdns.server.sockets import why_not

DENIED = OSError(errno.EACCES, "Permission denied")


def test_low_port_at_the_start_asks_for_a_right() -> None:
    assert "start fastdns with it" in why_not(Address("0.0.0.0", 53), DENIED)


def test_low_port_in_a_reload_asks_for_a_restart_or_a_takeover() -> None:
    told = why_not(Address("0.0.0.0", 53), DENIED, is_reload=True)
    assert "restart it, or start one that takes over (serve --takeover)" in told


def test_address_in_use_names_the_key_and_the_option_of_its_service() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = Address("127.0.0.1", taken.getsockname()[1])
        told = why_not(address, OSError(errno.EADDRINUSE, "in use"), TLS)
    assert "choose another address in listen.tls or with --listen tls://127.0.0.1:PORT" in told
