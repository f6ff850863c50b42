"""The forwarder between a client and upstreams that the test plays, over real sockets."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from messages import (
    GENEROUS,
    REPLY,
    SOURCE,
    Front,
    reply,
)

from fastdns._flights import Attempt
from fastdns._groups import Group
from fastdns._upstream import OPT, Upstream
from fastdns.config.values import Address
from fastdns.upstream.endpoint import packed

TIMEOUT = 0.4
Peer = tuple[str, int]


def readable(seconds: float, *which: socket.socket | int) -> bool:
    """Wait until one can be read, at most so long. select() would end at descriptor 1024."""
    poll = select.poll()
    for one in which:
        poll.register(one, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Scene:
    """A client and an upstream of a forwarder, which moves when the test says so."""

    def __init__(
        self,
        directory: Path,
        *,
        in_turn: bool = False,
        attempts: int = 1,
        budget: float = TIMEOUT,
        stale_wait: float = 1.8,
    ) -> None:
        self.front = Front(
            directory,
            stale=3600,
            group=Group(GENEROUS, in_turn=in_turn, attempts=attempts, budget=budget),
            stale_wait=stale_wait,
        )
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
        self.server, self.client, self.upstream, self.second = self.sockets
        for one in (self.server, self.upstream, self.second):
            one.bind(("127.0.0.1", 0))
        self.client.connect(self.server.getsockname())
        for one in (self.upstream, self.second):
            one.settimeout(5)
        self.turned = 0
        self.streamed: list[Attempt] = []  # that nobody has answered yet
        self.known = self.make_upstream(self.upstream)
        self.second_known = self.make_upstream(self.second)
        self.use(self.known)

    def make_upstream(self, at: socket.socket, *, is_stream: bool = False) -> Upstream:
        place = Address(*at.getsockname())
        made = Upstream(
            SOURCE, TIMEOUT, packed(place), self._turn, stream=self, is_stream=is_stream
        )
        made.look_at_message(OPT, 0, has_opt=True)
        return made

    def _turn(self) -> None:
        self.turned += 1
        self.front.group.turned()

    def use(self, *upstreams: Upstream) -> None:
        self.front.group.use(upstreams)

    # what an upstream is asked over a stream

    def send(self, attempt: Attempt) -> None:
        """An upstream is asked."""
        self.streamed.append(attempt)

    def late(self, attempt: Attempt) -> None:
        """Nothing has come in time."""

    def forget(self, attempt: Attempt) -> None:
        """Nobody waits for it any more."""
        if attempt in self.streamed:
            self.streamed.remove(attempt)

    def close(self) -> None:
        for one in self.sockets:
            one.close()

    def ask(self, *packets: bytes) -> None:
        """Let the client send these and the forwarder look at them."""
        for packet in packets:
            self.client.send(packet)
        self.front.fastpath.drain(self.server.fileno())

    def asked(self) -> tuple[bytes, Peer]:
        """The next query that the upstream gets, and from where."""
        return self.upstream.recvfrom(4096)

    def not_asked(self) -> bool:
        return not readable(0, self.upstream, self.second)

    def say(self, wire: bytes, to: Peer, by: socket.socket | None = None) -> None:
        """Let an upstream send this and the forwarder look at it."""
        (by or self.upstream).sendto(wire, to)
        assert readable(5, self.front.forward.flights.descriptor)
        self.front.forward.read_replies()

    def answer(
        self,
        *records: bytes,
        flags: int = REPLY,
        qname: str = "www.example",
        by: socket.socket | None = None,
    ) -> None:
        """Answer the next query of an upstream, the first one's unless it is said whose."""
        upstream = by or self.upstream
        asked, peer = upstream.recvfrom(4096)
        self.say(asked[:2] + reply(*records, flags=flags, qname=qname)[2:], peer, upstream)

    def heard(self) -> list[bytes]:
        """What the client has been sent."""
        packets = []
        while readable(0, self.client):
            packets.append(self.client.recv(65535))
        return packets

    def tick_until(self, condition: Callable[[], object]) -> float:
        """Let time pass until it holds; return how many seconds that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() < began + 5
            self.front.forward.tick()
            time.sleep(0.002)
        return time.monotonic() - began

    def told(self) -> bytes:
        """What the client is told, when its time has come."""
        self.tick_until(lambda: readable(0, self.client))
        (told,) = self.heard()
        return told


def fail_until_dead(known: Upstream) -> int:
    """Let queries to it fail one after another; return how many that took."""
    began = time.monotonic()
    failures = known.failures
    while known.alive and time.monotonic() < began + 5:
        time.sleep(0.02)
        known.failed(0.0)
    assert not known.alive
    return known.failures - failures
