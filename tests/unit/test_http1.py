"""DNS over HTTPS in HTTP/1.1: what a client sends, and what it gets."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode

import pytest

from fastdns.listen.http1 import Http1, Request

MESSAGE = b"\0\0\1\0\0\1\0\0\0\0\0\0\4name\4demo\0\0\1\0\1"
IN_PATH = urlsafe_b64encode(MESSAGE).rstrip(b"=")
GET = b"GET /dns-query?dns=%s HTTP/1.1\r\nHost: dns.demo\r\n\r\n" % IN_PATH


def post(
    body: bytes = MESSAGE,
    *,
    path: bytes = b"/dns-query",
    length: int | None = None,
    more: bytes = b"",
) -> bytes:
    said = len(body) if length is None else length
    return (
        b"POST %s HTTP/1.1\r\nHost: dns.demo\r\nContent-Type: application/dns-message\r\n"
        b"Content-Length: %d\r\n%s\r\n%s" % (path, said, more, body)
    )


@pytest.fixture
def connection() -> Http1:
    return Http1(believes_forwarded=False)


def status(connection: Http1) -> int:
    """Return the status of the next response, 0 if there is none."""
    output = connection.take_output()
    return int(output.split()[1]) if output else 0


@pytest.mark.parametrize("request_octets", [GET, post()], ids=["GET", "POST"])
def test_a_query_is_read_and_its_answer_says_how_long_it_is_good(
    connection: Http1, request_octets: bytes
) -> None:
    assert connection.receive(request_octets) == [Request(MESSAGE, "", "")]

    connection.respond(b"an answer", 300)

    head, _, body = connection.take_output().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b"an answer"
    for header in (
        b"content-type: application/dns-message",
        b"content-length: 9",
        b"cache-control: max-age=300",
    ):
        assert header in head.lower().split(b"\r\n")


def test_an_answer_without_a_lifetime_has_no_cache_control(connection: Http1) -> None:
    connection.receive(GET)
    connection.respond(b"an answer", None)

    assert b"cache-control" not in connection.take_output()


def test_octets_may_come_one_by_one(connection: Http1) -> None:
    octets = post()
    for octet in octets[:-1]:
        assert connection.receive(bytes([octet])) == []
        assert connection.has_partial

    assert connection.receive(octets[-1:]) == [Request(MESSAGE, "", "")]
    assert not connection.has_partial


def test_a_pipelined_request_waits_for_the_answer_to_the_one_before(connection: Http1) -> None:
    assert len(connection.receive(GET + post())) == 1
    assert connection.is_busy
    assert connection.receive(b"") == []

    connection.respond(b"first", None)

    assert connection.receive(b"") == [Request(MESSAGE, "", "")]
    connection.respond(b"second", None)
    assert connection.take_output().count(b"HTTP/1.1 200") == 2
    assert not connection.is_closed


def test_a_client_that_does_not_wait_for_answers_is_disconnected(connection: Http1) -> None:
    connection.receive(GET)
    for _ in range(5):
        assert not connection.is_closed
        connection.receive((post() * 200)[:16384])

    assert connection.is_closed


def test_the_path_names_the_client(connection: Http1) -> None:
    (request,) = connection.receive(post(path=b"/dns-query/kids-1"))

    assert request.client == "kids-1"


def test_an_absolute_target_is_the_same_as_its_path(connection: Http1) -> None:
    (request,) = connection.receive(post(path=b"https://dns.demo/dns-query/kids"))

    assert request.client == "kids"


@pytest.mark.parametrize(
    ("believes", "seen"), [(True, "192.0.2.7, 192.0.2.1"), (False, "")], ids=["proxy", "others"]
)
def test_only_a_proxy_is_believed_who_it_asks_for(believes: bool, seen: str) -> None:
    more = b"X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 192.0.2.7, 192.0.2.1\r\n"

    (request,) = Http1(believes).receive(post(more=more))

    assert request.forwarded == seen


@pytest.mark.parametrize(
    ("wanted", "octets"),
    [
        (400, b"GET /dns-query HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /dns-query?dns=AAA* HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET /dns-query?dns=AAAA HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, post(b"too short")),
        (404, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (404, post(path=b"/dns-queries")),
        (405, b"PUT /dns-query HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        (415, post().replace(b"dns-message", b"dns-json")),
        (415, post().replace(b"Content-Type", b"Content-Kind")),
    ],
)
def test_a_wrong_request_gets_its_status_and_the_next_one_is_answered(
    connection: Http1, wanted: int, octets: bytes
) -> None:
    assert connection.receive(octets + GET) == [Request(MESSAGE, "", "")]
    assert status(connection) == wanted
    assert not connection.is_closed


def test_an_answer_405_says_what_is_allowed_and_one_to_head_has_no_body(connection: Http1) -> None:
    connection.receive(b"HEAD /dns-query HTTP/1.1\r\nHost: a\r\n\r\n")

    output = connection.take_output()
    assert b"\r\nallow: GET, POST\r\n" in output.lower().replace(b"get, post", b"GET, POST")
    assert output.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("wanted", "octets"),
    [
        (400, b"\x16\x03\x01\x02\x00\x01 not HTTP at all\r\n\r\n"),
        (400, b"GET /dns-query HTTP/1.1\r\n\r\n"),  # no Host
        (400, post(more=b"Content-Length: 1\r\n")),
        (400, post().replace(b"Content-Length: ", b"Content-Length: " + b"9" * 5000)),
        (413, post(length=65536)),
        (413, post(b"x" * 1000, length=10**12)),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"c" * 17000),
        (431, GET[:-2] + b"A: \r\n" * 600 + b"\r\n"),
    ],
    ids=[
        "TLS",
        "host",
        "two lengths",
        "digits",
        "length",
        "huge",
        "endless header",
        "many headers",
    ],
)
def test_what_cannot_be_read_to_its_end_gets_its_status_and_the_connection_closes(
    connection: Http1, wanted: int, octets: bytes
) -> None:
    assert connection.receive(octets) == []
    assert status(connection) == wanted
    assert connection.is_closed or wanted == 431


def test_a_body_without_end_is_not_kept(connection: Http1) -> None:
    connection.receive(post(b"")[:-4].replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
    connection.receive(b"\r\n\r\n")
    for _ in range(70):
        connection.receive(b"400\r\n" + b"x" * 1024 + b"\r\n")

    assert status(connection) == 413
    assert connection.is_closed


def test_a_message_of_the_greatest_length_is_read(connection: Http1) -> None:
    octets = post(b"x" * 65535)
    requests = []
    for at in range(0, len(octets), 16384):
        requests += connection.receive(octets[at : at + 16384])

    assert [len(request.message) for request in requests] == [65535]


def test_expect_100_continue_is_answered_at_once(connection: Http1) -> None:
    connection.receive(post(b"", length=len(MESSAGE), more=b"Expect: 100-continue\r\n"))

    assert connection.take_output().startswith(b"HTTP/1.1 100 ")
    assert connection.receive(MESSAGE) == [Request(MESSAGE, "", "")]


def test_a_client_that_wants_to_close_gets_its_answer_first(connection: Http1) -> None:
    assert connection.receive(GET[:-2] + b"Connection: close\r\n\r\n")
    assert not connection.is_closed

    connection.respond(b"an answer", None)

    assert connection.take_output().endswith(b"an answer")
    assert connection.is_closed


def test_a_client_that_has_ended_gets_its_answer_first(connection: Http1) -> None:
    connection.receive(GET)
    connection.end()
    assert not connection.is_closed

    connection.respond(b"an answer", None)

    assert connection.take_output().endswith(b"an answer")
    assert connection.is_closed


def test_the_server_may_refuse_a_query(connection: Http1) -> None:
    connection.receive(GET)
    connection.refuse(503)

    assert status(connection) == 503
    assert not connection.is_closed


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost:a\r\n\r\n" * 600,
        post(b"")[:-4].replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"\r\n\r\n"
        + b"1\r\nx\r\n" * 2700,
    ],
    ids=["wrong requests", "body in small parts"],
)
def test_no_16_kib_of_a_client_take_the_time_of_others(connection: Http1, octets: bytes) -> None:
    before = time.process_time()
    connection.receive(octets[:16384])

    assert time.process_time() - before < 0.05  # 0.1 s and more without a limit
    assert connection.is_closed
