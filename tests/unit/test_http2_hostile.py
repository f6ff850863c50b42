"""Clients of HTTP/2 that break the protocol, or use it to take more than their share."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import pytest
from http2_frames import (
    CALM,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAGIC,
    MESSAGE,
    NO_ERROR,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Connection,
    ask,
    frame,
    get,
    literal,
    post,
)

from fastdns._http2 import Http2Server

PATIENCE = 100
PER_SECOND = 20


def u32(number: int) -> bytes:
    return number.to_bytes(4)


@pytest.fixture
def connection() -> Connection:
    return Connection.opened()


def reset(number: int) -> bytes:
    stream = 2 * number + 1
    return ask(stream) + frame(RST_STREAM, 0, stream, u32(CANCEL))


FLOODS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": reset,
    "resets that the client brings about": lambda n: frame(
        HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, post(5)
    ),
    "PING": lambda n: frame(PING, payload=bytes(8)),
    "SETTINGS": lambda n: frame(SETTINGS),
    "PRIORITY": lambda n: frame(PRIORITY, 0, 2 * n + 1, u32(0) + b"\x10"),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_frames_ends_the_connection(
    connection: Connection, flood: Callable[[int], bytes]
) -> None:
    for number in range(PATIENCE - 10):
        connection.feed(flood(number))
    assert not connection.is_ended

    for number in range(PATIENCE - 10, PATIENCE + 10):
        connection.feed(flood(number))

    assert connection.is_ended
    assert [sent.error for sent in connection.of(GOAWAY)] == [CALM]
    assert connection.requests() == []


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_the_same_frames_at_their_time_are_welcome(
    connection: Connection, flood: Callable[[int], bytes]
) -> None:
    for number in range(3 * PATIENCE):
        connection.feed(flood(number), after=1.02 / PER_SECOND)

    assert not connection.is_ended
    connection.feed(ask(2 * 3 * PATIENCE + 1))
    assert connection.answer() >= 1


def test_a_hundred_thousand_resets_cost_as_much_as_a_few(connection: Connection) -> None:
    template = reset(0)
    ends = [9 - 4, len(template) - 8]  # of both numbers of the stream
    octets = b"".join(
        template[: ends[0]]
        + u32(2 * number + 1)
        + template[ends[0] + 4 : ends[1]]
        + u32(2 * number + 1)
        + template[-4:]
        for number in range(100_000)
    )
    assert octets.startswith(reset(0) + reset(1))
    before = time.process_time()
    for at in range(0, len(octets), 16384):
        connection.feed(octets[at : at + 16384])

    assert time.process_time() - before < 0.5
    assert connection.is_ended
    assert connection.server.open <= 1
    assert connection.requests() == []


def test_empty_data_frames_end_the_connection(connection: Connection) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post()))
    for _ in range(PATIENCE // 2 - 1):
        connection.feed(frame(DATA, 0, 1))
        connection.feed(frame(DATA, PADDED, 1, b"\2\0\0"))  # only padding
    assert not connection.is_ended

    connection.feed(frame(DATA, 0, 1) * 5)

    assert connection.is_ended
    assert connection.of(GOAWAY)[0].error == CALM


def test_a_header_block_without_end_ends_the_connection(connection: Connection) -> None:
    connection.feed(frame(HEADERS, END_STREAM, 1, get()))
    count = 0
    while not connection.is_ended and count < 10_000:
        connection.feed(frame(CONTINUATION, 0, 1, literal(b"a", b"b")))
        count += 1

    assert count <= PATIENCE
    assert connection.of(GOAWAY)[0].error == CALM


def test_more_headers_than_16_kib_are_refused_and_the_next_request_is_answered(
    connection: Connection,
) -> None:
    many = literal(b"cookie", b"c" * 4000) * 4
    connection.feed(frame(HEADERS, END_STREAM, 1, get() + many))
    connection.feed(frame(CONTINUATION, END_HEADERS, 1, many))
    connection.feed(ask(3))

    assert connection.requests() == [(1, 431), (3, 0)]


def test_a_header_block_that_unpacks_to_megabytes_ends_the_connection(
    connection: Connection,
) -> None:
    # The first puts 4,000 octets into the table, each octet after it stands for them again.
    bomb = get() + b"\x40" + literal(b"cookie", b"c" * 4000)[1:] + b"\xbe" * 12_000
    before = time.process_time()
    connection.feed(frame(HEADERS, END_STREAM | END_HEADERS, 1, bomb))

    assert time.process_time() - before < 0.005  # 0.023 s if it is read to its end
    assert connection.is_ended
    assert connection.of(GOAWAY)[0].error == CALM


def test_trailers_count_as_headers(connection: Connection) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post()) + frame(DATA, 0, 1, MESSAGE))
    many = literal(b"a", b"b" * 16_200)
    connection.feed(frame(HEADERS, END_STREAM | END_HEADERS, 1, many))
    connection.feed(frame(HEADERS, END_HEADERS, 3, post()) + frame(DATA, 0, 3, MESSAGE))
    connection.feed(frame(HEADERS, END_STREAM | END_HEADERS, 3, literal(b"a", b"b")))

    assert connection.requests() == [(1, 431), (3, 0)]


def test_a_trailer_is_no_header(connection: Connection) -> None:
    seen = literal(b"x-forwarded-for", b"192.0.2.1")
    forged = literal(b"x-forwarded-for", b"203.0.113.1") + literal(b"content-type", b"text/plain")
    connection.feed(frame(HEADERS, END_HEADERS, 1, post(more=seen)) + frame(DATA, 0, 1, MESSAGE))
    connection.feed(frame(HEADERS, END_STREAM | END_HEADERS, 1, forged))

    assert connection.server.next() == (1, 0, MESSAGE, "", "192.0.2.1")


def test_a_body_without_end_is_answered_before_it_ends(connection: Connection) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post()))
    for _ in range(5):
        connection.feed(frame(DATA, 0, 1, b"x" * 16_000))

    assert connection.requests() == [(1, 413)]
    connection.server.respond(1, status=413)
    connection.drain()
    assert connection.body(1)
    assert [sent.error for sent in connection.of(RST_STREAM)] == [NO_ERROR]
    assert connection.server.open == 0


@pytest.mark.parametrize(
    ("problem", "block"),
    [(0, get()), (404, post(path=b"/")), (415, post()[:-24] + b"\x17text/plain, or the like")],
    ids=["GET", "404", "415"],
)
def test_a_body_that_nobody_wants_is_answered_before_it_ends(
    connection: Connection, problem: int, block: bytes
) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, block))
    for _ in range(4):
        connection.feed(frame(DATA, 0, 1, b"x" * 16_000))
        assert connection.requests() == []
    connection.feed(frame(DATA, 0, 1, b"x" * 16_000))

    assert connection.requests() == [(1, problem)]


def test_a_content_length_that_is_too_great_is_refused_before_the_body(
    connection: Connection,
) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post(65_536)))
    connection.feed(frame(HEADERS, END_HEADERS, 3, post(10**18)))

    assert connection.requests() == [(1, 413), (3, 413)]


@pytest.mark.parametrize("said", [len(MESSAGE) - 1, len(MESSAGE) + 1, 0])
def test_a_content_length_that_lies_resets_the_stream(connection: Connection, said: int) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post(said)))
    connection.feed(frame(DATA, END_STREAM, 1, MESSAGE))

    assert connection.requests() == []
    assert [(sent.stream, sent.error) for sent in connection.of(RST_STREAM)] == [
        (1, PROTOCOL_ERROR)
    ]
    assert connection.server.open == 0


def test_padding_is_no_part_of_a_message(connection: Connection) -> None:
    padded = b"\5" + post() + bytes(5)
    connection.feed(frame(HEADERS, END_HEADERS | PADDED, 1, padded))
    connection.feed(frame(DATA, END_STREAM | PADDED, 1, b"\xc8" + MESSAGE + bytes(200)))

    request = connection.server.next()
    assert request is not None
    assert request[:3] == (1, 0, MESSAGE)


def test_padding_longer_than_the_frame_ends_the_connection(connection: Connection) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post()))
    connection.feed(frame(DATA, PADDED, 1, b"\xff" + bytes(10)))

    assert connection.is_ended
    assert connection.of(GOAWAY)[0].error == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\0\x1d" + MESSAGE,
        b"\x16\x03\x01" + bytes(100),
        MAGIC + frame(HEADERS, END_HEADERS, 1, get()),  # SETTINGS must be first
        MAGIC + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 2, get()),
        MAGIC + frame(SETTINGS) + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff"),
        MAGIC + frame(SETTINGS) + frame(DATA, 0, 1, b"x"),
        MAGIC + frame(SETTINGS) + frame(DATA, 0, 0, b"x"),
        MAGIC + frame(SETTINGS) + frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)) * 2,
        MAGIC + frame(SETTINGS) + b"\xff\xff\xff" + bytes([DATA, 0, 0, 0, 0, 1]),
        MAGIC + frame(SETTINGS) + frame(HEADERS, 0, 1, get()) + ask(3),
    ],
    ids=[
        "HTTP/1.1",
        "plain DNS",
        "TLS",
        "no SETTINGS",
        "even stream",
        "HPACK",
        "no stream",
        "DATA of all",
        "window",
        "length",
        "other frame in a header block",
    ],
)
def test_what_is_not_http2_ends_the_connection_with_a_word(octets: bytes) -> None:
    connection = Connection(Http2Server(), [])
    connection.feed(octets)

    assert connection.is_ended
    assert len(connection.of(GOAWAY)) == 1
    assert connection.requests() == []


@pytest.mark.parametrize(
    "block",
    [
        b"\x82\x87",  # no path
        get() + literal(b"Upper", b"x"),
        get() + literal(b":path", b"/twice"),
        get() + literal(b"connection", b"close"),
        literal(b"a", b"b") + get(),
        post(more=literal(b"content-length", b"-1")),
        post(more=literal(b"content-length", b"9" * 30)),
    ],
)
def test_a_malformed_request_resets_its_stream_only(connection: Connection, block: bytes) -> None:
    connection.feed(frame(HEADERS, END_STREAM | END_HEADERS, 1, block))
    connection.feed(ask(3))

    assert connection.requests() == [(3, 0)]
    assert [sent.stream for sent in connection.of(RST_STREAM)] == [1]


def test_streams_above_the_limit_are_refused(connection: Connection) -> None:
    for number in range(100):
        connection.feed(ask(2 * number + 1))
    assert len(connection.requests()) == connection.server.open == 100

    connection.feed(ask(201))

    assert connection.server.open <= 100
    assert connection.of(RST_STREAM) or connection.is_ended


def test_a_client_that_does_not_know_the_limit_yet_may_ask_again() -> None:
    connection = Connection(Http2Server(), [])
    connection.feed(MAGIC + frame(SETTINGS) + b"".join(ask(2 * n + 1) for n in range(110)))

    assert len(connection.requests()) == 100
    assert {sent.error for sent in connection.of(RST_STREAM)} == {REFUSED_STREAM}
    assert not connection.is_ended


def test_requests_whose_streams_end_are_not_asked_for_and_their_answers_go_nowhere(
    connection: Connection,
) -> None:
    connection.feed(ask(1) + ask(3) + ask(5))
    assert connection.requests() == [(1, 0), (3, 0), (5, 0)]
    connection.feed(ask(7) + ask(9))
    for stream in (1, 3, 7):
        connection.feed(frame(RST_STREAM, 0, stream, u32(CANCEL)))
    assert connection.requests() == [(9, 0)]

    for stream in (1, 3, 5, 7, 9, 11, 2, 0, -1):
        connection.server.respond(stream, b"an answer to %d" % stream)
        connection.server.respond(stream, b"another answer")
    connection.drain()

    assert [stream for stream in range(12) if connection.body(stream)] == [5, 9]
    assert connection.body(9) == b"an answer to 9"
    assert connection.server.open == 0
    assert connection.server.unsent == 0


def test_a_stream_that_ends_while_its_answer_waits_gives_the_memory_back(
    connection: Connection,
) -> None:
    connection.feed(ask(1) + ask(3))
    connection.requests()
    connection.server.respond(1, b"x" * 60_000)
    connection.server.respond(3, b"x" * 60_000)
    connection.feed(frame(RST_STREAM, 0, 1, u32(CANCEL)))

    assert len(connection.body(3)) + len(connection.body(1)) <= 65_535
    connection.feed(frame(RST_STREAM, 0, 3, u32(CANCEL)))
    assert connection.server.unsent == 0
    assert connection.server.open == 0


def test_a_window_of_0_holds_answers_back_until_it_opens() -> None:
    connection = Connection.opened(settings=b"\0\4" + u32(0))
    connection.feed(ask(1) + ask(3))
    connection.answer(b"x" * 300)
    assert connection.body(1) == connection.body(3) == b""
    assert connection.server.unsent == 600

    connection.feed(frame(WINDOW_UPDATE, 0, 3, u32(1000)))
    assert connection.body(3) == b"x" * 300
    assert connection.server.unsent == 300

    connection.feed(frame(SETTINGS, payload=b"\0\4" + u32(100)))
    assert connection.body(1) == b"x" * 100
    connection.feed(frame(SETTINGS, payload=b"\0\4" + u32(400)))
    assert connection.body(1) == b"x" * 300
    assert connection.server.open == 0


def test_a_client_that_reads_nothing_holds_256_kib_at_most() -> None:
    connection = Connection.opened(settings=b"\0\4" + u32(0))
    for number in range(100):
        connection.feed(ask(2 * number + 1))
        connection.answer(b"x" * 60_000)

    assert connection.server.unsent <= 256 * 1024
    assert connection.server.open <= 4
    assert {sent.error for sent in connection.of(RST_STREAM)} == {CALM}


def test_a_client_that_finishes_no_body_holds_256_kib_at_most(connection: Connection) -> None:
    for number in range(100):
        stream = 2 * number + 1
        connection.feed(frame(HEADERS, END_HEADERS, stream, post()))
        connection.feed(frame(DATA, 0, stream, b"x" * 16_000))

    refused = {sent.stream for sent in connection.of(RST_STREAM)}
    assert {sent.error for sent in connection.of(RST_STREAM)} == {REFUSED_STREAM}
    assert 100 - len(refused) <= 16
    # Those that were not refused can still be finished.
    kept = next(n for n in range(1, 200, 2) if n not in refused)
    connection.feed(frame(DATA, END_STREAM, kept, b"y"))
    assert connection.requests() == [(kept, 0)]


def test_bodies_that_grow_by_little_hold_256_kib_at_most(connection: Connection) -> None:
    streams = range(1, 41, 2)
    for stream in streams:
        connection.feed(frame(HEADERS, END_HEADERS, stream, post()))
    for _ in range(50):
        connection.feed(b"".join(frame(DATA, 0, stream, b"x" * 1100) for stream in streams))

    refused = {sent.stream for sent in connection.of(RST_STREAM)}
    assert (len(streams) - len(refused)) * 55_000 <= 256 * 1024
    kept = next(stream for stream in streams if stream not in refused)
    connection.feed(frame(DATA, END_STREAM, kept, b"y"))
    assert connection.requests() == [(kept, 0)]


def test_the_time_of_a_request_counts_from_its_first_frame(connection: Connection) -> None:
    connection.feed(frame(HEADERS, END_HEADERS, 1, post()))
    began = connection.now
    connection.feed(frame(HEADERS, 0, 3, post()), after=1.5)
    assert connection.server.partial_since == pytest.approx(began)

    connection.feed(frame(CONTINUATION, END_HEADERS, 3, literal(b"a", b"b")), after=1.0)
    connection.feed(frame(DATA, END_STREAM, 1, MESSAGE))
    assert connection.server.partial_since == pytest.approx(began + 1.5)

    connection.feed(frame(DATA, END_STREAM, 3, MESSAGE))
    assert connection.server.partial_since == 0
    assert connection.requests() == [(1, 0), (3, 0)]


def test_any_cut_of_a_story_reads_the_same() -> None:
    story = MAGIC + frame(SETTINGS) + ask(1)
    story += frame(HEADERS, 0, 3, post()) + frame(CONTINUATION, END_HEADERS, 3, literal(b"a", b"b"))
    story += frame(DATA, PADDED, 3, b"\2" + MESSAGE[:9] + bytes(2))
    story += frame(DATA, END_STREAM, 3, MESSAGE[9:])
    for size in (2, 3, 7, 50):  # nghttp2 counts each octet of a CONTINUATION that comes alone
        server = Http2Server()
        for at in range(0, len(story), size):
            assert server.feed(story[at : at + size])
        requests = [server.next(), server.next()]
        assert [request and request[:3] for request in requests] == [
            (1, 0, MESSAGE),
            (3, 0, MESSAGE),
        ]


def test_connections_that_end_in_the_middle_leave_no_memory_behind() -> None:
    def live_and_die() -> None:
        connection = Connection.opened(settings=b"\0\4" + u32(0))
        more = literal(b"x-forwarded-for", b"192.0.2.1")
        connection.feed(frame(HEADERS, END_HEADERS, 1, post(more=more)))
        connection.feed(frame(DATA, 0, 1, b"x" * 16_000))
        connection.feed(ask(3) + ask(5) + ask(7))
        connection.server.next()
        connection.server.respond(3, b"x" * 60_000)
        connection.drain()
        connection.server.next()
        connection.feed(frame(HEADERS, 0, 9, get()))

    for _ in range(200):
        live_and_die()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2000):
        live_and_die()

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB
