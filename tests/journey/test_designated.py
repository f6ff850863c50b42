"""A client that only knows the daemon's address learns of its encrypted services (RFC 9462)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.rdatatype
import dns.resolver
import pytest

from fastdns._certificate import make_self_signed

from .support.client import ask, data, eventually
from .support.commands import fastdns
from .support.daemon import Fastdns
from .support.false_upstream import FalseUpstream
from .support.ports import free_port

Start = Callable[..., Fastdns]
DISCOVERY = "_dns.resolver.arpa."


def services(answer: dns.message.Message) -> list[str]:
    """What it says without hints; older versions of dnspython do not know dohpath."""
    found = (str(rdata) for rrset in answer.answer for rdata in rrset)
    return [one.replace("key7=", "dohpath=") for one in found]


def encrypted(place: Path, tls: int, https: int) -> str:
    """Return the table of a daemon with these ports; its certificate is in chain.pem."""
    chain, key = make_self_signed(["dns.net.demo", "127.0.0.1"], 9)
    for name, content in (("chain.pem", chain), ("key.pem", key)):
        (place / name).write_bytes(content)
    files = f'certificate = "{place}/chain.pem"\nkey = "{place}/key.pem"\n'
    return f'[listen]\ntls = ["127.0.0.1:{tls}"]\nhttps = ["127.0.0.1:{https}"]\n{files}'


def test_client_learns_of_the_services_and_a_reload_changes_what_it_learns(
    start_fastdns: Start, upstream: FalseUpstream, tmp_path: Path
) -> None:
    tls, https = free_port(), free_port()
    listen = encrypted(tmp_path, tls, https)
    daemon = start_fastdns(upstream=[upstream], config=f'{listen}name = "dns.net.demo"\n')

    for _ in range(2):
        answer = ask(daemon, DISCOVERY, "SVCB")
        assert services(answer) == [
            f'1 dns.net.demo. alpn="dot" port="{tls}" ipv4hint="127.0.0.1"',
            f'2 dns.net.demo. alpn="h2" port="{https}" ipv4hint="127.0.0.1" '
            'dohpath="/dns-query{?dns}"',
        ]
        assert [str(one) for one in answer.additional] == ["dns.net.demo. 300 IN A 127.0.0.1"]
    assert data(ask(daemon, "dns.net.demo.")) == ["127.0.0.1"]
    assert data(ask(daemon, DISCOVERY, "A")) == []
    assert upstream.asked() == []
    assert data(ask(daemon, "dns.net.demo.", "TXT", tcp=True)) != ["127.0.0.1"]
    assert upstream.asked("dns.net.demo.") != []
    file = str(daemon.state_dir.with_suffix(".toml"))
    why = fastdns("why", DISCOVERY, "SVCB", "-c", file)
    assert "is answered here with 1 dns.net.demo. alpn" in why.stdout
    assert "(listen.name)" in why.stdout

    assert "another one" not in fastdns("certificate", "-c", file).stderr

    daemon.configure(f'{listen}name = "other.demo"\n')
    assert daemon.reload().returncode == 0
    eventually(
        lambda: services(ask(daemon, DISCOVERY, "SVCB")), lambda found: "other.demo" in found[0]
    )


@pytest.mark.skipif(
    not hasattr(dns.resolver.Resolver, "try_ddr"), reason="this dnspython does not discover"
)
def test_client_that_checks_the_certificate_goes_on_encrypted(
    start_fastdns: Start,
    upstream: FalseUpstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls, https = free_port(), free_port()
    table = encrypted(tmp_path, tls, https)
    daemon = start_fastdns(upstream=[upstream], config=f'{table}name = "dns.net.demo"\n')
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "chain.pem"))
    client = dns.resolver.Resolver(configure=False)
    client.nameservers = [dns.nameserver.Do53Nameserver(daemon.host, daemon.port)]

    client.try_ddr()

    assert [str(one) for one in client.nameservers] == [
        f"DoT:127.0.0.1@{tls}",
        f"https://dns.net.demo:{https}/dns-query",
    ]
    client.nameservers = client.nameservers[:1]
    assert [str(one) for one in client.resolve(upstream.new_name())] == ["192.0.2.1"]
