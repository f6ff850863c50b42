"""DNS over HTTP/2, as another implementation of the protocol sees it (h2)."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from http2_frames import CONTINUATION, DATA, GOAWAY, HEADERS, Connection, ask

from fastdns._http2 import Http2Server

MESSAGE = b"\0\0\1\0\0\1\0\0\0\0\0\0\4name\4demo\0\0\1\0\1"
CODED = urlsafe_b64encode(MESSAGE).rstrip(b"=").decode()
FORM = "application/dns-message"


class Client:
    """A client with a connection to a server; what it sends is there at once."""

    def __init__(self) -> None:
        self.server = Http2Server()
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.exchange()

    def exchange(self) -> None:
        """Let both sides say what they have to say."""
        while octets := self.h2.data_to_send():
            assert self.server.feed(octets)
            more = True
            while more:
                octets, more = self.server.drain()
                self.events += self.h2.receive_data(octets)

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", "dns.demo")]
        fields += [(":path", path), *((key.replace("_", "-"), headers[key]) for key in headers)]
        self.h2.send_headers(stream, fields, end_stream=not body)
        for at in range(0, len(body), 16384):
            self.h2.send_data(stream, body[at : at + 16384], end_stream=at + 16384 >= len(body))
            self.exchange()
        self.exchange()
        return stream

    def receive(self) -> None:
        more = True
        while more:
            octets, more = self.server.drain()
            self.events += self.h2.receive_data(octets)
        self.exchange()

    def headers(self, stream: int) -> dict[str, str]:
        (response,) = [
            event
            for event in self.events
            if isinstance(event, ResponseReceived) and event.stream_id == stream
        ]
        return dict(response.headers)

    def body(self, stream: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == stream
        )

    def has_ended(self, stream: int) -> bool:
        return any(isinstance(e, StreamEnded) and e.stream_id == stream for e in self.events)


@pytest.fixture
def client() -> Client:
    return Client()


def test_the_server_says_what_it_takes(client: Client) -> None:
    (said,) = [event for event in client.events if isinstance(event, RemoteSettingsChanged)]

    values = {int(code): change.new_value for code, change in said.changed_settings.items()}
    assert values == {3: 100, 6: 16384, 9: 1}  # streams, header list, no RFC 7540 priorities


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_query_is_answered(client: Client, method: str) -> None:
    if method == "GET":
        stream = client.send("GET", f"/dns-query?dns={CODED}", accept=FORM)
    else:
        stream = client.send("POST", "/dns-query", MESSAGE, content_type=FORM)
    assert client.server.next() == (stream, 0, MESSAGE, "", "")
    assert client.server.next() is None

    client.server.respond(stream, b"an answer", max_age=300)
    client.receive()

    assert client.headers(stream) == {
        ":status": "200",
        "content-type": FORM,
        "content-length": "9",
        "cache-control": "max-age=300",
    }
    assert client.body(stream) == b"an answer"
    assert client.has_ended(stream)
    assert client.server.open == 0
    assert not client.server.is_over


def test_an_answer_without_a_lifetime_has_no_cache_control(client: Client) -> None:
    stream = client.send("GET", f"/dns-query?dns={CODED}")
    client.server.next()
    client.server.respond(stream, b"an answer")
    client.receive()

    assert "cache-control" not in client.headers(stream)


@pytest.mark.parametrize("length", [12, 511, 512, 513, 1025, 16384, 40000, 65535])
def test_messages_and_answers_of_any_length_are_whole(client: Client, length: int) -> None:
    message = bytes(range(256)) * 256
    stream = client.send("POST", "/dns-query", message[:length], content_type=FORM)

    request = client.server.next()
    assert request is not None
    assert request[:3] == (stream, 0, message[:length])
    client.server.respond(stream, message[-length:])
    client.receive()
    assert client.body(stream) == message[-length:]


def test_an_answer_may_be_a_part_of_the_query_itself(client: Client) -> None:
    stream = client.send("POST", "/dns-query", MESSAGE, content_type=FORM)
    client.server.next()
    client.server.respond(stream, MESSAGE)
    client.receive()

    assert client.body(stream) == MESSAGE


def test_answers_come_in_any_order_and_each_ends_a_portion() -> None:
    connection = Connection.opened()
    connection.feed(ask(1) + ask(3) + ask(5))
    connection.requests()
    for stream in (5, 1, 3):
        connection.server.respond(stream, b"an answer to %d" % stream)

    portions = connection.drain()

    kinds = [[(sent.kind, sent.stream) for sent in portion] for portion in portions if portion]
    assert kinds == [[(HEADERS, n), (DATA, n)] for n in (5, 1, 3)]
    assert connection.body(5) == b"an answer to 5"


def test_the_path_names_the_client_and_a_proxy_whom_it_asks_for(client: Client) -> None:
    client.send(
        "POST",
        "/dns-query/kids",
        MESSAGE,
        content_type=FORM,
        x_forwarded_for="192.0.2.7, 192.0.2.1",
    )
    client.send("GET", f"/dns-query/kids-2?dns={CODED}")

    assert client.server.next() == (1, 0, MESSAGE, "kids", "192.0.2.7, 192.0.2.1")
    assert client.server.next() == (3, 0, MESSAGE, "kids-2", "")


@pytest.mark.parametrize(
    ("status", "method", "path", "body", "headers"),
    [
        (400, "GET", "/dns-query", b"", {}),
        (400, "GET", "/dns-query?dns=AAA*", b"", {}),
        (400, "GET", "/dns-query?dns=AAAA", b"", {}),
        (400, "POST", "/dns-query", b"short", {"content_type": FORM}),
        (400, "POST", "/dns-query", b"", {"content_type": FORM}),
        (404, "GET", "/", b"", {}),
        (404, "PUT", "/dns-queries", b"x", {}),
        (405, "PUT", "/dns-query", MESSAGE, {"content_type": FORM}),
        (405, "HEAD", f"/dns-query?dns={CODED}", b"", {}),
        (405, "OPTIONS", "/dns-query", b"", {}),
        (413, "POST", "/dns-query", b"", {"content_type": FORM, "content_length": "65536"}),
        (415, "POST", "/dns-query", MESSAGE, {}),
        (415, "POST", f"/dns-query?dns={CODED}", MESSAGE, {"content_type": "text/plain"}),
        (431, "GET", f"/dns-query?dns={CODED}", b"", {f"x{n}": "a" * 1000 for n in range(17)}),
    ],
)
def test_a_wrong_request_gets_its_status_and_a_text(  # noqa: PLR0917
    client: Client, status: int, method: str, path: str, body: bytes, headers: dict[str, str]
) -> None:
    if status == 413:  # h2 would not end a request that lies
        fields = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, fields)
        client.exchange()
    else:
        stream = client.send(method, path, body, **headers)
    assert client.server.next() == (stream, status, b"", "", "")

    client.server.respond(stream, status=status)
    client.receive()

    response = client.headers(stream)
    assert response[":status"] == str(status)
    assert response["content-type"] == "text/plain; charset=utf-8"
    assert response.get("allow") == ("GET, POST" if status == 405 else None)
    if method == "HEAD":
        assert client.body(stream) == b""
    else:
        assert len(client.body(stream)) == int(response["content-length"]) > 10
    assert client.server.open == 0


def test_a_get_with_a_body_is_answered_by_its_path(client: Client) -> None:
    client.send("GET", f"/dns-query?dns={CODED}", b"body" * 10)

    assert client.server.next() == (1, 0, MESSAGE, "", "")


def test_the_server_may_refuse_a_query(client: Client) -> None:
    stream = client.send("GET", f"/dns-query?dns={CODED}")
    client.server.next()
    client.server.respond(stream, b"Later.\n", status=503)
    client.receive()

    assert client.headers(stream)[":status"] == "503"
    assert client.body(stream) == b"Later.\n"


def test_only_a_request_that_was_taken_can_be_answered_and_only_once(client: Client) -> None:
    stream = client.send("GET", f"/dns-query?dns={CODED}")
    client.server.respond(stream, b"too early")
    client.server.next()
    client.server.respond(stream, b"an answer")
    client.server.respond(stream, b"another answer")
    client.receive()

    assert client.body(stream) == b"an answer"


def test_after_the_notice_requests_are_answered_and_after_the_last_word_those_that_had_begun() -> (
    None
):
    connection = Connection.opened()
    connection.feed(ask(1))
    connection.server.go_away()
    connection.feed(ask(3))
    connection.server.go_away(is_last=True)
    connection.feed(ask(5))
    assert [sent.payload[:8] for sent in connection.of(GOAWAY)] == [
        b"\x7f\xff\xff\xff\0\0\0\0",
        b"\0\0\0\3\0\0\0\0",
    ]
    assert not connection.is_ended

    assert connection.answer() == 2

    assert connection.body(1) == connection.body(3) == b"an answer"
    assert connection.server.is_over


def test_a_client_that_says_goodbye_gets_its_answers_and_then_the_connection_is_over(
    client: Client,
) -> None:
    stream = client.send("GET", f"/dns-query?dns={CODED}")
    client.h2.close_connection()
    assert client.server.feed(client.h2.data_to_send())
    assert not client.server.is_over

    client.server.next()
    client.server.respond(stream, b"an answer")
    octets, more = client.server.drain()
    while more:
        _, more = client.server.drain()

    assert octets.endswith(b"an answer")
    assert client.server.is_over


def test_a_request_that_the_client_gives_up_is_not_answered(client: Client) -> None:
    first = client.send("GET", f"/dns-query?dns={CODED}")
    second = client.send("GET", f"/dns-query?dns={CODED}")
    client.h2.reset_stream(first)
    client.exchange()

    assert client.server.next() == (second, 0, MESSAGE, "", "")
    assert client.server.next() is None
    assert not [event for event in client.events if isinstance(event, StreamReset)]


def test_a_thousand_requests_use_one_connection(client: Client) -> None:
    for number in range(1000):
        stream = client.send("POST", "/dns-query", MESSAGE, content_type=FORM)
        assert client.server.next() is not None
        client.server.respond(stream, b"answer %d" % number, max_age=number)
        client.receive()
        assert client.body(stream) == b"answer %d" % number
        client.events.clear()
    assert client.server.open == 0


def test_the_headers_of_an_answer_take_few_bytes() -> None:
    connection = Connection.opened()
    for stream in range(1, 11, 2):
        connection.feed(ask(stream))
        connection.requests()
        connection.server.respond(stream, bytes(60), max_age=stream)
        connection.drain()

    blocks = [len(sent.payload) for sent in connection.of(HEADERS)]
    assert max(blocks[1:]) <= 30
    assert not connection.of(CONTINUATION)
