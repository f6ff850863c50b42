"""[listen]: the addresses of each service, and the certificate that goes with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from fastdns.config.load import certificate_files_of_root, load
from fastdns.config.schema import Config
from fastdns.config.values import Address
from fastdns.errors import ConfigErrors

PAIR = 'certificate = "/etc/fastdns/fullchain.pem"\nkey = "/etc/fastdns/key.pem"\n'


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Config]:
    def load_text(text: str, *listen: str) -> Config:
        file = tmp_path / "fastdns.toml"
        file.write_text(f"[listen]\n{text}")
        return load(file, state=tmp_path / "state", listen=listen)

    return load_text


@pytest.fixture
def refused(tmp_path: Path, loaded: Callable[..., Config]) -> Callable[..., list[str]]:
    def refuse(text: str, *listen: str) -> list[str]:
        with pytest.raises(ConfigErrors) as raised:
            loaded(text, *listen)
        start = f"{tmp_path / 'fastdns.toml'}: listen."
        return [line.removeprefix(start) for line in raised.value.lines]

    return refuse


def test_each_service_has_its_usual_port(loaded: Callable[..., Config]) -> None:
    listen = loaded(f'{PAIR}tls = ["0.0.0.0", "[::]:8853"]\nhttps = ["0.0.0.0"]\n').listen
    assert listen.addresses == (
        ("dns", Address("127.0.0.1", 53)),
        ("dns", Address("::1", 53)),
        ("tls", Address("0.0.0.0", 853)),
        ("tls", Address("::", 8853)),
        ("https", Address("0.0.0.0", 443)),
    )
    assert listen.certificate_files == (
        Path("/etc/fastdns/fullchain.pem"),
        Path("/etc/fastdns/key.pem"),
    )


def test_files_may_be_named_relative_to_the_configuration(
    tmp_path: Path, loaded: Callable[..., Config]
) -> None:
    listen = loaded('certificate = "tls/chain.pem"\nkey = "file:key.pem"\n').listen
    assert listen.certificate_files == (tmp_path / "tls" / "chain.pem", tmp_path / "key.pem")


def test_nothing_is_encrypted_by_default(loaded: Callable[..., Config]) -> None:
    listen = loaded("").listen
    assert not listen.is_encrypted
    assert listen.certificate_files is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'tls = ["0.0.0.0"]\n',
            "tls: needs certificate and key (to try it, make one: fastdns certificate "
            "--self-signed NAME)",
        ),
        (
            'https = ["0.0.0.0"]\n',
            "https: needs certificate and key (to try it, make one: fastdns certificate "
            "--self-signed NAME; if a web server in front has them, name it in proxies)",
        ),
        (
            'tls = ["0.0.0.0"]\nproxies = ["loopback"]\n',
            "tls: needs certificate and key (to try it, make one: fastdns certificate "
            "--self-signed NAME)",
        ),
        (
            'certificate = "/a.pem"\n',
            'key: is missing; certificate is set (try "/etc/fastdns/key.pem")',
        ),
        (
            'key = "/a.pem"\n',
            'certificate: is missing; key is set (try "/etc/fastdns/fullchain.pem")',
        ),
        (
            PAIR + 'tls = ["0.0.0.0:443"]\nhttps = ["0.0.0.0"]\n',
            'https: "0.0.0.0:443" is in listen.tls as well (keep one, or change the port)',
        ),
        (
            PAIR + 'dns = ["127.0.0.1:853"]\ntls = ["127.0.0.1"]\n',
            'tls: "127.0.0.1:853" is in listen.dns as well (keep one, or change the port)',
        ),
        (
            PAIR + 'tls = ["[::]:853", "::"]\n',
            'tls: "[::]:853" is listed more than once (keep one)',
        ),
        (
            PAIR + 'tls = ["phone"]\n',
            'tls: "phone" is a name; this version of fastdns needs an IP address '
            '(try "127.0.0.1:853" or "0.0.0.0:853")',
        ),
        (PAIR + "tls = [853]\n", 'tls: 853 is not an address in quotes (try "0.0.0.0:853")'),
        ('name = "192.0.2.1"\n', 'name: "192.0.2.1" is an address; clients look for a name'),
        ('name = "dns"\n', 'name: "dns" has no domain, and no certificate is for it'),
        ('name = "my_dns.demo"\n', 'name: "my_dns.demo" is not the name of a host'),
        ('name = "*.dns.demo"\n', 'name: "*.dns.demo" is not the name of a host'),
        ('name = "dns..demo"\n', 'name: "dns..demo" has an empty label'),
        (
            'proxies = ["lan"]\n',
            'proxies: "lan" would let many machines pretend to be any client (name the proxies '
            "only)",
        ),
        ('proxies = ["::/0"]\n', 'proxies: "::/0" would let many machines pretend to be any'),
        ('proxies = ["nginx"]\n', 'proxies: "nginx" is not one of "loopback", "lan", an address'),
    ],
)
def test_wrong_value_is_one_line(
    refused: Callable[..., list[str]], text: str, problem: str
) -> None:
    (line,) = refused(text)
    assert line.startswith(problem)


def test_plain_https_behind_a_proxy_needs_no_certificate(loaded: Callable[..., Config]) -> None:
    listen = loaded('https = ["127.0.0.1:8080"]\nproxies = ["loopback", "192.0.2.7"]\n').listen
    assert listen.certificate_files is None
    assert list(map(str, listen.proxy_networks)) == ["127.0.0.0/8", "::1/128", "192.0.2.7/32"]


def test_name_is_kept_as_certificates_have_it(loaded: Callable[..., Config]) -> None:
    assert loaded('name = "DNS.Demo."\n').listen.name == "dns.demo"


def test_option_listen_replaces_the_addresses_of_its_service_alone(
    loaded: Callable[..., Config],
) -> None:
    given = ("tls://127.0.0.2", "HTTPS://[::1]:8443", "tls://127.0.0.3:8853")
    listen = loaded(f'{PAIR}dns = ["127.0.0.9:53"]\ntls = ["0.0.0.0"]\n', *given).listen
    assert listen.dns == (Address("127.0.0.9", 53),)
    assert listen.tls == (Address("127.0.0.2", 853), Address("127.0.0.3", 8853))
    assert listen.https == (Address("::1", 8443),)
    assert loaded(PAIR, "127.0.0.1:5353").listen.dns == (Address("127.0.0.1", 5353),)


def test_wrong_option_listen_is_told_as_the_option(refused: Callable[..., list[str]]) -> None:
    (line,) = refused(PAIR, "tls://phone")
    assert line.startswith('--listen: "phone" is a name;')
    (line,) = refused("", "quic://127.0.0.1")
    assert line.startswith('--listen: "quic://127.0.0.1" is not an IP address')


def test_proxy_networks_do_not_hold_others(loaded: Callable[..., Config]) -> None:
    listen = loaded('proxies = ["192.0.2.0/24"]\n').listen
    assert listen.proxy_networks == (ip_network("192.0.2.0/24"),)


# What root opens for a daemon


@pytest.mark.skipif(os.geteuid() != 0, reason="the files are to be root's")
def test_root_opens_only_what_files_of_its_own_name(tmp_path: Path) -> None:
    main, more = tmp_path / "fastdns.toml", tmp_path / "more.toml"
    main.write_text(f'include = ["more.toml"]\n[listen]\n{PAIR}')
    more.write_text("workers = 1\n")
    files = (Path("/etc/fastdns/fullchain.pem"), Path("/etc/fastdns/key.pem"))
    for file in (main, more):
        assert certificate_files_of_root(main) == files
        os.chown(file, 65534, -1)
        assert certificate_files_of_root(main) is None
        os.chown(file, 0, -1)
        file.chmod(0o664)
        assert certificate_files_of_root(main) is None
        file.chmod(0o644)


@pytest.mark.parametrize("text", ["", "listen = 5\n", '[listen]\ncertificate = 5\nkey = "/k"\n'])
def test_root_opens_nothing_for_a_configuration_without_a_certificate(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "fastdns.toml").write_text(text)
    assert certificate_files_of_root(tmp_path / "fastdns.toml") is None
    assert certificate_files_of_root(tmp_path / "missing.toml") is None
