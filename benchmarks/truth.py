"""An upstream whose answers are a function of the name, so that each can be checked later."""

import hashlib
import socket
import threading
from ipaddress import IPv4Address

ZONE = "crash.demo"
TTL = 86400
HEADER = 12
TYPE_A_IN = b"\0\1\0\1"


def wire_name(name: str) -> bytes:
    labels = [label.encode() for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def address(name: bytes) -> bytes:
    """Return the four octets that are true of a name in wire form, whatever its capitals."""
    return b"\x0a" + hashlib.blake2b(name.lower(), digest_size=3).digest()


def address_text(name: str) -> str:
    return str(IPv4Address(address(wire_name(name))))


def query(name: bytes, number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + name + TYPE_A_IN


def reply_to(message: bytes) -> bytes | None:
    """Return the true answer to a query for type A; None for any other message."""
    end = message.find(b"\0", HEADER) + 1  # of the name: ours hold no octet 0
    if not end or message[2] & 0x80 or message[end : end + 4] != TYPE_A_IN:
        return None
    name = message[HEADER:end]
    head = message[:2] + b"\x85\x80\0\1\0\1\0\0\0\0"
    record = b"\xc0\x0c" + TYPE_A_IN + TTL.to_bytes(4, "big") + b"\0\4" + address(name)
    return head + name + TYPE_A_IN + record


class Truth:
    """Answers on `port` of 127.0.0.1 while the block runs; `silent`: takes queries and is mute."""

    def __init__(self) -> None:
        self.silent = False
        self._ended = False
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def _answer(self) -> None:
        while not self._ended:
            message, client = self._socket.recvfrom(4096)
            if not self.silent and (reply := reply_to(message)):
                self._socket.sendto(reply, client)

    def __enter__(self) -> "Truth":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
