"""Why an address cannot be bound, in words that fit when it was tried."""

from __future__ import annotations

import errno

from fastdns.config.values import Address
from fastdns.server.sockets import why_not

DENIED = OSError(errno.EACCES, "Permission denied")


def test_low_port_at_the_start_asks_for_a_right() -> None:
    assert "start fastdns with it" in why_not(Address("0.0.0.0", 53), DENIED)


def test_low_port_in_a_reload_asks_for_a_restart_or_a_takeover() -> None:
    told = why_not(Address("0.0.0.0", 53), DENIED, is_reload=True)
    assert "restart it, or start one that takes over (serve --takeover)" in told
