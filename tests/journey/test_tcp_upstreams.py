"""Upstreams over TCP: kept and pipelined connections, truncated answers, peers that do it wrong."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from .support.client import ask, data, extended_errors, make_query, read_answer, udp_socket
from .support.daemon import Fastdns
from .support.false_upstream import Asked, FalseUpstream, answer_a, silence
from .support.ports import free_port

BIG = ["@ 300 IN TXT " + " ".join(f'"{number:03}{"x" * 200}"' for number in range(20))]


def over_tcp(server: FalseUpstream) -> str:
    return f"tcp://{server.host}:{server.port}"


def connections(upstream: FalseUpstream, *names: str) -> set[tuple]:
    """The client ends of the TCP connections that the queries for these names came over."""
    return {asked.client for name in names for asked in upstream.asked(name) if asked.tcp}


def truncate(asked: Asked) -> None:
    """Over UDP no more than TC=1, over TCP a large answer: what every authority does with one."""
    if asked.tcp:
        asked.answer(*BIG)
    else:
        asked.answer(flags=dns.flags.TC)


@pytest.fixture(scope="module")
def tcp_forwarder(
    tmp_path_factory: pytest.TempPathFactory, upstream: FalseUpstream
) -> Iterator[Fastdns]:
    """The module's fastdns that asks the false upstream over TCP alone."""
    place = tmp_path_factory.mktemp("tcp-forwarder")
    with Fastdns(place, upstream=[over_tcp(upstream)]) as daemon:
        yield daemon


def test_tcp_upstream_is_asked_over_tcp(upstream: FalseUpstream, tcp_forwarder: Fastdns) -> None:
    name = upstream.new_name()
    assert data(ask(tcp_forwarder, name)) == ["192.0.2.1"]
    assert [asked.tcp for asked in upstream.asked(name)] == [True]


def test_queries_to_a_tcp_upstream_are_pipelined_on_one_connection(
    upstream: FalseUpstream, tcp_forwarder: Fastdns
) -> None:
    all_came = threading.Event()
    names = [
        upstream.new_name(lambda asked: all_came.wait(8) and answer_a(asked)) for _ in range(20)
    ]
    queries = [make_query(name) for name in names]
    with udp_socket(tcp_forwarder) as client:
        for query in queries:
            client.send(query.to_wire())
        for name in names:
            upstream.wait_for(name)
        all_came.set()
        answered = {dns.message.from_wire(client.recv(4096)).id for _ in names}
    assert answered == {query.id for query in queries}
    assert [len(upstream.asked(name)) for name in names] == [1] * len(names)
    assert len(connections(upstream, *names)) == 1


def test_answers_of_a_tcp_upstream_may_come_in_any_order(
    upstream: FalseUpstream, tcp_forwarder: Fastdns
) -> None:
    second_answered = threading.Event()
    first = upstream.new_name(lambda asked: second_answered.wait(8) and answer_a(asked))
    second = upstream.new_name(lambda asked: asked.answer("@ 300 IN A 192.0.2.2"))
    query = make_query(first).to_wire()
    with udp_socket(tcp_forwarder) as client:
        client.send(query)
        upstream.wait_for(first)
        assert data(ask(tcp_forwarder, second)) == ["192.0.2.2"]
        second_answered.set()
        assert data(read_answer(query, client.recv(4096))) == ["192.0.2.1"]
    assert len(connections(upstream, first, second)) == 1


def test_upstream_that_closed_an_idle_connection_is_asked_over_a_new_one(
    upstream: FalseUpstream, tcp_forwarder: Fastdns
) -> None:
    before, after = upstream.new_name(), upstream.new_name()
    ask(tcp_forwarder, before)
    upstream.close_connections()
    start = time.monotonic()
    assert data(ask(tcp_forwarder, after)) == ["192.0.2.1"]
    assert time.monotonic() - start < 1.4
    assert len(connections(upstream, before, after)) == 2


def test_upstream_that_hangs_up_on_a_query_is_asked_again(
    upstream: FalseUpstream, tcp_forwarder: Fastdns
) -> None:
    def hang_up_once(asked: Asked) -> None:
        if len(upstream.asked(name)) == 1:
            asked.close()
        else:
            answer_a(asked)

    name = upstream.new_name()
    upstream.on(name, hang_up_once)
    start = time.monotonic()
    assert data(ask(tcp_forwarder, name)) == ["192.0.2.1"]
    assert time.monotonic() - start < 1.4


