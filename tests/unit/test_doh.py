"""Paths, media types and texts of DNS over HTTPS, which are the same in every version of HTTP."""

from __future__ import annotations

import random
from base64 import b64encode, urlsafe_b64encode

import pytest

from fastdns._doh import is_message_type, last_forwarded, reason_of, target_of

MESSAGE = b"\xfb\xff\xbf\0\0\1\0\0\0\0\0\0\4name\4demo\0\0\1\0\1"
CODED = urlsafe_b64encode(MESSAGE).rstrip(b"=")


@pytest.mark.parametrize(
    "path",
    [
        b"/dns-query?dns=" + CODED,
        b"/dns-query/?dns=" + CODED,
        b"/dns-query?dns=" + urlsafe_b64encode(MESSAGE),
        b"/dns-query?dns=" + b64encode(MESSAGE),
        b"/dns-query?dns=" + b64encode(MESSAGE).replace(b"+", b"%2B").replace(b"/", b"%2f"),
        b"/dns-query?dns=" + CODED + b"%3D%3d",
        b"/dns-query?ct=application/dns-message&dns=" + CODED,
        b"/dns-query?dns=" + CODED + b"&random_padding=xyz",
        b"/dns-query?edns=AAAA&dns=" + CODED,
    ],
)
def test_a_message_is_found_in_the_path(path: bytes) -> None:
    assert target_of(path) == (0, "", MESSAGE)


@pytest.mark.parametrize("length", range(20))
def test_any_length_is_decoded(length: int) -> None:
    message = random.Random(length).randbytes(length)

    assert target_of(b"/dns-query?dns=" + urlsafe_b64encode(message)) == (0, "", message)


@pytest.mark.parametrize(
    "coded",
    [b"A", b"AAAAA", b"AA*A", b"AA AA", b"AA=A", b"AA%", b"AA%2", b"AA%GG", b"AA\0A", b"%25"],
)
def test_what_is_not_base64_is_a_bad_request(coded: bytes) -> None:
    assert target_of(b"/dns-query?dns=" + coded)[0] == 400


@pytest.mark.parametrize(
    "path", [b"/dns-query", b"/dns-query?", b"/dns-query?a&b=c&", b"/dns-query?xdns=A"]
)
def test_a_path_without_a_message_is_told_from_an_empty_one(path: bytes) -> None:
    assert target_of(path) == (0, "", None)
    assert target_of(b"/dns-query?dns=") == (0, "", b"")


@pytest.mark.parametrize("client", ["kids", "Kids-2.living_room", "a" * 63])
def test_the_path_names_the_client(client: str) -> None:
    path = b"/dns-query/" + client.encode()

    assert target_of(path) == (0, client, None)
    assert target_of(path + b"?dns=" + CODED) == (0, client, MESSAGE)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"*",
        b"/",
        b"/dns",
        b"/dns-quer",
        b"/dns-queryx",
        b"/DNS-query",
        b"//dns-query",
        b"/?dns=" + CODED,
        b"/resolve?dns=" + CODED,
        b"/dns-query/a/b",
        b"/dns-query/a%20b",
        b"/dns-query/" + b"a" * 64,
        "/dns-query/küche".encode(),
    ],
)
def test_any_other_path_is_not_found(path: bytes) -> None:
    assert target_of(path) == (404, "", None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"application/dns-message", True),
        (b"Application/DNS-Message", True),
        (b"application/dns-message; charset=x", True),
        (b"application/dns-message;a", True),
        (b"application/dns-messages", False),
        (b"application/dns-json", False),
        (b"application/dns", False),
        (b"", False),
    ],
)
def test_only_one_media_type_is_a_dns_message(value: bytes, expected: bool) -> None:
    assert is_message_type(value) is expected


def test_a_client_cannot_push_the_address_that_a_proxy_saw_out_of_a_header() -> None:
    seen = b", 192.0.2.7, 192.0.2.1"
    for length in range(1000):
        kept = last_forwarded(b"203.0.113.255," * (length // 14) + b"1" * (length % 14) + seen)
        assert kept.endswith(b" 192.0.2.7, 192.0.2.1")
        assert len(kept) <= 255
        # An address is never cut: what is left of it could be another one.
        assert set(kept.split(b",")[:-3]) <= {b"203.0.113.255", b""}
    assert last_forwarded(b"x" * 1000) == b""


def test_each_status_has_a_text_that_says_what_to_do() -> None:
    texts = [reason_of(status) for status in (400, 403, 404, 405, 413, 415, 431, 503)]

    assert len(set(texts)) == len(texts)
    assert all(text.endswith(b".\n") and len(text) < 200 for text in texts)
