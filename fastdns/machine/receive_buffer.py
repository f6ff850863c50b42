"""The receive buffer of our UDP sockets: what we ask for, and what this machine grants."""

from __future__ import annotations

import socket

RECEIVE_BUFFER = 4 * 1024 * 1024  # bytes: enough for the queue while a worker is replaced
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>


def granted_receive_buffer() -> int:
    """Return the bytes of receive buffer that a UDP socket of ours would get here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return enlarge_receive_buffer(probe)


def enlarge_receive_buffer(opened: socket.socket) -> int:
    """Ask for RECEIVE_BUFFER, by force if allowed; return the size that we got."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    # The kernel doubles the number for its own bookkeeping: socket(7).
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
