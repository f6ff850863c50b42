"""`fastdns profile`: what an iPhone is told."""

from __future__ import annotations

import plistlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastdns._certificate import make_self_signed
from fastdns.cli import main

Run = Callable[..., tuple[int, str, str]]
BOTH = """
tls = ["0.0.0.0"]
https = ["0.0.0.0:8443", "[::]"]
name = "DNS.Net.demo."
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with a table [listen]; return its status, output and complaints."""

    def run_command(listen: str, *arguments: str) -> tuple[int, str, str]:
        file = tmp_path / "fastdns.toml"
        pair = f'certificate = "{tmp_path}/chain.pem"\nkey = "{tmp_path}/key.pem"\n'
        file.write_text(f"[listen]\n{pair if 's = [' in listen else ''}{listen}")
        monkeypatch.setattr(sys, "argv", ["fastdns", "profile", *arguments, "-c", str(file)])
        return main(), *capsys.readouterr()

    return run_command


def settings(run: Run, listen: str, *arguments: str) -> dict[str, Any]:
    status, out, err = run(listen, *arguments)
    assert (status, err) == (0, "")
    (content,) = plistlib.loads(out.encode())["PayloadContent"]
    assert content["PayloadType"] == "com.apple.dnsSettings.managed"
    found: dict[str, Any] = content["DNSSettings"]
    return found


def test_profile_points_to_the_service_of_the_configuration(run: Run) -> None:
    assert settings(run, BOTH) == {
        "DNSProtocol": "HTTPS",
        "ServerURL": "https://dns.net.demo/dns-query",
    }
    assert settings(run, BOTH, "--protocol", "tls") == {
        "DNSProtocol": "TLS",
        "ServerName": "dns.net.demo",
    }
    only_tls = 'tls = ["0.0.0.0"]\nname = "dns.net.demo"\n'
    assert settings(run, only_tls)["DNSProtocol"] == "TLS"


def test_name_client_and_addresses_may_be_given(run: Run) -> None:
    views = '[[view]]\nname = "kids"\nclients = ["doh:kids"]\nsafe_search = true\n'
    assert settings(
        run,
        BOTH + views,
        "other.demo",
        *("--client", "kids"),
        *("--address", "192.0.2.1", "--address", "2001:DB8::1"),
    ) == {
        "DNSProtocol": "HTTPS",
        "ServerURL": "https://other.demo/dns-query/kids",
        "ServerAddresses": ["192.0.2.1", "2001:db8::1"],
    }


def test_url_has_the_port_that_is_not_the_usual_one(run: Run) -> None:
    listen = 'https = ["0.0.0.0:8443"]\nname = "dns.net.demo"\n'
    assert settings(run, listen)["ServerURL"] == "https://dns.net.demo:8443/dns-query"
    behind = 'proxies = ["loopback"]\nhttps = ["127.0.0.1:8053"]\n'.replace("s = [", "s= [")
    assert settings(run, behind, "dns.net.demo")["ServerURL"] == "https://dns.net.demo/dns-query"


def test_new_profile_of_the_same_name_replaces_the_former_one(run: Run) -> None:
    def identity(*arguments: str) -> tuple[str, str]:
        found = plistlib.loads(run(BOTH, *arguments)[1].encode())
        assert found["PayloadType"] == "Configuration"
        return found["PayloadIdentifier"], found["PayloadUUID"]

    assert identity()[0] == "demo.net.dns.fastdns.https"
    assert identity() == identity("--address", "192.0.2.1")
    others = [["--client", "a"], ["--client", "b"], ["--protocol", "tls"], ["other.demo"]]
    assert len({identity(), *(identity(*one) for one in others)}) == 5


def test_client_that_no_view_has_is_warned_of(run: Run) -> None:
    views = '[[view]]\nname = "kids"\nclients = ["doh:Kids"]\nwhen = "Mon"\nsafe_search = true\n'
    assert run(BOTH + views, "--client", "KIDS")[2] == ""
    status, out, err = run(BOTH + views, "--client", "kid")
    assert (status, "/dns-query/kid" in out) == (0, True)
    told = 'no view has "doh:kid" in its clients: its address alone decides on its view'
    assert err.splitlines() == [f"warning: {told}"]


def test_certificate_that_the_device_refuses_is_warned_of(run: Run, tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes(make_self_signed(["dns.net.demo"], 9)[0])
    (line,) = run(BOTH)[2].splitlines()
    assert line.startswith("warning: the certificate is self-signed: ")
    first, second = run(BOTH, "other.demo")[2].splitlines()
    told = 'devices refuse the certificate for "other.demo": it is for dns.net.demo'
    assert (first, second) == (f"warning: {told}", line)


@pytest.mark.parametrize(
    ("listen", "arguments", "status", "problem"),
    [
        ("", [], 2, "Set listen.name, or give it here"),
        ('name = "dns.net.demo"\n', [], 1, "neither listen.https nor listen.tls is set"),
        (BOTH, ["192.0.2.1"], 2, '"192.0.2.1" is an address'),
        (BOTH, ["--client", "a/b"], 2, '"a/b" is not a name'),
        (BOTH, ["--client", "a", "--protocol", "tls"], 2, "--client goes with --protocol https"),
        (BOTH, ["--address", "x"], 2, "--address: 'x'"),
        ('tls = ["0.0.0.0:8853"]\nname = "dns.net.demo"\n', [], 1, "listen.tls has port 8853"),
    ],
)
def test_what_no_device_could_use_is_refused_in_a_line(
    run: Run, listen: str, arguments: list[str], status: int, problem: str
) -> None:
    found = run(listen, *arguments)
    assert found[:2] == (status, "")
    assert problem in found[2].splitlines()[-1]
