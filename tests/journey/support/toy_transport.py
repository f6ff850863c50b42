"""fastdns with one more transport, "toy://": each query on a connection of its own, bits inverted.

Nobody else speaks that, so who is answered over it was asked by the class that is named here.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading

import gevent
from gevent import socket as cooperative

from fastdns._flights import Attempt
from fastdns.cli import main
from fastdns.config.transports import TRANSPORTS, Transport
from fastdns.config.values import Address, Server

PORT = 5399
QUERY_ID = 4711


def inverted(octets: bytes) -> bytes:
    return bytes(octet ^ 0xFF for octet in octets)


class Toy:
    def __init__(self, server: Server) -> None:
        self._address = server.address
        self._asking: dict[Attempt, gevent.Greenlet] = {}

    def send(self, attempt: Attempt) -> None:
        self._asking[attempt] = gevent.spawn(self._ask, attempt)

    def _ask(self, attempt: Attempt) -> None:
        try:
            with cooperative.socket(self._address.family) as connection:
                connection.connect(self._address.sockaddr)
                message = attempt.message(QUERY_ID)
                connection.sendall(inverted(len(message).to_bytes(2, "big") + message))
                frame = inverted(connection.recv(65535))
                attempt.received(frame[2:], QUERY_ID)
        except OSError as error:
            attempt.failed(error.errno or errno.EIO)

    def forget(self, attempt: Attempt) -> None:
        self._asking.pop(attempt, None)

    def late(self, attempt: Attempt) -> None:
        pass

    def close(self) -> None:
        pass

    @staticmethod
    def dial(address: Address, timeout: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(timeout)
        far = socket.create_connection(address.sockaddr, timeout)
        for pair in ((theirs, far), (far, theirs)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
        return ours


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Bring what comes from one to the other, inverted, until either is closed."""
    try:
        while octets := source.recv(65535):
            sink.sendall(inverted(octets))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()


if __name__ == "__main__":
    sys.modules["toy_transport"] = sys.modules["__main__"]
    TRANSPORTS["toy"] = Transport("toy", 200, "toy_transport:Toy", port=PORT)
    sys.exit(main())
