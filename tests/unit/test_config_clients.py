"""The clients in [access]: what is written, what it means, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from fastdns.config.clients import parse_clients
from fastdns.config.load import load
from fastdns.errors import ConfigErrors


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "fastdns.toml"
        file.write_text(text)
        return file

    return write


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/95", "::/95"),
    ],
)
def test_addresses_and_prefixes_are_prefixes(text: str, network: str) -> None:
    assert parse_clients(text) == ip_network(network)


def test_words_are_words() -> None:
    assert [parse_clients(word) for word in ("loopback", "lan")] == ["loopback", "lan"]


WORDS = '"loopback", "lan", an address or a prefix'
NEITHER = 'is not an address or a prefix (try "192.168.0.0/16")'


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ('"Lan"', f'"Lan" is not one of {WORDS} (did you mean "lan"?)'),
        ('"localhost"', f'"localhost" is not one of {WORDS} (try "192.168.0.0/16")'),
        ('"loopbck"', f'"loopbck" is not one of {WORDS} (did you mean "loopback"?)'),
        (
            '"192.168.1.5/24"',
            '"192.168.1.5/24" has bits beyond its prefix length (try "192.168.1.0/24")',
        ),
        (
            '"2001:db8::1/64"',
            '"2001:db8::1/64" has bits beyond its prefix length (try "2001:db8::/64")',
        ),
        ('"10.0.0.0/255.0.0.0"', f'"10.0.0.0/255.0.0.0" {NEITHER}'),
        ('"10.0.0.0/0.0.0.255"', f'"10.0.0.0/0.0.0.255" {NEITHER}'),
        ('"10.0.0.1:53"', f'"10.0.0.1:53" {NEITHER}'),
        ('"10.0.0"', f'"10.0.0" {NEITHER}'),
        ('"lan.example"', f'"lan.example" {NEITHER}'),
        ('""', f'"" {NEITHER}'),
        ('"10.0.0.0/8/8"', f'"10.0.0.0/8/8" {NEITHER}'),
        ('"10.0.0.0/ 8"', f'"10.0.0.0/ 8" {NEITHER}'),
        ('"10.0.0.0/33"', '"10.0.0.0/33" is too long for a prefix (use /0 to /32)'),
        ('"::/129"', '"::/129" is too long for a prefix (use /0 to /128)'),
        ('"fe80::1%eth0"', '"fe80::1%eth0": a prefix cannot have an interface (try "fe80::/10")'),
        ("5", '5 is not a prefix in quotes (try "192.168.0.0/16")'),
        ('"lan", "lan"', '"lan" is listed more than once (keep one)'),
        ('"::1", "0::1/128"', '"::1/128" is listed more than once (keep one)'),
    ],
)
@pytest.mark.parametrize("key", ["allow", "deny"])
def test_what_names_nobody_is_one_line(
    written: Callable[[str], Path], key: str, item: str, problem: str
) -> None:
    file = written(f"[access]\n{key} = [{item}]\n")
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    assert caught.value.lines == [f"{file}: access.{key}: {problem}"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("allow = []", 'allow: is empty, so nobody could ask (try ["loopback", "lan"])'),
        ('allow = "lan"', 'allow: "lan" is not a list (put it in [ ])'),
        ('refuse = "drp"', 'refuse: "drp" is not one of "refused", "drop" (did you mean "drop"?)'),
        ("alow = []", "alow: is not a known key (did you mean access.allow?)"),
    ],
)
def test_wrong_key_or_list_is_one_line(
    written: Callable[[str], Path], line: str, problem: str
) -> None:
    file = written(f"[access]\n{line}\n")
    with pytest.raises(ConfigErrors) as caught:
        load(file)
    assert caught.value.lines == [f"{file}: access.{problem}"]
