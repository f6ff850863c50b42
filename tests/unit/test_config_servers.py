"""Addresses, upstreams and files of upstreams."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from fastdns.config.load import parse_server, read_server_file
from fastdns.config.servers import parse_listen
from fastdns.config.values import Address, Server, ServerFile

HINT = '(try "9.9.9.9" or "127.0.0.1:53")'
LISTEN_HINT = '(try "127.0.0.1:53" or "0.0.0.0:53")'


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("9.9.9.9", "9.9.9.9:53"),
        ("9.9.9.9:5353", "9.9.9.9:5353"),
        ("udp://9.9.9.9", "9.9.9.9:53"),
        ("tcp://9.9.9.9", "tcp://9.9.9.9:53"),
        ("TCP://[2620:fe::fe]:5353", "tcp://[2620:fe::fe]:5353"),
        ("2620:fe::fe", "[2620:fe::fe]:53"),
        ("[2620:FE:0::fe]", "[2620:fe::fe]:53"),
        ("[2620:fe::fe]:53", "[2620:fe::fe]:53"),
        ("[fe80::1%lo]:53", "[fe80::1%lo]:53"),
        ("::ffff:9.9.9.9", "9.9.9.9:53"),
        ("file:/etc/fastdns/ip", "file:/etc/fastdns/ip"),
    ],
)
def test_upstream_is_read_and_shown_in_one_spelling(text: str, shown: str) -> None:
    server = parse_server(text)
    assert str(server) == shown
    assert parse_server(shown) == server


def test_upstream_has_transport_and_address() -> None:
    assert parse_server("tcp://9.9.9.9") == Server("tcp", Address("9.9.9.9", 53))
    assert parse_server("file:/etc/fastdns/ip") == ServerFile(Path("/etc/fastdns/ip"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dns.google", f"is a name; this version of fastdns needs an IP address {HINT}"),
        ("dns.google:53", f"is a name; this version of fastdns needs an IP address {HINT}"),
        ("9.9.9.9#53", 'is not an IP address, with or without a port (try "9.9.9.9:53")'),
        (
            "[2620:fe::fe]@53",
            'is not an IP address, with or without a port (try "[2620:fe::fe]:53")',
        ),
        ("9.9.9.256", f"is not an IP address, with or without a port {HINT}"),
        ("9.9.9.9/", f"is not an IP address, with or without a port {HINT}"),
        (" 9.9.9.9", f"is not an IP address, with or without a port {HINT}"),
        ("", f"is not an IP address, with or without a port {HINT}"),
        ("9.9.9.9:0", "has an impossible port (use 1 to 65535)"),
        ("9.9.9.9:65536", "has an impossible port (use 1 to 65535)"),
        ("9.9.9.9:", "has an impossible port (use 1 to 65535)"),
        ("9.9.9.9:dns", "has an impossible port (use 1 to 65535)"),
        ("0.0.0.0", 'is not an address of one host (try "9.9.9.9")'),
        ("::", 'is not an address of one host (try "9.9.9.9")'),
        ("224.0.0.251", 'is not an address of one host (try "9.9.9.9")'),
        ("ff02::fb", 'is not an address of one host (try "9.9.9.9")'),
        ("255.255.255.255", 'is not an address of one host (try "9.9.9.9")'),
        ("fe80::1", 'needs its interface (try "[fe80::1%eth0]:53")'),
        ("http://9.9.9.9", 'has an unknown scheme (try "udp://" or "tcp://")'),
    ],
)
def test_what_is_no_upstream_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=exactly(f'"{text}" {problem}')):
        parse_server(text)


@pytest.mark.parametrize("scheme", ["tls", "https", "sdns", "quic", "h3"])
def test_encrypted_upstream_is_refused_without_advice_to_use_another_that_is_not(
    scheme: str,
) -> None:
    problem = (
        f'"{scheme}://9.9.9.9": an encrypted upstream ({scheme}://) '
        "is not in this version of fastdns"
    )
    with pytest.raises(ValueError, match=exactly(problem)):
        parse_server(f"{scheme}://9.9.9.9")


@pytest.mark.parametrize("text", ["[2620:fe::fe%eth0]:53", "[fe80::1%two words]:53"])
def test_interface_where_none_belongs_is_refused(text: str) -> None:
    problem = f'"{text}": only a link-local address can have an interface, given by its name'
    with pytest.raises(ValueError, match=exactly(problem)):
        parse_server(text)


@pytest.mark.parametrize("text", ["file:ip", "file:", "file:~/ip"])
def test_file_of_upstreams_needs_an_absolute_path(text: str) -> None:
    path = text.removeprefix("file:")
    problem = f'"{path}" is not an absolute path (begin it with /)'
    with pytest.raises(ValueError, match=exactly(problem)):
        parse_server(text)


@pytest.mark.parametrize("path", ["/a\0b", "/a\udcff"])
def test_file_of_upstreams_needs_a_possible_path(path: str) -> None:
    with pytest.raises(ValueError, match=r"contains a NUL byte|is not UTF-8 text"):
        parse_server(f"file:{path}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1:53", "127.0.0.1:53"),
        ("127.0.0.1", "127.0.0.1:53"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:53", "0.0.0.0:53"),
        ("[::]:53", "[::]:53"),
        ("::1", "[::1]:53"),
    ],
)
def test_listen_address_may_be_a_wildcard_and_have_port_0(text: str, shown: str) -> None:
    assert str(parse_listen(text)) == shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("localhost:53", f"is a name; this version of fastdns needs an IP address {LISTEN_HINT}"),
        ("*:53", f"is not an IP address, with or without a port {LISTEN_HINT}"),
        (":53", f"is not an IP address, with or without a port {LISTEN_HINT}"),
        ("udp://127.0.0.1", f"is not an IP address, with or without a port {LISTEN_HINT}"),
        ("127.0.0.1:99999", "has an impossible port (use 0 to 65535)"),
        ("224.0.0.251:53", 'is not an address of one host (try "127.0.0.1:53")'),
    ],
)
def test_what_is_no_listen_address_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=exactly(f'"{text}" {problem}')):
        parse_listen(text)


def test_address_is_ready_for_bind_and_connect() -> None:
    assert Address("127.0.0.1", 53).sockaddr == ("127.0.0.1", 53)
    assert Address("127.0.0.1", 53).family is socket.AF_INET
    assert Address("::1", 53).sockaddr == ("::1", 53, 0, 0)
    assert Address("::1", 53).family is socket.AF_INET6


def test_interface_becomes_its_number() -> None:
    number = socket.if_nametoindex("lo")
    assert Address("fe80::1%lo", 53).sockaddr == ("fe80::1", 53, 0, number)
    assert Address("fe80::1%7", 53).sockaddr == ("fe80::1", 53, 0, 7)
    with pytest.raises(OSError, match=r"(?i)no (interface|such device)"):
        _ = Address("fe80::1%nosuch0", 53).sockaddr


def servers_in(path: Path, content: bytes) -> tuple[list[str], list[str]]:
    path.write_bytes(content)
    servers, problems = read_server_file(path)
    return [str(server) for server in servers], problems


def test_server_file_has_one_upstream_a_line(tmp_path: Path) -> None:
    content = b"# ours\n9.9.9.9\n\n  tcp://[::1]:5353  # at home\n149.112.112.112:53"
    servers, problems = servers_in(tmp_path / "ip", content)
    assert servers == ["9.9.9.9:53", "tcp://[::1]:5353", "149.112.112.112:53"]
    assert problems == []


def test_server_file_may_come_from_another_system(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf9.9.9.9\r\n# ours\r\n1.1.1.1\r\n"
    assert servers_in(tmp_path / "ip", content) == (["9.9.9.9:53", "1.1.1.1:53"], [])


def test_wrong_line_of_a_server_file_is_told_and_the_others_are_used(tmp_path: Path) -> None:
    path = tmp_path / "ip"
    servers, problems = servers_in(path, b"9.9.9.9\n1.1.1.1#53\nfile:/etc/ip\n8.8.8.8\n")
    assert servers == ["9.9.9.9:53", "8.8.8.8:53"]
    assert problems == [
        f'{path}:2: "1.1.1.1#53" is not an IP address, with or without a port (try "1.1.1.1:53")',
        f'{path}:3: "file:/etc/ip" is a file inside a file (write the addresses here)',
    ]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# nothing yet\n"])
def test_empty_server_file_has_neither_upstreams_nor_problems(
    tmp_path: Path, content: bytes
) -> None:
    assert servers_in(tmp_path / "ip", content) == ([], [])


def test_server_file_full_of_rubbish_is_told_in_few_lines(tmp_path: Path) -> None:
    path = tmp_path / "ip"
    servers, problems = servers_in(path, b"rubbish\n" * 10_000)
    assert servers == []
    assert len(problems) == 21
    assert problems[-1] == f"{path}: 9980 more lines are not upstreams"


def test_server_file_of_a_thousand_upstreams_is_the_largest(tmp_path: Path) -> None:
    path = tmp_path / "ip"
    assert len(servers_in(path, b"9.9.9.9\n" * 1000)[0]) == 1000
    problem = f"{path}: names more than 1000 upstreams"
    assert servers_in(path, b"9.9.9.9\n" * 1001) == ([], [problem])


def test_server_file_of_a_mebibyte_is_the_largest(tmp_path: Path) -> None:
    path = tmp_path / "ip"
    content = b"9.9.9.9\n#"
    content += b"-" * (2**20 - len(content))
    assert servers_in(path, content) == (["9.9.9.9:53"], [])
    assert servers_in(path, content + b"-") == ([], [f"{path}: is larger than 1MiB"])


def test_server_file_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ip"
    assert read_server_file(path) == ((), [f"{path}: cannot be read: No such file or directory"])
    assert read_server_file(tmp_path) == ((), [f"{tmp_path}: cannot be read: Is a directory"])
    assert servers_in(path, b"9.9.9.9 # na\xefve\n") == (
        [],
        [f"{path}: is not UTF-8 text (byte 13)"],
    )


def test_server_file_that_is_a_pipe_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert read_server_file(path) == ((), [f"{path}: is not a regular file"])
