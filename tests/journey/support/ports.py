"""Ports of loopback: those that nobody uses at the moment, and who listens on one."""

from __future__ import annotations

import socket
from pathlib import Path


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
    """A port that was free for UDP and TCP a moment ago, for programs that cannot choose."""
    udp, tcp = bind_pair(host)
    port = udp.getsockname()[1]
    udp.close()
    tcp.close()
    return port


def udp_sockets(port: int) -> list[str]:
    """The inodes of the sockets of IPv4 that are bound to a port."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if int(row[1].rpartition(":")[2], 16) == port]