def test_truncated_udp_answer_is_asked_again_over_tcp_and_cached_whole(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    name = upstream.new_name(truncate)
    for _ in range(2):
        answer = ask(forwarder, name, "TXT", tcp=True)
        assert not answer.flags & dns.flags.TC
        assert len(answer.answer[0][0].strings) == 20
    over_udp = ask(forwarder, name, "TXT")
    assert over_udp.flags & dns.flags.TC
    assert [asked.tcp for asked in upstream.asked(name)] == [False, True]


def test_client_over_udp_hears_that_an_answer_got_over_tcp_is_too_large(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    name = upstream.new_name(truncate)
    answer = ask(forwarder, name, "TXT")
    assert answer.flags & dns.flags.TC
    assert answer.rcode() == dns.rcode.NOERROR
    assert len(answer.question) == 1


def test_truncated_answers_share_one_connection(
    upstream: FalseUpstream, forwarder: Fastdns
) -> None:
    names = [upstream.new_name(truncate) for _ in range(5)]
    for name in names:
        ask(forwarder, name, "TXT", tcp=True)
    assert len(connections(upstream, *names)) == 1


def test_truncated_answer_without_tcp_behind_it_is_an_error_in_time(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    def refuse_tcp(asked: Asked) -> None:
        asked.close() if asked.tcp else asked.answer(flags=dns.flags.TC)

    with FalseUpstream(refuse_tcp) as server:
        daemon = start_fastdns(upstream=[server])
        start = time.monotonic()
        assert ask(daemon, server.new_name(), "TXT").rcode() == dns.rcode.SERVFAIL
        assert time.monotonic() - start < 4


def garbage_frame(asked: Asked) -> None:
    asked.send(b"\xff" * 40)
    asked.send(b"")
    asked.send(b"\0")
    answer_a(asked)


def wrong_id_first(asked: Asked) -> None:
    wrong = asked.response("@ 300 IN A 203.0.113.66")
    wrong.id ^= 0x5555
    asked.send(wrong.to_wire())
    answer_a(asked)


def other_question_first(asked: Asked) -> None:
    wrong = dns.message.make_response(dns.message.make_query("evil.example.", "A"))
    wrong.id = asked.message.id
    asked.send(wrong.to_wire())
    answer_a(asked)


@pytest.mark.parametrize("behaviour", [garbage_frame, wrong_id_first, other_question_first])
def test_what_a_tcp_upstream_sends_before_the_true_answer_does_not_count(
    upstream: FalseUpstream, tcp_forwarder: Fastdns, behaviour: Callable[[Asked], None]
) -> None:
    name = upstream.new_name(behaviour)
    assert data(ask(tcp_forwarder, name)) == ["192.0.2.1"]


class RawUpstream:
    """A TCP server whose connections go, octet by octet, as `script(connection, number)` says."""

    def __init__(self, script: Callable[[socket.socket, int], None]) -> None:
        self.script = script
        self.host = "127.0.0.1"
        self.accepted: list[socket.socket] = []

    def __enter__(self) -> RawUpstream:
        self.listener = socket.create_server((self.host, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted.append(connection)
            arguments = (connection, len(self.accepted))
            threading.Thread(target=self._serve, args=arguments, daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            self.script(connection, number)

    def __exit__(self, *_: object) -> None:
        for sock in (self.listener, *self.accepted):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def read_frame(connection: socket.socket) -> bytes:
    length = connection.recv(2, socket.MSG_WAITALL)
    if len(length) < 2:
        raise ConnectionError("the daemon has closed the connection")
    return connection.recv(struct.unpack("!H", length)[0], socket.MSG_WAITALL)


def framed_answer(query: bytes) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(query))
    response.answer.append(
        dns.rrset.from_text(response.question[0].name, 300, "IN", "A", "192.0.2.1")
    )
    wire = response.to_wire()
    return struct.pack("!H", len(wire)) + wire


def close_first_mid_frame(connection: socket.socket, number: int) -> None:
    while True:
        frame = framed_answer(read_frame(connection))
        if number == 1:
            connection.sendall(frame[: len(frame) // 2])
            connection.close()
            return
        connection.sendall(frame)


def octet_by_octet(connection: socket.socket, _: int) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        for octet in framed_answer(read_frame(connection)):
            connection.sendall(bytes([octet]))


@pytest.mark.parametrize("script", [close_first_mid_frame, octet_by_octet])
def test_answer_in_pieces_is_put_together_and_a_broken_one_asked_again(
    start_fastdns: Callable[..., Fastdns], script: Callable[[socket.socket, int], None]
) -> None:
    with RawUpstream(script) as server:
        daemon = start_fastdns(upstream=[f"tcp://127.0.0.1:{server.port}"])
        start = time.monotonic()
        assert data(ask(daemon, "first.false.demo")) == ["192.0.2.1"]
        assert data(ask(daemon, "second.false.demo")) == ["192.0.2.1"]
        assert time.monotonic() - start < 1.4


def test_tcp_upstream_that_accepts_and_never_answers_counts_as_dead(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    with FalseUpstream(silence) as mute, FalseUpstream() as good:
        daemon = start_fastdns(upstream=[over_tcp(mute), over_tcp(good)])
        worst = 0.0
        for _ in range(10):
            start = time.monotonic()
            assert data(ask(daemon, good.new_name())) == ["192.0.2.1"]
            worst = max(worst, time.monotonic() - start)
        assert worst < 1.4
        found_out = len(mute.queries)
        for _ in range(10):
            ask(daemon, good.new_name())
        assert len(mute.queries) <= found_out + 2


@pytest.mark.parametrize("port_is", ["silent", "closed"])
def test_dead_tcp_upstream_alone_is_an_error_in_time(
    start_fastdns: Callable[..., Fastdns], port_is: str
) -> None:
    with FalseUpstream(silence) as mute:
        port = mute.port if port_is == "silent" else free_port()
        daemon = start_fastdns(upstream=[f"tcp://127.0.0.1:{port}"])
        start = time.monotonic()
        answer = ask(daemon, "dead.false.demo")
        assert time.monotonic() - start < 4
    assert answer.rcode() == dns.rcode.SERVFAIL
    assert extended_errors(answer) in ([22], [23])


def test_upstream_that_restarts_over_and_over_is_found_again_each_time(
    upstream: FalseUpstream, tcp_forwarder: Fastdns
) -> None:
    for _ in range(10):
        assert data(ask(tcp_forwarder, upstream.new_name())) == ["192.0.2.1"]
        upstream.close_connections()


def test_tcp_upstream_over_ipv6(tmp_path: Path) -> None:
    with (
        FalseUpstream(host="::1") as server,
        Fastdns(tmp_path, upstream=[f"tcp://[::1]:{server.port}"]) as daemon,
    ):
        assert data(ask(daemon, server.new_name())) == ["192.0.2.1"]


def silent_for_one(connection: socket.socket, _: int) -> None:
    while True:
        query = read_frame(connection)
        if b"\x06silent" not in query:
            connection.sendall(framed_answer(query))


def test_name_that_is_never_answered_does_not_cost_the_others_their_connection(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    with RawUpstream(silent_for_one) as server:
        daemon = start_fastdns(upstream=[f"tcp://{server.host}:{server.port}"])
        with udp_socket(daemon) as client:
            client.send(make_query("silent.false.demo").to_wire())
            for number in range(200):
                assert data(ask(daemon, f"n{number}.false.demo")) == ["192.0.2.1"]
                client.settimeout(0.03)
                with contextlib.suppress(TimeoutError):
                    client.recv(4096)
                    break
            else:
                pytest.fail("the silent name should have become SERVFAIL")
        assert len(server.accepted) == 1


def one_a_connection(connection: socket.socket, _: int) -> None:
    connection.sendall(framed_answer(read_frame(connection)))
    connection.close()


def three_a_connection(connection: socket.socket, _: int) -> None:
    for _ in range(3):
        connection.sendall(framed_answer(read_frame(connection)))
    connection.close()


def one_and_reset(connection: socket.socket, _: int) -> None:
    connection.sendall(framed_answer(read_frame(connection)))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.005)  # what is not on its way yet would be lost with the reset
    connection.close()


@pytest.mark.parametrize("script", [one_a_connection, three_a_connection, one_and_reset])
def test_all_questions_are_answered_by_who_closes_after_some_answers(
    start_fastdns: Callable[..., Fastdns], script: Callable[[socket.socket, int], None]
) -> None:
    with RawUpstream(script) as server:
        daemon = start_fastdns(upstream=[f"tcp://{server.host}:{server.port}"])
        for round_ in range(2):
            with udp_socket(daemon) as client:
                for number in range(20):
                    client.send(make_query(f"r{round_}n{number}.false.demo").to_wire())
                rcodes = [dns.message.from_wire(client.recv(4096)).rcode() for _ in range(20)]
            assert rcodes == [dns.rcode.NOERROR] * 20


def test_server_that_closes_without_an_answer_is_not_asked_for_ever(
    start_fastdns: Callable[..., Fastdns],
) -> None:
    def hang_up(connection: socket.socket, _: int) -> None:
        read_frame(connection)
        connection.close()

    with RawUpstream(hang_up) as server:
        daemon = start_fastdns(upstream=[f"tcp://{server.host}:{server.port}"])
        answer = ask(daemon, "n.false.demo")
        assert answer.rcode() == dns.rcode.SERVFAIL
        assert len(server.accepted) <= 6
