"""Ports of loopback: those that nobody uses at the moment, and who listens on one."""

from __future__ import annotations

import random
import socket
from pathlib import Path

# The kernel chooses from 32768 on, and fastdns asks upstreams from ports above 16383.
OURS = 6_000, 16_000
_claims: list[socket.socket] = []


def bind_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket of the same port number, chosen by the kernel."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(50):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, 0))
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname()[:2])
        except OSError:
            tcp.close()
            udp.close()
            continue
        tcp.listen(128)
        return udp, tcp
    raise RuntimeError(f"no port of {host} is free for both UDP and TCP")


def free_port(host: str = "127.0.0.1") -> int:
    """A port of host, free for UDP and TCP, for programs that cannot choose one themselves.

    Nobody else gets it as long as this process lives: it lies below those that the kernel chooses
    from, and other test processes see that it is taken by a socket whose name has its number.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(range(*OURS), 200):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0fastdns-test-port-{port}")
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(family, kind) as probe:
                    probe.bind((host, port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise RuntimeError(f"no port of {host} is free for both UDP and TCP")


def udp_sockets(port: int, host: str = "127.0.0.1") -> list[str]:
    """The inodes of the sockets bound to a port of an IPv4 address; "" stands for all addresses."""
    place = socket.inet_aton(host)[::-1].hex().upper() if host else ""

    def read() -> list[str]:
        rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
        here = [row for row in rows if row[1].startswith(place) and row[1].endswith(f":{port:04X}")]
        return [row[9] for row in here]

    # A socket that another test closes meanwhile can hide others from one reading of the table.
    return max((read() for _ in range(3)), key=len)
