"""The demo's authoritative server: a separate process, so that its work is not in the figures.

Run by `fastdns demo` as `python -m fastdns.cli.demo_server SECONDS`.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from typing import Any

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

ZONE = "demo.example"
TTL = 3600


def answer_to(query: bytes) -> bytes | None:
    """Return the answer to a query, None if it is not a query."""
    try:
        question = DNSRecord.parse(query)
    except DNSError:
        return None
    if question.header.qr or len(question.questions) != 1:
        return None
    reply = question.reply(aa=1, ra=0)
    name = question.q.qname
    if not name.matchSuffix(ZONE):
        reply.header.rcode = RCODE.REFUSED
    elif question.q.qtype == QTYPE.A:
        # 192.0.2.0/24 is for documentation (RFC 5737), so it belongs to no one.
        host = zlib.crc32(str(name).lower().encode()) % 254 + 1
        reply.add_answer(RR(name, QTYPE.A, ttl=TTL, rdata=A(f"192.0.2.{host}")))
    packed: bytes = reply.pack()
    return packed


class Authority(asyncio.DatagramProtocol):
    """Answers each query after the same delay, like a distant server."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.DatagramTransport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = answer_to(data)
        if answer is not None:
            asyncio.get_running_loop().call_later(self.delay, self.transport.sendto, answer, addr)


async def serve(delay: float) -> None:
    """Serve on a free loopback port, named on standard error, until standard input ends."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Authority(delay), local_addr=("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    print(f"ready on {host}:{port} (UDP)", file=sys.stderr, flush=True)
    # The demo holds the other end of the pipe: even a demo that was killed leaves no server behind.
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
