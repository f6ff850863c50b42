"""The TCP listener (RFC 7766): pipelining, answers out of order, slow and greedy peers."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import dns.flags
import dns.message
import dns.rcode
import pytest

from fastdns._stream import CONNECTIONS_A_CLIENT, FRAME_SECONDS, IDLE_SECONDS, PIPELINE_MAX

from .support.client import (
    TcpClient,
    ask,
    data,
    eventually,
    exchange_tcp,
    make_query,
    read_answer,
)
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, held, silence
from .support.raw import QUERY_RD, header, question


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(message)) + message for message in messages)


def big(asked: Asked) -> None:
    """Twenty kilobytes of TXT, which need TCP."""
    if asked.tcp:
        strings = " ".join(f'"{"x" * 250}"' for _ in range(80))
        asked.answer(f"@ 300 IN TXT {strings}")
    else:
        asked.answer(flags=dns.flags.TC)


# Pipelining


@pytest.mark.parametrize("size", [None, 1], ids=["in_one_segment", "octet_by_octet"])
def test_pipelined_queries_are_all_answered(
    upstream: FalseUpstream, forwarder: Fastdns, size: int | None
) -> None:
    queries = [make_query(upstream.new_name()) for _ in range(3)]
    octets = framed(*(query.to_wire() for query in queries))
    with TcpClient(forwarder) as client:
        for start in range(0, len(octets), size or len(octets)):
            client.sock.sendall(octets[start : start + (size or len(octets))])
            # Only time parts segments: nothing tells the sender that the other side has read one.
            time.sleep(0.001)
        answers = [client.receive() for _ in queries]
    by_id = {dns.message.from_wire(answer).id: answer for answer in answers if answer}
    for query in queries:
        assert data(read_answer(query.to_wire(), by_id[query.id])) == ["192.0.2.1"]


def test_slow_miss_does_not_hold_up_a_later_hit_on_its_connection(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    release = threading.Event()
    cached, slow = upstream.new_name(), upstream.new_name(held(release))
    ask(forwarder, cached)
    first, second = make_query(slow).to_wire(), make_query(cached).to_wire()
    with TcpClient(forwarder) as client:
        client.sock.sendall(framed(first, second))
        read_answer(second, client.receive())
        release.set()
        read_answer(first, client.receive())


def test_slow_miss_does_not_hold_up_a_later_miss_on_its_connection(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    release = threading.Event()
    slow, quick = upstream.new_name(held(release)), upstream.new_name()
    first, second = make_query(slow).to_wire(), make_query(quick).to_wire()
    with TcpClient(forwarder) as client:
        client.sock.sendall(framed(first, second))
        read_answer(second, client.receive())
        release.set()
        read_answer(first, client.receive())


def test_one_connection_carries_hundreds_of_queries(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    name = upstream.new_name()
    ask(forwarder, name)
    query = make_query(name).to_wire()
    with TcpClient(forwarder) as client:
        client.sock.sendall(framed(query) * 500)
        for _ in range(500):
            read_answer(query, client.receive())


def test_client_that_sent_its_last_query_still_gets_the_answer(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    release = threading.Event()
    name = upstream.new_name(held(release))
    query = make_query(name).to_wire()
    with TcpClient(forwarder) as client:
        client.send(query)
        client.sock.shutdown(socket.SHUT_WR)
        upstream.wait_for(name)
        release.set()
        read_answer(query, client.receive())
        assert client.receive() is None


def test_client_that_leaves_before_its_answer_harms_nobody(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    release = threading.Event()
    name = upstream.new_name(held(release))
    leaving = TcpClient(forwarder)
    leaving.send(make_query(name).to_wire())
    upstream.wait_for(name)
    # With a linger time of 0, close resets the connection: the answer meets a dead one.
    leaving.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leaving.sock.close()
    release.set()
    assert data(ask(forwarder, name, tcp=True)) == ["192.0.2.1"]


# Frames that hold no good query


def test_frame_of_length_zero_is_never_answered(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    query = make_query(upstream.new_name()).to_wire()
    with TcpClient(forwarder) as client:
        client.sock.sendall(framed(b"", query))
        answer = client.receive()
    # It may cost the peer its connection, but if there is an answer it is one to the true query.
    if answer is not None:
        read_answer(query, answer)
    assert exchange_tcp(forwarder, query)


@pytest.mark.parametrize("garbage", [b"\0", b"\x12\x34", b"x" * 11], ids=["1", "2", "11"])
def test_frame_too_short_for_a_header_is_never_answered(
    upstream: FalseUpstream, forwarder: Fastdns, garbage: bytes
) -> None:
    query = make_query(upstream.new_name()).to_wire()
    with TcpClient(forwarder) as client:
        client.sock.sendall(framed(garbage, query))
        answer = client.receive()
    if answer is not None:
        read_answer(query, answer)
    assert exchange_tcp(forwarder, query)


def test_frame_with_a_header_and_garbage_behind_is_a_form_error(forwarder: Fastdns) -> None:
    answer = exchange_tcp(forwarder, header(0x1234, QUERY_RD, 1) + b"\x3fgarbage")
    assert answer[:2] == b"\x12\x34"
    assert answer[3] & 15 == dns.rcode.FORMERR


def test_response_sent_to_the_listener_is_dropped(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    name = upstream.new_name()
    query = make_query(name).to_wire()
    response = header(0x1234, QUERY_RD | 0x8000, 1) + question("evil.example")
    with TcpClient(forwarder) as client:
        client.sock.sendall(framed(response, query))
        read_answer(query, client.receive())
    assert upstream.asked("evil.example.") == []


# Peers that keep a connection and do nothing good with it


def nothing(_: TcpClient, __: bytes) -> None:
    """The peer connects, and that was it."""


def a_query_answered(client: TcpClient, query: bytes) -> None:
    client.send(query)
    read_answer(query, client.receive())


def one_octet_of_the_length(client: TcpClient, query: bytes) -> None:
    client.sock.sendall(framed(query)[:1])


def length_without_a_message(client: TcpClient, query: bytes) -> None:
    client.sock.sendall(framed(query)[:2])


def half_a_message(client: TcpClient, query: bytes) -> None:
    client.sock.sendall(framed(query)[:20])


def half_a_message_after_a_query(client: TcpClient, query: bytes) -> None:
    a_query_answered(client, query)
    half_a_message(client, query)


UNFINISHED = [
    one_octet_of_the_length,
    length_without_a_message,
    half_a_message,
    half_a_message_after_a_query,
]
IDLE = [nothing, a_query_answered]


@pytest.fixture(scope="module")
def closed_after(
    upstream: FalseUpstream, forwarder: Fastdns
) -> dict[Callable[[TcpClient, bytes], None], float]:
    """Seconds after which each kind of peer was disconnected, all waited for at once.

    Those of an unfinished frame get one more octet each second: the bound is on the whole frame.
    """
    query = make_query(upstream.new_name()).to_wire()
    ask(forwarder, dns.message.from_wire(query).question[0].name)
    seconds: dict[Callable[[TcpClient, bytes], None], float] = {}
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for kind in UNFINISHED + IDLE:
            client = stack.enter_context(TcpClient(forwarder))
            kind(client, query)
            selector.register(client.sock, selectors.EVENT_READ, kind)
        start = time.monotonic()
        trickled = 0
        while selector.get_map() and (now := time.monotonic() - start) < IDLE_SECONDS + 3:
            if now > trickled + 1:
                trickled += 1
                trickle(selector)
            for key, _ in selector.select(0.1):
                seconds[key.data] = time.monotonic() - start
                selector.unregister(key.fileobj)
    return seconds


def trickle(selector: selectors.BaseSelector) -> None:
    for key in selector.get_map().values():
        if key.data in UNFINISHED:
            try:
                key.fileobj.send(b"\x20")
            except OSError:  # it was closed just now, which select will say
                continue


@pytest.mark.parametrize("kind", UNFINISHED, ids=lambda kind: kind.__name__)
def test_frame_begun_and_not_finished_is_closed_in_bounded_time(
    closed_after: dict[Callable[[TcpClient, bytes], None], float],
    kind: Callable[[TcpClient, bytes], None],
) -> None:
    assert FRAME_SECONDS / 2 < closed_after[kind] < FRAME_SECONDS + 1.5


@pytest.mark.parametrize("kind", IDLE, ids=lambda kind: kind.__name__)
def test_idle_connection_is_closed_in_bounded_time(
    closed_after: dict[Callable[[TcpClient, bytes], None], float],
    kind: Callable[[TcpClient, bytes], None],
) -> None:
    assert IDLE_SECONDS / 2 < closed_after[kind] < IDLE_SECONDS + 1.5


# Peers that want too much


def connect_from(host: str, daemon: Fastdns) -> socket.socket:
    return socket.create_connection((daemon.host, daemon.port), 5, source_address=(host, 0))


def served(connections: list[socket.socket], query: bytes) -> int:
    """How many of the connections answer a query within a second."""
    answered = 0
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            try:
                connection.sendall(framed(query))
            except OSError:
                continue
            selector.register(connection, selectors.EVENT_READ)
        while ready := selector.select(1):
            for key, _ in ready:
                selector.unregister(key.fileobj)
                try:
                    answered += bool(key.fileobj.recv(65535))
                except OSError:
                    continue
    return answered


def test_connections_of_one_client_are_bounded_and_others_still_get_in(
    upstream: FalseUpstream, start_fastdns: Callable[..., Fastdns]
) -> None:
    daemon = start_fastdns(upstream=[upstream])
    name = upstream.new_name()
    ask(daemon, name)
    query = make_query(name).to_wire()
    greedy = [connect_from("127.0.0.2", daemon) for _ in range(CONNECTIONS_A_CLIENT + 20)]
    other = connect_from("127.0.0.3", daemon)
    assert served([other], query) == 1
    assert served(greedy, query) == CONNECTIONS_A_CLIENT
    for connection in (*greedy, other):
        connection.close()
    # A place that was given up is free for the next one.
    eventually(lambda: served([connect_from("127.0.0.2", daemon)], query), lambda got: got == 1)


@pytest.mark.parametrize("connections", [1, CONNECTIONS_A_CLIENT])
def test_peer_that_never_reads_holds_up_nobody_and_takes_little_memory(
    upstream: FalseUpstream, start_fastdns: Callable[..., Fastdns], connections: int
) -> None:
    daemon = start_fastdns(upstream=[upstream], is_forked=False)
    name = upstream.new_name(big)
    ask(daemon, name, "TXT", tcp=True)
    before = daemon.memory()
    with ExitStack() as stack:
        for _ in range(connections):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.bind(("127.0.0.2", 0))
            deaf.connect((daemon.host, daemon.port))
            # Of twenty kilobytes each: far more than what kernel and daemon keep for one peer.
            deaf.sendall(framed(make_query(name, "TXT").to_wire()) * 500)
        worst = 0.0
        until = time.monotonic() + 1.5
        while (start := time.monotonic()) < until:
            assert ask(daemon, name, "TXT", tcp=True).answer
            assert data(ask(daemon, upstream.new_name())) == ["192.0.2.1"]
            worst = max(worst, time.monotonic() - start)
        assert worst < 2
        assert daemon.memory() < before + (24 << 20)


def test_misses_that_one_connection_may_wait_for_are_bounded(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    with FalseUpstream() as upstream:
        cached = upstream.new_name()
        daemon = start_fastdns(upstream=[upstream])
        ask(daemon, cached)
        upstream.otherwise = silence
        with TcpClient(daemon) as greedy:
            names = [upstream.new_name() for _ in range(3 * PIPELINE_MAX)]
            greedy.sock.sendall(framed(*(make_query(name).to_wire() for name in names)))
            upstream.wait_for(names[PIPELINE_MAX - 1])
            assert data(ask(daemon, cached, tcp=True)) == ["192.0.2.1"]
            assert upstream.asked(names[PIPELINE_MAX]) == []


@pytest.fixture(autouse=True, scope="module")
def still_well(upstream: FalseUpstream, forwarder: Fastdns) -> Iterator[None]:
    """After all that was done to it here, the module's daemon answers as it did before."""
    process_ids = forwarder.process_ids()
    yield
    assert data(ask(forwarder, upstream.new_name(), tcp=True)) == ["192.0.2.1"]
    assert forwarder.process_ids() == process_ids


def test_client_that_never_stops_asking_leaves_others_their_turn(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    name = upstream.new_name()
    ask(forwarder, name)
    burst = framed(make_query(name).to_wire()) * 500
    stop = threading.Event()

    def send(connection: socket.socket) -> None:
        with suppress(OSError):
            while not stop.is_set():
                connection.sendall(burst)

    def read(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(1 << 20):
                pass

    with ExitStack() as stack:
        greedy = [stack.enter_context(connect_from("127.0.0.1", forwarder)) for _ in range(2)]
        threads = [
            threading.Thread(target=work, args=(one,)) for one in greedy for work in (send, read)
        ]
        for thread in threads:
            thread.start()
        try:
            seconds = [timed(forwarder, name) for _ in range(30)]
        finally:
            stop.set()
            for connection in greedy:
                connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
    assert sum(seconds) < 3  # 0.4; 5 when reading never lets others run


def timed(daemon: Fastdns, name: str) -> float:
    start = time.monotonic()
    assert data(ask(daemon, name)) == ["192.0.2.1"]
    return time.monotonic() - start
