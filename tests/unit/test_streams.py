"""Connections of clients against clients that want to do harm."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from environments import in_a_child
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes
from messages import (
    EVERYBODY,
    NAME,
    OPAQUE,
    Front,
    address,
    answer_from,
    answer_of_size,
    key,
    query,
    reply,
)

from fastdns._stream_listener import StreamListener
from fastdns.listen.http1 import Http1

STREAMS_MAX = 3072
A_CLIENT = 32
HANDSHAKES_MAX = 64
PROXY = ("127.0.0.1", 5353)


def until(listener: StreamListener, is_done: Callable[[], bool], seconds: float = 10.0) -> None:
    """Serve what comes until this is so; fail if nothing comes any more, or if it takes long."""
    poll = select.poll()
    poll.register(listener.descriptor, select.POLLIN)
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end
        poll.poll(10)
        listener.turn()


def settled(listener: StreamListener) -> None:
    """Serve what there is to serve."""
    poll = select.poll()
    poll.register(listener.descriptor, select.POLLIN)
    for _ in range(1000):
        if not poll.poll(0):
            return
        listener.turn()
    pytest.fail("the listener wakes up again and again")


class Browser:
    """A client of DNS over HTTP/2, behind a proxy that ends TLS."""

    def __init__(self, front: Front, *, window: int = 65535) -> None:
        self.listener = StreamListener(front.fastpath, None, Http1)
        self.listener.believe(EVERYBODY)
        self.ours, theirs = socket.socketpair()
        self.ours.setblocking(False)
        slot = self.listener.adopt(theirs.detach(), PROXY, 0, "https")
        assert slot is not None
        self.slot = slot
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.events: list[Any] = []

    def ask(self, message: bytes) -> int:
        """Ask in a stream of its own; `say` sends it."""
        stream = self.h2.get_next_available_stream_id()
        headers = {":method": "POST", ":scheme": "https", ":authority": "x", ":path": "/dns-query"}
        kind = {"content-type": "application/dns-message", "content-length": str(len(message))}
        self.h2.send_headers(stream, list((headers | kind).items()))
        self.h2.send_data(stream, message, end_stream=True)
        return stream

    def say(self, raw: bytes = b"") -> None:
        self.ours.sendall(self.h2.data_to_send() + raw)

    def hear(self) -> list[Any]:
        """What has come since, and all before."""
        with suppress(BlockingIOError):
            while piece := self.ours.recv(1 << 20):
                self.events += self.h2.receive_data(piece)
        return self.events

    def ended(self) -> set[int]:
        """The streams that have a whole response."""
        return {one.stream_id for one in self.hear() if isinstance(one, StreamEnded)}

    def reset(self) -> set[int]:
        return {one.stream_id for one in self.events if isinstance(one, StreamReset)}


def keep_large(front: Front, octets: int) -> bytes:
    """Have memory hold an answer of that size; return the query for it."""
    front.keep(answer_of_size(octets), key(NAME, OPAQUE))
    return query(NAME, OPAQUE)


def test_connection_that_takes_the_place_of_an_idle_one_is_served(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))

    def crowd() -> None:
        signal.alarm(20)
        listener = StreamListener(front.fastpath)
        for number in range(STREAMS_MAX):
            _ours, theirs = socket.socketpair()
            host = f"192.0.{2 + number // A_CLIENT // 200}.{number // A_CLIENT % 200}"
            assert listener.adopt(theirs.detach(), (host, 1)) is not None
            _ours.detach()
        last = []
        for _ in range(3):  # one after the other has the first ones' places
            ours, theirs = socket.socketpair()
            listener.adopt(theirs.detach(), ("198.51.100.1", 1))
            last.append(ours)
        for ours in last:
            packet = query()
            ours.sendall(len(packet).to_bytes(2, "big") + packet)
        listener.turn()
        for ours in last:
            assert ours.recv(512)[2:] == reply(address())

    assert in_a_child(crowd) == 0


def test_stopped_listener_leaves_connections_to_those_who_share_the_socket(tmp_path: Path) -> None:
    listener = StreamListener(Front(tmp_path).fastpath)
    with socket.create_server(("127.0.0.1", 0)) as shared:
        listener.listen(os.dup(shared.fileno()), 0, "dns")
        listener.stop()
        with socket.create_connection(shared.getsockname()):
            settled(listener)


def test_all_that_has_come_is_answered_at_the_stop(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    listener = StreamListener(front.fastpath)
    packet = query()
    clients = []
    for number in range(200):
        ours, theirs = socket.socketpair()
        listener.adopt(theirs.detach(), (f"192.0.2.{number // A_CLIENT}", 1))
        ours.sendall(len(packet).to_bytes(2, "big") + packet)
        ours.settimeout(5)
        clients.append(ours)
    listener.stop()
    for ours in clients:
        assert ours.recv(512)[2:] == reply(address())
        ours.close()


def test_request_whose_stream_is_reset_while_it_is_looked_at(tmp_path: Path) -> None:
    # It is read after the reset has been sent; only a checker of memory sees the difference.
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    browser = Browser(front)
    good = browser.ask(query())
    bad = [browser.ask(query(f"a{number}.example")) for number in range(20)]
    # An overflow of the window, which our side answers with a reset.
    overflow = [b"\0\0\4\x08\0" + one.to_bytes(4, "big") + b"\x7f\xff\xff\xff" for one in bad]
    browser.say(b"".join(overflow))
    until(browser.listener, lambda: good in browser.ended())
    assert browser.reset() == set(bad)


def test_answers_over_http_1_that_are_not_taken_are_not_made(tmp_path: Path) -> None:
    front = Front(tmp_path, 4 << 20)
    large = keep_large(front, 60000)
    listener = StreamListener(front.fastpath, None, Http1)
    listener.believe(EVERYBODY)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    slot = listener.adopt(theirs.detach(), PROXY, 0, "https")
    assert slot is not None
    head = b"POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\n"
    head += b"X-Forwarded-For: 192.0.2.7\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(large) + large
    ours.sendall(request * 100)
    settled(listener)
    assert listener.state_of(slot)["unwritten"] < 1 << 19
    heard = bytearray()

    def has_all() -> bool:
        with suppress(BlockingIOError):
            heard.extend(ours.recv(1 << 20))
        return heard.count(b"HTTP/1.1 200") == 100

    until(listener, has_all)


def test_first_octets_of_http_may_come_one_by_one(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.keep(answer_from(reply(address())))
    browser = Browser(front)
    stream = browser.ask(query())
    opening = browser.h2.data_to_send()
    browser.ours.sendall(opening[:2])
    browser.listener.turn()
    browser.listener.tick()
    browser.ours.sendall(opening[2:])
    until(browser.listener, lambda: stream in browser.ended())


def test_clients_that_begin_tls_and_say_nothing_make_room_for_others(tmp_path: Path) -> None:
    listener = StreamListener(Front(tmp_path).fastpath)
    listener.believe(EVERYBODY)  # it costs nothing: TLS begins with the first octet
    with socket.create_server(("127.0.0.1", 0), backlog=200) as shared:
        shared.setblocking(False)
        listener.listen(os.dup(shared.fileno()), 0, "https")
        silent = [socket.create_connection(shared.getsockname()) for _ in range(HANDSHAKES_MAX)]
        until(listener, lambda: listener.handshakes == HANDSHAKES_MAX)
        time.sleep(1.1)  # a handshake may take a second, whatever others want
        with socket.create_connection(shared.getsockname()) as late:
            late.settimeout(5)
            late.sendall(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n")
            until(listener, lambda: listener.handshakes < HANDSHAKES_MAX, 3)
        for one in silent:
            one.close()


def test_client_that_stays_within_its_windows_is_kept(tmp_path: Path) -> None:
    # What waits for a window is no reason to stop reading: the window comes that way.
    front = Front(tmp_path, 4 << 20)
    large = keep_large(front, 16384)
    browser = Browser(front, window=0)
    streams = {browser.ask(large) for _ in range(16)}
    browser.say()
    settled(browser.listener)
    assert len([one for one in browser.hear() if isinstance(one, ResponseReceived)]) == 16
    browser.h2.increment_flow_control_window(1 << 20)
    for stream in streams:
        browser.h2.increment_flow_control_window(1 << 20, stream)
    browser.say()
    until(browser.listener, lambda: browser.ended() == streams)
